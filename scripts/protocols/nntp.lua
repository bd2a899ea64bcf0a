-- NNTP: commands that only news clients and servers send (RFC 3977 sections 5.2, 5.3, 6.3.2; RFC 4643 section 2.3; RFC
-- 4644 section 2); clients wait for the server's greeting. LIST, GROUP, HELP and others are not NNTP's alone.
local rx = require "refractium"

return rx.protocol "nntp" {
  transport = "tcp",
  is_server_first = true,
  prefix = {
    "CAPABILITIES\r\n", "CAPABILITIES ", "MODE READER\r\n", "MODE STREAM\r\n", "AUTHINFO ", "IHAVE <", "CHECK <",
    "TAKETHIS <", "ARTICLE <", "NEWGROUPS ", "XOVER ",
  },
  samples = {
    yes = { "CAPABILITIES\r\n", "MODE READER\r\n", "AUTHINFO USER joe\r\n", "IHAVE <a@b>\r\n" },
    no = { "CAPABILITY\r\n", "MODE S\r\n", "ARTICLE 1\r\n", "LIST\r\n" },
  },
}
