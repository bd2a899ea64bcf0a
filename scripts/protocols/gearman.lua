-- Gearman: a binary request, "\0REQ", its type and its length (gearmand's PROTOCOL, "Binary Packet").
local rx = require "refractium"

return rx.protocol "gearman" {
  transport = "tcp",
  prefix = "\0REQ\0\0\0",
  identify = function(buf)
    local kind = buf[7]
    return kind < 0 and rx.more or kind >= 1 and kind <= 42
  end,
  samples = {
    yes = { "\0REQ\0\0\0\7\0\0\0\42wc\0" },
    no = { "\0RES\0\0\0\8", "\0REQ\0\0\0\99", "\0REQ\0term/9600\0" },
  },
}
