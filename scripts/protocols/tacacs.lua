-- TACACS+: a header: version c0 or c1, authentication, authorization or accounting, sequence number 1, flags, session,
-- length (RFC 8907 section 4.1).
local rx = require "refractium"

return rx.protocol "tacacs" {
  transport = "tcp",
  prefix = { "\192\1\1", "\192\2\1", "\192\3\1", "\193\1\1" },
  identify = function(buf)
    local flags, length = buf[3], buf:u16(10)
    if flags > 5 or flags == 2 or flags == 3 or buf[8] > 0 or buf[9] > 0 then return false end
    return length < 0 and rx.more or length >= 5
  end,
  samples = {
    yes = { "\192\1\1\0\231\180\95\152\0\0\0\24a", "\193\1\1\4\1\2\3\4\0\0\0\40" },
    no = { "\192\4\1\0\1\2\3\4\0\0\0\24", "\192\1\2\0", "\192\1\1\0\1\2\3\4\1\0\0\0", "\192\1\1\0\1\2\3\4\0\0\0\0" },
  },
}
