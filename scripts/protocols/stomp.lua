-- STOMP: a frame with the command CONNECT or STOMP on a line of its own (STOMP 1.2, "CONNECT or STOMP Frame").
local rx = require "refractium"

return rx.protocol "stomp" {
  transport = "tcp",
  prefix = { "CONNECT\n", "CONNECT\r\n", "STOMP\n", "STOMP\r\n" },
  samples = {
    yes = { "CONNECT\naccept-version:1.2\nhost:/\n\n\0", "STOMP\r\naccept-version:1.2\r\n\r\n\0" },
    no = { "CONNECT a.test:443 HTTP/1.1\r\n", 'CONNECT {"verbose":false}\r\n', "CONNECTED\n" },
  },
}
