-- ZeroMQ: the signature of a ZMTP greeting, ff, eight bytes of padding (a length of an older version), 7f (RFC 23/ZMTP
-- 3.0, "Framing of the greeting"; 37/ZMTP 3.1).
local rx = require "refractium"

return rx.protocol "zeromq" {
  transport = "tcp",
  prefix = "\255\0\0\0\0\0\0\0",
  identify = function(buf)
    return buf[9] == 0x7f or buf[9] < 0 and rx.more
  end,
  samples = {
    yes = { "\255\0\0\0\0\0\0\0\1\127", "\255\0\0\0\0\0\0\0\0\127\3" },
    no = { ("\255"):rep(10), "\255\251\24\255\251" },
  },
}
