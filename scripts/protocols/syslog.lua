-- syslog: "<PRI>" of 0 to 191, then a version (RFC 5424 section 6), a month (RFC 3164 section 4.1.2) or the year that
-- rsyslog writes there; over TCP also behind a count of bytes and a space (RFC 6587 section 3.4.1).
local rx = require "refractium"

local MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"

return rx.protocol "syslog" {
  transport = "both",
  prefix = { "<", "1", "2", "3", "4", "5", "6", "7", "8", "9" },
  identify = function(buf)
    local at, pri = 0, 0
    while at < 6 and buf[at] >= 0x30 and buf[at] <= 0x39 do at = at + 1 end
    if at > 0 and buf[at] == 0x20 then at = at + 1 elseif at > 0 then return buf[at] < 0 and rx.more end
    if buf[at] < 0 then return rx.more elseif buf[at] ~= 0x3c then return false end
    local from = at + 1
    at = from
    while at < from + 3 and buf[at] >= 0x30 and buf[at] <= 0x39 do
      pri, at = pri * 10 + buf[at] - 0x30, at + 1
    end
    if pri > 191 or buf[from] == 0x30 and at > from + 1 then return false end
    if buf[at] < 0 then return rx.more elseif buf[at] ~= 0x3e or at == from then return false end
    local a, b, c = buf[at + 1], buf[at + 2], buf[at + 3]
    if a >= 0x31 and a <= 0x39 then return b < 0 and rx.more or b == 0x20 or b >= 0x30 and b <= 0x39 end
    if a >= 0 and (a < 0x41 or a > 0x53) or b >= 0 and (b < 0x61 or b > 0x75) then return false end
    if c < 0 then return rx.more end
    for i = 1, #MONTHS, 3 do
      if a == MONTHS:byte(i) and b == MONTHS:byte(i + 1) and c == MONTHS:byte(i + 2) then return true end
    end
    return false
  end,
  samples = {
    yes = { "<13>Nov 21 07:24:02 vm app: x\n", "<165>1 2003-10-11T22:14:15Z h a - - -", "40 <13>1 - - - - - -" },
    no = { "<192>1 -", "<?xml version='1.0'?>", "<013>1 -", "1 CAPABILITY\r\n", "<13>Foo 1", "012345" },
  },
}
