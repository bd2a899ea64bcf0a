-- Apache Thrift: a call or oneway message with a name, in the strict binary protocol (80 01) or the compact one (82),
-- framed by a length of four bytes or not (Thrift "Thrift Binary protocol encoding", "Compact protocol encoding").
local rx = require "refractium"

local function is_letter(b)
  return b < 0 and rx.more or b >= 0x41 and b <= 0x5a or b >= 0x61 and b <= 0x7a or b == 0x5f
end

local function message(buf, at)
  local a, b, c, kind = buf[at], buf[at + 1], buf[at + 2], buf[at + 3]
  if a == 0x82 then -- version 1; type above it: 1 call, 4 oneway; sequence id; length of the name
    if b >= 0 and b ~= 0x21 and b ~= 0x81 then return false end
    local i = at + 2
    while i < at + 6 and buf[i] >= 0x80 do i = i + 1 end
    if buf[i] >= 0x80 or buf[i + 1] == 0 or buf[i + 1] > 0x7f then return false end
    return is_letter(buf[i + 2])
  end
  if a ~= 0x80 then return a < 0 and rx.more end
  if b >= 0 and b ~= 1 or c > 0 or kind >= 0 and kind ~= 1 and kind ~= 4 then return false end
  if buf[at + 4] > 0 or buf[at + 5] > 0 or buf[at + 6] > 0 or buf[at + 7] == 0 then return false end
  return is_letter(buf[at + 8])
end

return rx.protocol "thrift" {
  transport = "tcp",
  prefix = { "\0", "\128\1\0", "\130\33", "\130\129" },
  identify = function(buf)
    if buf[0] > 0 then return message(buf, 0) end
    return (buf:u32(0) < 0 or buf:u32(0) >= 6) and message(buf, 4)
  end,
  samples = {
    yes = { "\0\0\0\17\128\1\0\1\0\0\0\4ping\0\0\0\1\0", "\128\1\0\4\0\0\0\4ping", "\0\0\0\9\130\33\1\4ping\0" },
    no = { "\128\1\0\2\0\0\0\4ping", "\0\0\0\17\128\1\0\1\0\0\0\0", "\128\0\0\68\60\66\24\217", "\0\0\0\5\130\33" },
  },
}
