-- Kerberos over TCP: a length and a message that asks a KDC, AS-REQ or TGS-REQ, with pvno 5 (RFC 4120 sections 5.4.1
-- and 7.2.2).
local rx = require "refractium"

-- Where the contents of the element at `at` begin; nil: a length no request has
local function contents(buf, at)
  local length = buf[at + 1]
  if length < 0x80 then return at + 2 end
  return length > 0x80 and length <= 0x83 and at + length - 0x80 + 2 or nil
end

return rx.protocol "kerberos" {
  transport = "tcp",
  prefix = "\0",
  identify = function(buf)
    local tag, rest = buf[4], buf:u24(1)
    if rest >= 0 and rest < 20 or tag >= 0 and tag ~= 0x6a and tag ~= 0x6c then return false end
    local sequence = contents(buf, 4)
    if not sequence or buf[sequence] >= 0 and buf[sequence] ~= 0x30 then return false end
    local at = contents(buf, sequence)
    if not at or buf[at] >= 0 and buf[at] ~= 0xa1 or buf[at + 1] >= 0 and buf[at + 1] ~= 3 then return false end
    if buf[at + 2] >= 0 and buf[at + 2] ~= 2 or buf[at + 3] >= 0 and buf[at + 3] ~= 1 then return false end
    return buf[at + 4] == 5 or buf[at + 4] < 0 and rx.more
  end,
  samples = {
    yes = { "\0\0\0\171\106\129\168\48\129\165\161\3\2\1\5\162\3\2\1\10" },
    no = { "\0\0\0\171\106\129\168\48\129\165\161\3\2\1\4", "\0\0\0\53\0\3\0\0", "\0\0\0\171\107\129\168" },
  },
}
