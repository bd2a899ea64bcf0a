-- PROXY protocol: a whole version 1 line, or a version 2 header with room for its addresses (HAProxy's
-- proxy-protocol.txt, sections 2.1 and 2.2). What follows it is another protocol's.
local rx = require "refractium"

local function numbers(buf, at, ends) -- each followed by the next of `ends`, to 255 but for the last two
  for k = 1, #ends do
    local value, from = 0, at
    while buf[at] >= 0x30 and buf[at] <= 0x39 and at < from + 5 do value, at = value * 10 + buf[at] - 0x30, at + 1 end
    if value > (k > #ends - 2 and 65535 or 255) or buf[at] >= 0 and at == from then return false end
    if buf[at] ~= ends:byte(k) then return buf[at] < 0 and rx.more end
    at = at + 1
  end
  return buf[at] == 10 or buf[at] < 0 and rx.more
end
local function address(buf, at) -- behind an IPv6 address and its space; -1: not yet; -2: it is none
  for i = at, at + 39 do
    local b = buf[i]
    if b <= 32 then return b < 0 and -1 or b == 32 and i > at + 1 and i + 1 or -2 end
    if (b < 46 or b > 58 or b == 47) and (b < 65 or b > 70) and (b < 97 or b > 102) then return -2 end
  end
  return -2
end
local function identify(buf)
  if buf[6] == 85 then return buf[13] == 13 or buf[13] == 32 or buf[13] < 0 and rx.more end -- UNKNOWN, then anything
  if buf[0] == 80 and buf[9] == 52 then return numbers(buf, 11, "... ...  \r") elseif buf[0] == 80 then
    local at = address(buf, 11)
    at = at > 0 and address(buf, at) or at
    return at == -1 and rx.more or at > 0 and numbers(buf, at, " \r")
  end
  local command, family, room = buf[12], buf[13], buf:u16(14)
  if command >= 0 and command ~= 32 and command ~= 33 or family > 50 or family > 0 and family < 17 then return false end
  if family > 0 and (family % 16 == 0 or family % 16 > 2) then return false end
  if room < 0 or command == 32 or family == 0 then return room >= 0 or rx.more end
  return room >= (family < 32 and 12 or family < 48 and 36 or 216)
end
local v2 = "\r\n\r\n\0\r\nQUIT\n"
local yes = { "PROXY TCP4 1.2.3.4 5.6.7.8 1 65535\r\n", "PROXY TCP6 ::1 fe80::2 1 2\r\n", v2 .. "\33\17\0\12" }
local no = { "PROXY TCP4 999.0.0.1 1.2.3.4 1 2\r\n", "PROXY TCP6 x ::1 1 2\r\n", v2 .. "\17\17\0\12", "PROXY x" }
return rx.protocol "haproxy-proxy" { transport = "tcp", identify = identify, samples = { yes = yes, no = no },
  prefix = { v2, "PROXY TCP4 ", "PROXY TCP6 ", "PROXY UNKNOWN" } }
