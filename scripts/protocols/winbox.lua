-- MikroTik Winbox: since RouterOS 6.43 length, 06, user, NUL, EC-SRP5 key (32), its parity; before that length, 01,
-- length again, an M2 message. Undocumented; as published by Margin Research ("MikroTik Authentication Revealed",
-- 2022).
local rx = require "refractium"

local KEY = 32

return rx.protocol "winbox" {
  transport = "tcp",
  first = "\8-\255",
  identify = function(buf)
    local length, kind = buf[0], buf[1]
    if length >= 0 and length < 8 then return false end
    if kind < 0 then return rx.more end
    if kind == 1 then
      if buf:u16(2) >= 0 and buf:u16(2) ~= length - 2 or buf[4] >= 0 and buf[4] ~= 0x4d then return false end
      return buf[5] == 0x32 or buf[5] < 0 and rx.more
    end
    local nul = length - KEY
    if kind ~= 6 or nul < 3 then return false end
    for i = 2, nul - 1 do -- a user name; "+r" behind it asks for RoMON
      local b = buf[i]
      if b < 0 then return rx.more end
      if b <= 0x20 or b >= 0x7f then return false end
    end
    if buf[nul] > 0 then return false end
    local parity = buf[length + 1]
    return parity < 0 and rx.more or parity <= 1
  end,
  samples = {
    yes = { "\39\6admin\0" .. ("k"):rep(32) .. "\1", "\104\1\0\102M2\5\0\255\1" },
    no = { "\39\6admin\0" .. ("k"):rep(32) .. "\2", "\22\3\1\2\0\1", "\39\6ad\0in\0", "\1\6\0\1" },
  },
}
