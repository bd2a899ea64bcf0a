-- Neo4j Bolt: the handshake's preamble, 60 60 b0 17, with four versions behind it (Bolt protocol documentation,
-- "Bolt Protocol handshake specification").
local rx = require "refractium"

return rx.protocol "neo4j-bolt" {
  transport = "tcp",
  prefix = "\96\96\176\23",
  samples = { yes = { "\96\96\176\23\0\0\4\4\0\0\0\3" .. ("\0"):rep(8) }, no = { "\96\96\176\24", "``" .. "x" } },
}
