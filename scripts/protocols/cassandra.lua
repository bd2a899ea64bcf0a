-- Cassandra: a CQL frame of version 3 to 5, or DSE's 0x41 and 0x42, with OPTIONS (no body) or STARTUP (a map of
-- upper-case names) in it (CQL BINARY PROTOCOL v4, sections 2, 4.1.1 and 4.1.3).
-- A stream id below 256 is asked of OPTIONS, whose nine bytes an RTMP handshake could open with.
local rx = require "refractium"

local BETA = 0x10

return rx.protocol "cassandra" {
  transport = "tcp",
  prefix = { "\3\0", "\4\0", "\5\0", "\5\16", "\65\0", "\66\0" },
  identify = function(buf)
    local opcode, length = buf[4], buf:u32(5)
    if opcode < 0 then return rx.more end
    if buf[1] ~= 0 and buf[1] ~= BETA then return false end
    if opcode == 5 then
      if buf[2] > 0 or buf[5] > 0 or buf[6] > 0 or buf[7] > 0 or buf[8] > 0 then return false end
      return length == 0 or rx.more
    end
    if opcode ~= 1 or buf[5] > 0 or buf[6] > 0 or length >= 0 and length < 8 then return false end
    local pairs_low, name, letter = buf[10], buf[12], buf[13]
    if buf[9] > 0 or pairs_low == 0 or pairs_low > 32 or buf[11] > 0 or name == 0 or name > 64 then return false end
    return letter < 0 and rx.more or letter >= 0x41 and letter <= 0x5a
  end,
  samples = {
    yes = {
      "\4\0\0\0\5\0\0\0\0", "\66\0\0\0\1\0\0\0\22\0\1\0\11CQL_VERSION\0\5" .. "3.0.0",
      "\5\16\0\1\1\0\0\0\22\0\1\0\11C",
    },
    no = {
      "\4\0\0\16\0\0\0\1", "\3\0\0\22\17\224", "\4\1\0\80\127\0\0\1\0", "\4\0\0\0\5\0\0\0\1", "\131\0\0\0\6\0\0\0\0",
    },
  },
}
