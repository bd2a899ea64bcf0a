-- MTProto: a transport in the clear, intermediate (ee), padded (dd) or abridged (ef), with a message length in it
-- (core.telegram.org/mtproto/mtproto-transports). The obfuscated transports that most clients use look like noise.
local rx = require "refractium"

return rx.protocol "mtproto" {
  transport = "tcp",
  prefix = { "\238\238\238\238", "\221\221\221\221", "\239" },
  identify = function(buf)
    if buf[0] == 0xef then -- a length in words, and 0 for the key that is not agreed on yet
      if buf[1] >= 0 and (buf[1] < 5 or buf[1] > 0x7e) then return false end
      for i = 2, 9 do
        if buf[i] > 0 then return false end
      end
      return #buf >= 10 or rx.more
    end
    local length = buf:u32le(4)
    if buf[6] > 0 or buf[7] > 0 then return false end
    return length < 0 and rx.more or length >= 20 and (buf[0] == 0xdd or length % 4 == 0)
  end,
  samples = {
    yes = { "\238\238\238\238\40\0\0\0\0\0\0\0", "\221\221\221\221\41\0\0\0", "\239\10\0\0\0\0\0\0\0\0\1" },
    no = { "\238\238\238\238\41\0\0\0", "\238\238\238\238\255\255\255\255", "\239\187\191GET /", "\239\10\1" },
  },
}
