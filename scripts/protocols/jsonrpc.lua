-- JSON-RPC: an object that opens with one of a request's members and has "method" or "jsonrpc" in its first bytes
-- (JSON-RPC 1.0 section 1.1, 2.0 section 4; over a stream as in RFC 7047 section 4 and Stratum).
local rx = require "refractium"

local LOOK_AT = 2048

return rx.protocol "jsonrpc" {
  transport = "tcp",
  prefix = {
    '{"id"', '{"jsonrpc"', '{"method"', '{"params"', '{ "id"', '{ "jsonrpc"', '{ "method"', '{ "params"',
    '[{"jsonrpc"', '{\n  "jsonrpc"',
  },
  identify = function(buf)
    local method, version = buf:find('"method"', 0), buf:find('"jsonrpc"', 0)
    if method and method <= LOOK_AT or version and version <= LOOK_AT then return true end
    return #buf < LOOK_AT + 9 and rx.more
  end,
  samples = {
    yes = { '{"id":0,"method":"list_dbs","params":[]}', '{"jsonrpc":"2.0","method":"eth_call","id":1}' },
    no = { '{"name":"method"}', "{}", "[1,2]", '{"idle":true}' },
  },
}
