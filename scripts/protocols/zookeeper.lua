-- ZooKeeper: a ConnectRequest: length 44, or 45 with readOnly, protocol version 0, last zxid, timeout, session id, a
-- password of 16 bytes (ZooKeeper's zookeeper.jute); or a four-letter word that is no other's ("ZooKeeper Commands").
local rx = require "refractium"

return rx.protocol "zookeeper" {
  transport = "tcp",
  prefix = { "\0\0\0\44\0\0\0\0", "\0\0\0\45\0\0\0\0", "ruok", "mntr", "srvr", "isro" },
  identify = function(buf)
    if buf[0] > 0 then return true end
    if buf[16] > 0x7f or buf[28] > 0 or buf[29] > 0 or buf[30] > 0 then return false end
    return buf[31] < 0 and rx.more or buf[31] == 16
  end,
  samples = {
    yes = { "\0\0\0\44" .. ("\0"):rep(14) .. "\117\48" .. ("\0"):rep(11) .. "\16" .. ("\0"):rep(16), "ruok" },
    no = { "\0\0\0\44\0\18\0\3\0\0\0\0", "\0\0\0\45" .. ("\0"):rep(44), "status" },
  },
}
