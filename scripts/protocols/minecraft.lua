-- Minecraft Java Edition: a handshake packet whose length is exactly that of its fields: id 0, protocol version, server
-- name, port, next state 1 to 3 (Minecraft protocol documentation, "Handshaking"); or the legacy ping, fe 01 fa.
local rx = require "refractium"

-- Where the VarInt at `at` ends; nil: longer than `most` bytes
local function skip(buf, at, most)
  for i = at, at + most - 1 do
    if buf[i] < 0x80 then return i + 1 end
  end
end
local function value(buf, at)
  return buf[at] < 0x80 and buf[at] or buf[at] - 0x80 + buf[at + 1] * 0x80
end

return rx.protocol "minecraft" {
  transport = "tcp",
  first = "\8-\255",
  identify = function(buf)
    local n = #buf
    if buf[0] == 0xfe then return buf:starts("\254\1\250", 0) or (n < 3 and (buf[1] == 1 or n == 1)) and rx.more end
    local at = skip(buf, 0, 2)
    if not at or n >= at and value(buf, 0) < 8 or buf[at] > 0 then return false end
    local name = skip(buf, at + 1, 5)
    local text = name and skip(buf, name, 2)
    if not text then return false end
    if text > n then return rx.more end
    local length = value(buf, name)
    local port = text + length
    if length == 0 or port + 3 - at ~= value(buf, 0) then return false end
    local state = buf[port + 2]
    return state < 0 and rx.more or state >= 1 and state <= 3
  end,
  samples = {
    yes = { "\16\0\251\5\009127.0.0.1\169\125\1", "\254\1\250\0\11", "\17\0\255\255\255\255\15\7a.b.net\99\221\2" },
    no = { "\16\16\0\4MQTT\4\2\0\60", "\16\0\251\5\008127.0.0.1\169\125\1", "\0\57\165\103\1\32", "\5\0\11\3\16" },
  },
}
