-- NBD: the client's flags and its first option request, after the server's greeting (NBD doc/proto.md, "Fixed newstyle
-- negotiation").
local rx = require "refractium"

return rx.protocol "nbd" {
  transport = "tcp",
  is_server_first = true,
  prefix = { "\0\0\0\1IHAVEOPT", "\0\0\0\3IHAVEOPT", "\0\0\0\0IHAVEOPT", "\0\0\0\2IHAVEOPT" },
  samples = { yes = { "\0\0\0\3IHAVEOPT\0\0\0\7" }, no = { "\0\0\0\3HAVEOPT", "\0\0\0\9IHAVEOPT" } },
}
