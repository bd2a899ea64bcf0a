-- iSCSI: a Login request, immediate, version 0, no extra header, of a new session, with text keys behind its 48 bytes
-- (RFC 7143 sections 11.12 and 6.1).
local rx = require "refractium"

return rx.protocol "iscsi" {
  transport = "tcp",
  prefix = "C",
  identify = function(buf)
    local flags, length = buf[1], buf:u24(5)
    if flags >= 0 and (flags % 64 >= 16 or flags >= 192) then return false end -- reserved; transit and continue
    if buf[2] > 0 or buf[3] > 0 or buf[4] > 0 or length == 0 or length > 65535 then return false end
    if buf[14] > 0 or buf[15] > 0 or buf[22] > 0 or buf[23] > 0 then return false end
    local key = buf[48]
    return key < 0 and rx.more or key >= 0x41 and key <= 0x5a
  end,
  samples = {
    yes = { "C\135\0\0\0\0\1\139\128\136\64\51" .. ("\0"):rep(36) .. "InitiatorName=iqn.2007-10.test:a\0" },
    no = { "CONNECT a:443 HTTP/1.1\r\n", "CAP LS 302\r\n", "C\135\0\0\0\0\0\0\0\0", "C\176\0\0\0\0\1" },
  },
}
