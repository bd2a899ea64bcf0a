-- ManageSieve: AUTHENTICATE with its quoted mechanism, CAPABILITY without a tag, and others (RFC 5804 section 2); its
-- clients wait for the server's greeting. STARTTLS alone is anybody's; IRC clients say it unasked.
local rx = require "refractium"

return rx.protocol "managesieve" {
  transport = "tcp",
  is_server_first = true,
  prefix = { 'AUTHENTICATE "', "CAPABILITY\r\n", 'HAVESPACE "', "LISTSCRIPTS\r\n", 'PUTSCRIPT "', 'SETACTIVE "' },
  samples = { yes = { 'AUTHENTICATE "PLAIN" "AGEAYg=="\r\n' }, no = { "AUTHENTICATE PLAIN\r\n", "a CAPABILITY\r\n" } },
}
