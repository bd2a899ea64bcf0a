-- beanstalkd: a whole command line of a producer or worker (beanstalkd's doc/protocol.txt). `stats` is memcached's as
-- well, which comes first where both are asked; `delete` and `quit` others have too.
local rx = require "refractium"

return rx.protocol "beanstalkd" {
  transport = "tcp",
  prefix = {
    "put ", "use ", "watch ", "ignore ", "kick ", "stats-job ", "stats-tube ", "reserve\r\n", "reserve-with-timeout ",
    "peek ", "peek-ready\r\n", "peek-delayed\r\n", "peek-buried\r\n", "list-tubes\r\n", "list-tube-used\r\n",
    "list-tubes-watched\r\n", "stats\r\n", "pause-tube ",
  },
  identify = function(buf)
    local space = 0
    while buf[space] > 32 do space = space + 1 end
    if buf[space] ~= 32 then return true end -- a command without arguments, its CR LF in the prefix
    local is_put, args = buf[1] == 0x75 and buf[2] == 0x74, 0
    for at = space + 1, space + 260 do
      local b = buf[at]
      if b < 0 then return rx.more end
      if b == 13 then
        if args ~= (is_put and 4 or 1) and (args ~= 2 or buf[1] ~= 0x61) then return false end
        return buf[at + 1] == 10 or buf[at + 1] < 0 and rx.more
      end
      local is_digit = b >= 0x30 and b <= 0x39
      local is_letter = b >= 0x41 and b <= 0x5a or b >= 0x61 and b <= 0x7a or b == 0x5f
      if b ~= 32 and not is_digit and (is_put or not (is_letter or b == 0x24 or b == 0x28 or b == 0x29 or b == 0x2b
        or b >= 0x2d and b <= 0x2f or b == 0x3b)) then return false end
      if b ~= 32 and buf[at - 1] == 32 then args = args + 1 end
    end
    return false
  end,
  samples = {
    yes = { "put 0 0 60 5\r\nhello\r\n", "use mail\r\n", "reserve\r\n", "reserve-with-timeout 5\r\n", "stats\r\n" },
    no = { "use port=10011\n", "put file.txt\r\n", "watch\r\n", "use a b\r\n", "stats items\r\n" },
  },
}
