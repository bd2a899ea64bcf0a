-- TeamSpeak 3 ServerQuery: the selection of a server by port or id, or a login by name (TeamSpeak 3 Server Query
-- manual, "use", "login").
local rx = require "refractium"

return rx.protocol "teamspeak-query" {
  transport = "tcp",
  is_server_first = true,
  prefix = { "use port=", "use sid=", "login client_login_name=" },
  identify = function(buf)
    if buf[0] == 0x6c then return true end
    local digit = buf[buf:find("=", 0) + 1]
    return digit < 0 and rx.more or digit >= 0x30 and digit <= 0x39
  end,
  samples = { yes = { "use port=10011\n", "use sid=1\n" }, no = { "use port=\n", "use mail\r\n", "login a b\n" } },
}
