-- EtherNet/IP: an encapsulation header, little-endian, of RegisterSession or a List command: no session, no status, no
-- options (ODVA, The CIP Networks Library volume 2, sections 2-3 and 2-4).
local rx = require "refractium"

return rx.protocol "ethernetip" {
  transport = "tcp",
  prefix = { "\101\0\4\0", "\99\0\0\0", "\4\0\0\0", "\100\0\0\0" },
  identify = function(buf)
    for i = 4, 11 do
      if buf[i] > 0 then return false end
    end
    for i = 20, 23 do
      if buf[i] > 0 then return false end
    end
    return #buf >= 24 or rx.more
  end,
  samples = {
    yes = { "\99" .. ("\0"):rep(23), "\101\0\4\0" .. ("\0"):rep(8) .. "contexts\0\0\0\0\1\0\0\0" },
    no = { "\99\0\4\0", "\101\0\0\0", "\4\0\0\0\5\0\0\0\0", ("\0"):rep(24), "\99\0\0\0\1" .. ("\0"):rep(19) },
  },
}
