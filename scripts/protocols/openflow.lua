-- OpenFlow: a hello of version 1.0, 1.3, 1.4 or 1.5: type 0, length 8, or 16 with a version bitmap (OpenFlow Switch
-- Specification 1.3.5, sections 7.1.1 and 7.5.1).
local rx = require "refractium"

return rx.protocol "openflow" {
  transport = "tcp",
  prefix = { "\1\0\0\8", "\4\0\0\8", "\4\0\0\16", "\5\0\0\8", "\5\0\0\16", "\6\0\0\8", "\6\0\0\16" },
  identify = function(buf)
    local n = #buf
    if buf[3] == 8 then return n >= 8 or rx.more end
    if buf[8] > 0 or buf[9] >= 0 and buf[9] ~= 1 or buf[10] > 0 then return false end
    return buf[11] == 8 or buf[11] < 0 and rx.more
  end,
  samples = {
    yes = { "\4\0\0\16\0\0\0\1\0\1\0\8\0\0\0\16", "\1\0\0\8\0\0\0\1" },
    no = { "\4\0\0\0\5\0\0\0\0", "\4\0\0\16\0\0\0\1\0\2\0\8", "\4\1\0\80\127\0\0\1\0", "\3\0\0\16\0\0\0\1" },
  },
}
