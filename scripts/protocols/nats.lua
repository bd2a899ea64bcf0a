-- NATS: a client's CONNECT with its JSON options (NATS documentation, "Client Protocol", CONNECT); it comes after the
-- server's INFO, unless the client is set to speak first. HTTP's CONNECT takes no brace, STOMP's no space.
local rx = require "refractium"

return rx.protocol "nats" {
  transport = "tcp",
  is_server_first = true,
  prefix = { "CONNECT {", "connect {" },
  samples = {
    yes = { 'CONNECT {"protocol":1,"lang":"go"}\r\n' },
    no = { "CONNECT a.test:443 HTTP/1.1\r\n", "CONNECT\n" },
  },
}
