-- X11: the connection setup: byte order, a byte of padding, major version 11, minor 0 (X Window System Protocol,
-- chapter 8, "Connection Initiation").
local rx = require "refractium"

return rx.protocol "x11" {
  transport = "tcp",
  prefix = { "l\0\11\0\0\0", "B\0\0\11\0\0" },
  samples = {
    yes = { "l\0\11\0\0\0\0\0\0\0\0\0", "B\0\0\11\0\0\0\18" },
    no = { "l\0\0\11\0\0", "B\0\0\0\1\0\0\0\141" },
  },
}
