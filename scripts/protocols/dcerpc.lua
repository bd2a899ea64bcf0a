-- DCE/RPC over TCP: a bind PDU: version 5.0 or 5.1, type 11, first and last fragment, data representation, a length of
-- 44 and more in its byte order (C706 section 12.6.4.3, MS-RPCE section 2.2.2).
local rx = require "refractium"

return rx.protocol "dcerpc" {
  transport = "tcp",
  prefix = { "\5\0\11", "\5\1\11" },
  identify = function(buf)
    local flags, order = buf[3], buf[4]
    if flags >= 0 and flags % 4 ~= 3 or order > 0 and order ~= 0x10 or buf[5] > 3 or buf[6] > 0 or buf[7] > 0 then
      return false
    end
    local length = order == 0x10 and buf[9] >= 0 and buf[8] + 256 * buf[9] or buf:u16(8)
    return length < 0 and rx.more or length >= 44
  end,
  samples = {
    yes = { "\5\0\11\3\16\0\0\0\72\0\0\0\1\0\0\0", "\5\0\11\7\0\0\0\0\0\72\0\0" },
    no = { "\5\0\0\3\16\0\0\0\72\0", "\5\0\11\0\16\0\0\0", "\5\11\0\1\2", "\5\0\11\3\16\0\0\0\8\0" },
  },
}
