-- Diameter: a Capabilities-Exchange-Request: version 1, length, flags with R, command 257, application 0 (RFC 6733
-- sections 3 and 5.3.1).
local rx = require "refractium"

return rx.protocol "diameter" {
  transport = "tcp",
  prefix = "\1\0",
  identify = function(buf)
    local length = buf:u24(1)
    if length >= 0 and (length < 20 or length % 4 ~= 0) or buf[4] >= 0 and buf[4] ~= 0x80 then return false end
    if buf[5] > 0 or buf[6] >= 0 and buf[6] ~= 1 or buf[7] >= 0 and buf[7] ~= 1 then return false end
    if buf[8] > 0 or buf[9] > 0 or buf[10] > 0 or buf[11] > 0 then return false end
    return #buf >= 12 or rx.more
  end,
  samples = {
    yes = { "\1\0\0\40\128\0\1\1\0\0\0\0\118\153\178\43" },
    no = { "\1\0\0\40\0\0\1\1\0\0\0\0", "\1\0\0\0\1\0\0\0\1\63", "\1\0\0\8\0\0\0\1", "\1\0\0\148\0\0\1\0" },
  },
}
