-- SMB: a NetBIOS session message with \xffSMB, \xfeSMB or the transforms \xfdSMB and \xfcSMB (MS-SMB2 sections 2.1 and
-- 2.2.1, MS-CIFS 2.2.3.1), or a NetBIOS session request with its encoded names (RFC 1002 section 4.3.2).
local rx = require "refractium"

local SMALLEST = 32 -- a header of SMB 1
local NAME = 34 -- length, 32 letters, empty scope

return rx.protocol "smb" {
  transport = "tcp",
  prefix = { "\0", "\129\0" },
  identify = function(buf)
    local n = #buf
    if buf[0] == 0 then
      for i = 4, 7 do
        if i >= n then return (n < 4 or buf:u24(1) >= SMALLEST) and rx.more end
        if i == 4 and buf[i] < 0xfc or i > 4 and buf[i] ~= ("SMB"):byte(i - 4) then return false end
      end
      return buf:u24(1) >= SMALLEST
    end
    local length = buf:u16(2)
    if length >= 0 and (length < 2 * NAME or length > 2 * 255) or buf[4] >= 0 and buf[4] ~= 32 then return false end
    for i = 5, 36 do
      if i >= n then return rx.more end
      if buf[i] < 0x41 or buf[i] > 0x50 then return false end
    end
    return true
  end,
  samples = {
    yes = {
      "\0\0\0\102\254SMB\64\0\0\0", "\0\0\0\62\255SMBr\0\0\0",
      "\129\0\0\68 DBDCDHCODACODACODBCACACACACACACA\0 FGENCACACACACACACACACACACACACAAA\0",
    },
    no = { "\0\0\0\8\254SMB\64", "\0\0\0\102\251SMB", "\0\0\0\8\4\210\22\47", "\129\0\0\68 dbdc" },
  },
}
