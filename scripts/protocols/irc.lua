-- IRC: the first line of a client that registers, NICK, USER with four parameters, CAP, WEBIRC, STARTTLS, PASS with
-- such a line behind it, or SERVER (RFC 1459 section 4.1, RFC 2812 section 3.1, ircv3.net client capability
-- negotiation). USER with one parameter is FTP's or POP3's, and PASS alone is no more than a word.
local rx = require "refractium"

local LINE_MAX = 512

-- After PASS's line: does NICK, USER, CAP, SERVER, PASS or PROTOCTL begin? Judged by the first letters.
local function follows(buf, at)
  local a, b = buf[at], buf[at + 1]
  if a < 0 or b < 0 and (a == 78 or a == 85 or a == 67 or a == 80 or a == 83) then return rx.more end
  return a == 78 and b == 73 or a == 85 and b == 83 or a == 67 and b == 65
    or a == 80 and (b == 65 or b == 82) or a == 83 and b == 69
end

return rx.protocol "irc" {
  transport = "tcp",
  prefix = { "NICK ", "USER ", "PASS ", "SERVER ", "WEBIRC ", "CAP LS", "CAP REQ ", "CAP END", "STARTTLS\r\n" },
  identify = function(buf)
    local n, words = #buf, 0
    for at = 0, LINE_MAX - 1 do
      local b = buf[at]
      if b < 0 then return rx.more end
      if b == 10 then
        if buf[0] == 80 then return follows(buf, at + 1) end
        if buf[0] == 85 then return words >= 4 end -- USER
        if buf[1] == 69 then return words >= 3 end -- SERVER, WEBIRC
        return buf[0] ~= 78 or words == 1 or words == 2
      end
      if b == 0 or b == 13 and at + 1 < n and buf[at + 1] ~= 10 then return false end
      if b > 32 and buf[at - 1] == 32 then words = words + 1 end
    end
    return false
  end,
  samples = {
    yes = { "NICK joe\r\nUSER joe 0 * :Joe\r\n", "USER a 0 * :x\r\n", "CAP LS 302\r\n", "PASS x\r\nNICK a\r\n" },
    no = { "USER joe\r\n", "PASS secret\r\nSTAT\r\n", "NICK\r\n", "CAPA\r\n", "NICK a b c d\r\n" },
  },
}
