-- tinc: the ID request, "0 NAME MAJOR[.MINOR]" (tinc's doc/PROTOCOL and protocol_auth.c; 17 since 1.0, 17.x in 1.1,
-- where an invited node says "?KEY" for its name).
local rx = require "refractium"

return rx.protocol "tinc" {
  transport = "tcp",
  prefix = "0 ",
  identify = function(buf)
    local at = buf[2] == 0x3f and 3 or 2
    local from = at
    while at < 300 and (buf[at] >= 0x30 and buf[at] <= 0x39 or buf[at] >= 0x41 and buf[at] <= 0x5a
      or buf[at] >= 0x61 and buf[at] <= 0x7a or buf[at] == 0x5f or from == 3 and buf[at] == 0x2d) do
      at = at + 1
    end
    if buf[at] < 0 then return at < 300 and rx.more end
    if at == from or buf[at] ~= 0x20 then return false end
    if buf[at + 1] >= 0 and buf[at + 1] ~= 0x31 or buf[at + 2] >= 0 and buf[at + 2] ~= 0x37 then return false end
    for i = at + 3, at + 6 do
      local b = buf[i]
      if b < 0 then return rx.more end
      if b == 10 then return buf[i - 1] ~= 0x2e end
      if i == at + 3 and b ~= 0x2e or i > at + 3 and (b < 0x30 or b > 0x39) then return false end
    end
    return false
  end,
  samples = {
    yes = { "0 alpha 17\n", "0 beta_2 17.7\n" },
    no = { "0  17\n", "0 alpha\n", "0 a b 17\n", "0 alpha 17.\n" },
  },
}
