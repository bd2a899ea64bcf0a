-- MongoDB: a little-endian message header: length, request id, responseTo 0, OP_MSG or OP_QUERY (MongoDB manual,
-- "MongoDB Wire Protocol", standard message header).
local rx = require "refractium"

return rx.protocol "mongodb" {
  transport = "tcp",
  identify = function(buf)
    local length = buf:u32le(0)
    if buf[3] > 0 or buf[2] > 0 or length >= 0 and length < 26 then return false end -- no hello has 64 KB
    for i = 8, 11 do
      if buf[i] > 0 then return false end
    end
    local low = buf[12]
    if low >= 0 and low ~= 0xdd and low ~= 0xd4 then return false end -- 2013, 2004
    if buf[13] >= 0 and buf[13] ~= 7 or buf[14] > 0 or buf[15] > 0 then return false end
    return #buf >= 16 or rx.more
  end,
  samples = {
    yes = { "\97\1\0\0\1\0\0\0\0\0\0\0\212\7\0\0\0\0\0\0admin.$cmd\0", "\58\0\0\0\9\9\0\0\0\0\0\0\221\7\0\0" },
    no = { "\255\255\255\127\1\0\0\0\0\0\0\0\221\7\0\0", "\58\0\0\0\1\0\0\0\1\0\0\0\221\7\0\0", "GET / HTTP/1.1\r\n" },
  },
}
