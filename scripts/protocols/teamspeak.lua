-- TeamSpeak 3 voice: a client's first packets carry this in place of a MAC, then packet id 101, client id 0 and the
-- type with its flags (TeamSpeak 3 protocol notes of the tsdoc project, "Packets" and "Low-Level Initiation").
local rx = require "refractium"

return rx.protocol "teamspeak" {
  transport = "udp",
  prefix = "TS3INIT1\0\101\0\0\136",
  samples = {
    yes = { "TS3INIT1\0\101\0\0\136\9\131\156\174\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0" },
    no = { "TS3INIT1", "GET / HTTP/1.1\r\n" },
  },
}
