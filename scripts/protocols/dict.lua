-- DICT: DEFINE, MATCH or SHOW with their arguments, or CLIENT and such a command on the next line (RFC 2229 sections
-- 3.2 to 3.6). CLIENT alone is Redis' too.
local rx = require "refractium"

local LINE_MAX = 512

local function words(buf, from) -- how many there are in the line from `from`; -1: it has not ended; -2: no line
  local count = 0
  for at = from, from + LINE_MAX do
    local b = buf[at]
    if b < 0 then return -1 elseif b == 10 then return count end
    if b < 32 and b ~= 13 and b ~= 9 then return -2 end
    if b > 32 and (at == from or buf[at - 1] == 32) then count = count + 1 end
  end
  return -2
end

return rx.protocol "dict" {
  transport = "tcp",
  is_server_first = true,
  prefix = { "CLIENT ", "client ", "DEFINE ", "define ", "MATCH ", "match ", "SHOW ", "show " },
  identify = function(buf)
    local count = words(buf, 0)
    if count < 0 then return count == -1 and rx.more end
    local verb = buf[0] % 32
    if verb ~= 3 then return count >= (verb == 4 and 3 or verb == 13 and 4 or 2) end
    local at = buf:find("\n", 0) + 1
    local a, b = buf[at], buf[at + 1]
    if a < 0 then return rx.more end
    a, b = a % 32, b < 0 and b or b % 32
    if a ~= 4 and a ~= 13 and a ~= 19 then return false end -- DEFINE, MATCH, SHOW or STATUS
    return b < 0 and rx.more or a == 4 and b == 5 or a == 13 and b == 1 or a == 19 and (b == 8 or b == 20)
  end,
  samples = {
    yes = { "CLIENT libcurl 7.88.1\r\nDEFINE ! word\r\nQUIT\r\n", "DEFINE * \"word\"\r\n", "SHOW DB\r\n" },
    no = { "CLIENT LIST\r\nPING\r\n", "DEFINE word\r\n", "MATCH a b\r\n", "SHOW\1 x\r\n" },
  },
}
