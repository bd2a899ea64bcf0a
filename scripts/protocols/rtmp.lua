-- RTMP: C0 (version 3, RTMPE 6 and 8) and all of C1: time, then zeros or the player's version, then 1528 random
-- bytes (Adobe RTMP specification 1.0, sections 5.2.2 and 5.2.3; RTMPE as in librtmp's handshake).
-- Wants the whole 1537 bytes, which every client sends before it waits: TPKT (RDP, S7) and CQL 3 open with 03 too.
local rx = require "refractium"

local HANDSHAKE = 1 + 4 + 4 + 1528

return rx.protocol "rtmp" {
  transport = "tcp",
  prefix = { "\3", "\6", "\8" },
  identify = function(buf)
    local major, minor = buf[5], buf[6]
    if major < 0 then return rx.more end
    if major == 0 then
      if buf[0] ~= 3 or minor > 0 or buf[7] > 0 or buf[8] > 0 then return false end
    elseif (major < 9 or major > 40) and major ~= 0x80 or minor > 9 then
      return false
    end
    return #buf >= HANDSHAKE or rx.more
  end,
  samples = {
    yes = {
      "\3\0\0\0\0\0\0\0\0" .. ("x"):rep(1528), "\3\0\0\1\2\9\0\124\2" .. ("x"):rep(1528),
      "\6\0\0\0\9\128\0\3\2" .. ("y"):rep(1528),
    },
    no = {
      "\3\0\0\41\36\224\0\0\0\0\0Cookie: mstshash=joe\r\n", "\3\0\0\22\17\224\0\0\0\1\0\192\1\10",
      "\3\0\0\0\1\0\0\0\22\0\1\0\11CQL_VERSION", "\6\0\0\0\0\0\0\0\0",
    },
  },
}
