-- memcached: a whole command line (protocol.txt, "Commands") or a binary request whose lengths agree (BinaryProtocol).
-- `stats` alone, which beanstalkd knows too, is taken here; `quit` is everybody's and is not.
local rx = require "refractium"

local COMMANDS = { -- name, least and most arguments, the first and last of them that are numbers
  { "get ", 1, 99, 0, 0 }, { "gets ", 1, 99, 0, 0 }, { "gat ", 2, 99, 1, 1 }, { "gats ", 2, 99, 1, 1 },
  { "set ", 4, 5, 2, 4 }, { "add ", 4, 5, 2, 4 }, { "replace ", 4, 5, 2, 4 }, { "append ", 4, 5, 2, 4 },
  { "prepend ", 4, 5, 2, 4 }, { "cas ", 5, 6, 2, 5 }, { "delete ", 1, 2, 0, 0 }, { "incr ", 2, 3, 2, 2 },
  { "decr ", 2, 3, 2, 2 }, { "touch ", 2, 3, 2, 2 }, { "stats", 0, 3, 0, 0 }, { "version", 0, 0, 0, 0 },
  { "flush_all", 0, 2, 0, 0 }, { "verbosity ", 1, 2, 1, 1 }, { "mg ", 1, 30, 0, 0 }, { "ms ", 2, 30, 2, 2 },
  { "md ", 1, 30, 0, 0 }, { "ma ", 1, 30, 0, 0 }, { "me ", 1, 3, 0, 0 }, { "mn", 0, 0, 0, 0 },
}
local prefix = { "\128" }
for i = 1, #COMMANDS do prefix[i + 1] = COMMANDS[i][1] end

local function line(buf, c)
  local args = 0
  for at = #c[1], 2047 do
    local b = buf[at]
    if b < 0 then return rx.more end
    if b == 13 or b == 10 then return args >= c[2] and (b == 10 or buf[at + 1] == 10 or buf[at + 1] < 0 and rx.more) end
    if b ~= 32 and buf[at - 1] == 32 then args = args + 1 elseif b ~= 32 and at == #c[1] then return false end
    if b < 32 or args > c[3] then return false end
    if args == 2 and (buf:starts("HTTP/", at) or buf:starts("http/", at)) then return false end
    if b ~= 32 and args >= c[4] and args <= c[5] and (b < 48 or b > 57) and b ~= 45 then return false end
  end
  return false
end
local function identify(buf)
  for i = 1, #COMMANDS do
    if buf:starts(COMMANDS[i][1], 0) then return line(buf, COMMANDS[i]) end
  end
  local key, extras, body = buf:u16(2), buf[4], buf:u32(8)
  if buf[1] > 0x48 or key > 250 or extras > 24 or buf[5] > 0 then return false end
  return body < 0 and rx.more or body >= key + extras and body <= 0x200000
end
local yes = { "get key1\r\n", "set k 0 -1 3 noreply\r\nabc\r\n", "version\r\n", "\128\11\0\0\0\0\0\0\0\0\0\0" }
local no = { "set a b\r\n", "get\r\n", "status\r\n", "version 1\r\n", "\128\0\0\68\60\66\24\217\0\0\0\0" }
local samples = { yes = yes, no = no }
return rx.protocol "memcached" { transport = "tcp", prefix = prefix, identify = identify, samples = samples }
