-- Telnet: a negotiation, IAC, WILL to DONT and an option of IANA's registry, and another IAC command behind it
-- (RFC 854, "TELNET COMMAND STRUCTURE"; RFC 855).
local rx = require "refractium"

return rx.protocol "telnet" {
  transport = "tcp",
  prefix = { "\255\251", "\255\252", "\255\253", "\255\254" },
  identify = function(buf)
    local option, iac, command = buf[2], buf[3], buf[4]
    if option > 49 and option < 138 or option > 140 and option < 255 or iac >= 0 and iac ~= 255 then return false end
    return command < 0 and rx.more or command >= 250 and command <= 254
  end,
  samples = {
    yes = { "\255\251\24\255\251\32\255\252\35", "\255\253\3\255\250\24\0" },
    no = { "\255\255\255\255", "\255\0\0\0\0\0\0\0\1\127", "\255\251\24login", "\255\254<\0h\0" },
  },
}
