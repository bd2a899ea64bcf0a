-- PPTP: a Start-Control-Connection-Request: length 156, control message, magic cookie, type 1 (RFC 2637 section 2.1).
local rx = require "refractium"

return rx.protocol "pptp" {
  transport = "tcp",
  prefix = "\0\156\0\1\26\43\60\77\0\1",
  samples = {
    yes = { "\0\156\0\1\26\43\60\77\0\1\0\0\1\0" },
    no = { "\0\156\0\1\26\43\60\77\0\2", "\0\156\1\1\26\43" },
  },
}
