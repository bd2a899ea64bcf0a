-- Firebird: op_connect (1) for an attachment (19), a database creation (20) or a service (82), of connect version 2
-- or 3 (Firebird documentation, "Wire protocol", op_connect).
local rx = require "refractium"

return rx.protocol "firebird" {
  transport = "tcp",
  prefix = { "\0\0\0\1\0\0\0\19\0\0\0", "\0\0\0\1\0\0\0\20\0\0\0", "\0\0\0\1\0\0\0\82\0\0\0" },
  identify = function(buf)
    local version = buf[11]
    return version < 0 and rx.more or version == 2 or version == 3
  end,
  samples = {
    yes = { "\0\0\0\1\0\0\0\19\0\0\0\3\0\0\0\36\0\0\0\2db" },
    no = { "\0\0\0\1\0\0\0\19\0\0\0\4", "\0\0\0\1\0\0\0\6\1\3", "\0\0\0\31\0\0\0\9" },
  },
}
