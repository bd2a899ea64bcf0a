-- SIP: a request line of one of its methods that ends in SIP/2.0 (RFC 3261 section 7.1; methods of RFC 3262, 3311,
-- 3428, 3515, 3903, 6086, 6665); OPTIONS is HTTP's and RTSP's too, SUBSCRIBE and NOTIFY are UPnP's.
local rx = require "refractium"

local VERSION = " SIP/2.0\r\n"
local LINE_MAX = 4096

return rx.protocol "sip" {
  transport = "both",
  prefix = {
    "OPTIONS ", "REGISTER ", "INVITE ", "ACK ", "BYE ", "CANCEL ", "PRACK ", "SUBSCRIBE ", "NOTIFY ", "PUBLISH ",
    "INFO ", "REFER ", "MESSAGE ", "UPDATE ",
  },
  identify = function(buf)
    local n, from = #buf, buf:find(" ", 0) + 1
    local at = from
    while at < n and at < LINE_MAX and buf[at] > 0x20 and buf[at] ~= 0x7f do
      at = at + 1
    end
    if at == n and at < LINE_MAX then return rx.more end
    if at == from or at >= LINE_MAX then return false end
    for i = 1, #VERSION do
      local byte = buf[at + i - 1]
      if byte < 0 then return rx.more end
      if byte ~= VERSION:byte(i) then return false end
    end
    return true
  end,
  samples = {
    yes = { "OPTIONS sip:joe@a.test SIP/2.0\r\nVia: SIP/2.0/TCP a\r\n", "INVITE tel:+1 SIP/2.0\r\n" },
    no = { "OPTIONS * HTTP/1.1\r\n", "OPTIONS rtsp://a/ RTSP/1.0\r\n", "NOTIFY /x HTTP/1.1\r\n", "BYE\r\n" },
  },
}
