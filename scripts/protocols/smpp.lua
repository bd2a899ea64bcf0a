-- SMPP: a bind request, receiver, transmitter or transceiver: length, command id, status 0, sequence number, then the
-- system id (SMPP 3.4 sections 3.2 and 4.1; 5.0 section 4.1.1).
local rx = require "refractium"

return rx.protocol "smpp" {
  transport = "tcp",
  prefix = "\0\0\0",
  identify = function(buf)
    local length, command, id = buf[3], buf[7], buf[16]
    if length >= 0 and length < 23 or buf[4] > 0 or buf[5] > 0 or buf[6] > 0 then return false end
    if command >= 0 and command ~= 1 and command ~= 2 and command ~= 9 then return false end
    if buf[8] > 0 or buf[9] > 0 or buf[10] > 0 or buf[11] > 0 then return false end
    if buf[12] > 0x7f or buf:u32(12) == 0 then return false end
    return id < 0 and rx.more or id == 0 or id > 0x20 and id < 0x7f
  end,
  samples = {
    yes = { "\0\0\0\31\0\0\0\9\0\0\0\0\0\0\0\1user\0pass\0\0\52\0\0\0" },
    no = { "\0\0\0\44" .. ("\0"):rep(40), "\0\0\0\16\0\0\0\21\0\0\0\0\0\0\0\1", "\0\0\0\31\0\18\0\3" },
  },
}
