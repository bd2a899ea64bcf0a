-- Subversion: the client's answer to the greeting of svnserve, a list that begins with version 2 and a list of
-- capabilities (Subversion's libsvn_ra_svn/protocol, section 2).
local rx = require "refractium"

return rx.protocol "svn" {
  transport = "tcp",
  is_server_first = true,
  prefix = "( 2 ( ",
  samples = { yes = { "( 2 ( edit-pipeline svndiff1 ) 9:svn://a/r " }, no = { "( 2 2 ( ", "(2 (" } },
}
