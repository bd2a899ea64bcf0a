-- RTSP: a request line of one of its methods that ends in RTSP/1.0 or RTSP/2.0 (RFC 2326 section 6.1, RFC 7826
-- section 20.1); OPTIONS and others are HTTP's and SIP's too, so only the version tells.
local rx = require "refractium"

local VERSION = "RTSP/"
local LINE_MAX = 4096

return rx.protocol "rtsp" {
  transport = "tcp",
  prefix = {
    "OPTIONS ", "DESCRIBE ", "ANNOUNCE ", "SETUP ", "PLAY ", "PLAY_NOTIFY ", "PAUSE ", "RECORD ", "TEARDOWN ",
    "REDIRECT ", "GET_PARAMETER ", "SET_PARAMETER ",
  },
  identify = function(buf)
    local n, from = #buf, buf:find(" ", 0) + 1
    local at = from
    while at < n and at < LINE_MAX and buf[at] > 0x20 and buf[at] ~= 0x7f do
      at = at + 1
    end
    if at == n and at < LINE_MAX then return rx.more end
    if at == from or buf[at] ~= 0x20 or at >= LINE_MAX then return false end
    for i = 1, #VERSION do
      local byte = buf[at + i]
      if byte < 0 then return rx.more end
      if byte ~= VERSION:byte(i) then return false end
    end
    local major, dot, minor = buf[at + 6], buf[at + 7], buf[at + 8]
    if major >= 0 and major ~= 0x31 and major ~= 0x32 or dot >= 0 and dot ~= 0x2e then return false end
    return minor == 0x30 or minor < 0 and rx.more
  end,
  samples = {
    yes = { "OPTIONS rtsp://a.test/cam RTSP/1.0\r\nCSeq: 1\r\n\r\n", "DESCRIBE rtsp://a.test/ RTSP/2.0\r\n" },
    no = { "OPTIONS * HTTP/1.1\r\n", "OPTIONS sip:a@b SIP/2.0\r\n", "PLAY  RTSP/1.0\r\n", "PAUSE x RTSP/3.0\r\n" },
  },
}
