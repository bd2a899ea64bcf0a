-- Siemens S7: a COTP connection request in TPKT (RFC 1006 section 6, RFC 905 section 13.3) whose called TSAP is of S7's
-- form: a connection type of 1 to 3, or 10 and more, and rack and slot, or "SIMATIC-ROOT-..." (Siemens SIMATIC NET,
-- "TSAP"; as in Snap7). RDP sends no parameters here; MMS calls 00 01.
local rx = require "refractium"

local CALLED, CALLING, SIZE = 0xc2, 0xc1, 0xc0

return rx.protocol "s7comm" {
  transport = "tcp",
  prefix = "\3\0",
  identify = function(buf)
    local length, at = buf:u16(2), 11
    if length < 0 then return buf[2] <= 0 and rx.more end
    if length < 15 or length > 131 or buf[4] >= 0 and buf[4] ~= length - 5 then return false end
    if buf[5] >= 0 and buf[5] ~= 0xe0 or buf[6] > 0 or buf[7] > 0 or buf[10] > 0 then return false end
    while at < length do
      local kind, size, first = buf[at], buf[at + 1], buf[at + 2]
      if kind < 0 then return rx.more end
      if kind ~= CALLED and kind ~= CALLING and kind ~= SIZE then return false end
      if kind == CALLED then
        if size == 2 then return first < 0 and rx.more or first >= 1 and first <= 3 or first >= 0x10 end
        if size < 0 or size > 12 and first < 0 then return rx.more end
        return size > 12 and first == 0x53
      end
      if size < 0 then return rx.more end
      at = at + 2 + size
    end
    return false
  end,
  samples = {
    yes = {
      "\3\0\0\22\17\224\0\0\0\1\0\192\1\10\193\2\1\0\194\2\1\2",
      "\3\0\0\22\17\224\0\0\0\1\0\193\2\1\0\194\2\3\0\192\1\9",
    },
    no = {
      "\3\0\0\41\36\224\0\0\0\0\0Cookie: mstshash=a\r\n", "\3\0\0\22\17\224\0\0\0\1\0\192\1\10\193\2\0\1\194\2\0\1",
    },
  },
}
