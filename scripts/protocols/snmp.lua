-- SNMP over TCP (RFC 3430) and UDP: a BER SEQUENCE of a version and a community, then a request (RFC 1157 section 4,
-- RFC 3416 section 3), or of version 3 and its header data (RFC 3412 section 6).
local rx = require "refractium"

return rx.protocol "snmp" {
  transport = "both",
  prefix = "\48",
  identify = function(buf)
    local at = 2
    if buf[1] >= 0x80 then
      if buf[1] == 0x80 or buf[1] > 0x84 then return false end
      at = buf[1] - 0x80 + 2
    end
    local tag, one, version, next_tag, length = buf[at], buf[at + 1], buf[at + 2], buf[at + 3], buf[at + 4]
    if tag >= 0 and tag ~= 2 or one >= 0 and one ~= 1 or version == 2 or version > 3 then return false end
    if next_tag < 0 then return rx.more end
    if version == 3 then -- msgID: an INTEGER of one to four bytes
      if next_tag ~= 0x30 or length >= 0x80 or buf[at + 5] >= 0 and buf[at + 5] ~= 2 then return false end
      return buf[at + 6] < 0 and rx.more or buf[at + 6] > 0 and buf[at + 6] <= 5
    end
    if next_tag ~= 4 or length >= 0x80 then return false end
    if length < 0 then return rx.more end
    local request = buf[at + 5 + length]
    return request < 0 and rx.more or request >= 0xa0 and request <= 0xa8
  end,
  samples = {
    yes = { "0\41\2\1\1\4\6public\160\28\2\4", "0\62\2\1\3\48\17\2\4\39\151\105\221\2\3" },
    no = { "0\12\2\1\1\96\7\2\1\3\4\0\128\0", "0\41\2\1\2\4\6public\160", "0\41\2\1\1\4\6public\48" },
  },
}
