-- Yggdrasil: a peer's "meta" with version 0.2 to 0.4, or, since 0.5, a length and fields of type, length, value, the
-- first of them the major version 0 (yggdrasil-go, src/core/version.go).
local rx = require "refractium"

return rx.protocol "yggdrasil" {
  transport = "tcp",
  prefix = "meta\0",
  identify = function(buf)
    local low = buf[5]
    if low < 0 then return rx.more end
    if low >= 2 and low <= 4 then return true end
    if low < 64 or buf[6] > 0 or buf[7] > 3 or buf[8] > 0 then return false end
    return buf[9] < 0 and rx.more or buf[9] >= 1 and buf[9] <= 32
  end,
  samples = {
    yes = { "meta\0\4\30\147\157\164", "meta\0\120\0\0\0\2\0\0\0\1\0\2\0\5" },
    no = { "metadata\n", "meta key\r\n", "meta\0\5", "meta\0\120\0\9" },
  },
}
