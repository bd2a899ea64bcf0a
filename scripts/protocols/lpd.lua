-- LPD: a daemon command: 1 print, 2 receive, 3 and 4 state, 5 remove, a queue's name, for the last three operands,
-- and LF (RFC 1179 section 5).
local rx = require "refractium"

return rx.protocol "lpd" {
  transport = "tcp",
  prefix = { "\1", "\2", "\3", "\4", "\5" },
  identify = function(buf)
    local at = 1
    while at < 128 and (buf[at] >= 0x30 and buf[at] <= 0x39 or buf[at] >= 0x41 and buf[at] <= 0x5a
      or buf[at] >= 0x61 and buf[at] <= 0x7a or at > 1 and (buf[at] == 0x5f or buf[at] == 0x2d or buf[at] == 0x2e)) do
      at = at + 1
    end
    if buf[at] == 0x20 and buf[0] >= 3 and at > 1 then
      while at < 512 and buf[at] >= 0x20 and buf[at] < 0x7f do at = at + 1 end
    elseif buf[0] == 5 and buf[at] >= 0 then
      return false
    end
    if buf[at] < 0 then return rx.more end
    return at > 1 and buf[at] == 10
  end,
  samples = {
    yes = { "\2lp\n", "\1laser-1\n", "\4lp joe\n", "\3lp\n", "\5lp joe 12\n" },
    no = { "\5\1\0", "\2\n", "\5d\5\201", "\5lp\n", "\2lp x\n", "\4\1\0P" },
  },
}
