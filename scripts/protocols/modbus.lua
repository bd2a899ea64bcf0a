-- Modbus/TCP: an MBAP header, protocol 0, and a request whose length is what its function asks for (MODBUS Messaging on
-- TCP/IP Implementation Guide V1.0b section 3.1.3; MODBUS Application Protocol V1.1b3 section 6).
local rx = require "refractium"

return rx.protocol "modbus" {
  transport = "tcp",
  identify = function(buf)
    local length, code = buf[5], buf[7]
    if buf[2] > 0 or buf[3] > 0 or buf[4] > 0 or length >= 0 and (length < 2 or length > 254) then return false end
    if code < 0 then return rx.more end
    if code == 17 or code == 7 or code == 11 or code == 12 then return length == 2 end
    if code == 43 then return length == 5 and (buf[8] == 14 or buf[8] < 0 and rx.more) end
    local low = buf[11]
    if code >= 1 and code <= 6 or code == 8 then
      if length ~= 6 then return false end
      if low < 0 then return rx.more end
      local count = buf:u16(10)
      if code <= 2 then return count >= 1 and count <= 2000 end
      if code <= 4 then return count >= 1 and count <= 125 end
      return code ~= 5 or count == 0 or count == 0xff00
    end
    if code == 22 then return length == 8 end
    local bytes = code == 23 and 16 or 12
    if code ~= 15 and code ~= 16 and code ~= 23 or length < bytes - 4 then return false end
    return buf[bytes] < 0 and rx.more or length == bytes - 5 + buf[bytes]
  end,
  samples = {
    yes = { "\0\1\0\0\0\6\1\3\0\0\0\4", "\0\2\0\0\0\9\1\16\0\1\0\1\2\0\10", "\0\3\0\0\0\2\1\17" },
    no = { "\0\1\0\0\0\6\1\3\0\0\0\0", "\3\0\0\0\0\9\0\124\2", ("\0"):rep(12), "\0\1\0\0\0\7\1\3\0\0\0\4" },
  },
}
