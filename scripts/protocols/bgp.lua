-- BGP: a marker of sixteen ff, a length, type 1 (OPEN), version 4 (RFC 4271 sections 4.1 and 4.2).
local rx = require "refractium"

return rx.protocol "bgp" {
  transport = "tcp",
  prefix = ("\255"):rep(16),
  identify = function(buf)
    local length, kind, version = buf:u16(16), buf[18], buf[19]
    if buf[16] > 16 or length >= 0 and (length < 29 or length > 4096) or kind >= 0 and kind ~= 1 then return false end
    return version < 0 and rx.more or version == 4
  end,
  samples = {
    yes = { ("\255"):rep(16) .. "\0\29\1\4\253\233\0\180\10\0\0\1\0" },
    no = { ("\255"):rep(20), ("\255"):rep(16) .. "\0\19\4", ("\255"):rep(16) .. "\0\29\1\3" },
  },
}
