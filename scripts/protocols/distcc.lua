-- distcc: the greeting token DIST with the protocol's version, 1 to 3, in eight hex digits, and the argument count
-- (distcc's doc/protocol-1.txt to protocol-3).
local rx = require "refractium"

return rx.protocol "distcc" {
  transport = "tcp",
  prefix = { "DIST00000001", "DIST00000002", "DIST00000003" },
  samples = { yes = { "DIST00000001ARGC00000005ARGV" }, no = { "DIST00000009", "DISTANCE 1\r\n" } },
}
