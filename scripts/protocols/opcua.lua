-- OPC UA: a Hello message, "HELF", or a server's ReverseHello, "RHEF": little-endian length, protocol version 0 (OPC
-- 10000-6, sections 7.1.2.2, 7.1.2.3 and 7.1.2.6).
local rx = require "refractium"

return rx.protocol "opcua" {
  transport = "tcp",
  prefix = { "HELF", "RHEF" },
  identify = function(buf)
    local length = buf:u32le(4)
    if buf[6] > 0 or buf[7] > 0 or length >= 0 and (length < 16 or length > 8320) then return false end
    if buf[0] == 0x52 then return length >= 0 or rx.more end -- no version in it
    return buf:u32le(8) == 0 or buf[8] <= 0 and buf[9] <= 0 and buf[10] <= 0 and buf[11] < 0 and rx.more
  end,
  samples = {
    yes = { "HELF8\0\0\0\0\0\0\0\0\0\1\0", "RHEF8\0\0\0\10\0\0\0" },
    no = { "HELP\r\n", "HELF\r\n  ", "HELF8\0\0\0\1\0\0\0", "HELO a\r\n" },
  },
}
