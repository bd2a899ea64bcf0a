-- CoAP over TCP: a Capabilities and Settings Message, code 7.01, without token, whose first option is Max-Message-Size
-- (2) or Block-Wise-Transfer (4) (RFC 8323 sections 3.2, 5.3). One without any option is two bytes, too little to know.
local rx = require "refractium"

return rx.protocol "coap" {
  transport = "tcp",
  identify = function(buf)
    local first, at = buf[0], 1
    if first >= 0 and (first % 16 ~= 0 or first < 0x10 or first > 0xd0) then return false end
    if first == 0xd0 then at = 2 end -- a byte of extended length
    if at == 2 and buf[1] > 20 or buf[at] >= 0 and buf[at] ~= 0xe1 then return false end
    local option = buf[at + 1]
    if option < 0 then return rx.more end
    local length = at == 2 and 13 + buf[1] or first / 16
    return option == 0x40 or option >= 0x20 and option <= 0x24 and option - 0x20 < length
  end,
  samples = {
    yes = { "P\225\35\128\1\0\32", "\64\225\34\18\0\64", "\16\225\64" },
    no = { "POST / HTTP/1.1\r\n", "P\225\37\0", "\0\225\35", "\16\16\0\4MQTT", "\80\64" },
  },
}
