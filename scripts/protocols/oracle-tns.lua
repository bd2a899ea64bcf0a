-- Oracle Net: a TNS CONNECT packet: length, checksum 0, type 1, flags, checksum 0, version and the oldest compatible
-- one, 300 and above (Oracle Net as dissected by Wireshark's packet-tns.c, and python-oracledb's thin mode).
local rx = require "refractium"

return rx.protocol "oracle-tns" {
  transport = "tcp",
  first = "\0-\32",
  identify = function(buf)
    local length = buf:u16(0)
    if length >= 0 and (length < 34 or length > 8192) or buf[2] > 0 or buf[3] > 0 then return false end
    if buf[4] >= 0 and buf[4] ~= 1 or buf[6] > 0 or buf[7] > 0 or buf[8] >= 0 and buf[8] ~= 1 then return false end
    if buf[9] >= 0 and buf[9] < 0x2c or buf[10] >= 0 and buf[10] ~= 1 then return false end
    return buf[11] < 0 and rx.more or buf[11] >= 0x2c and buf[11] <= buf[9]
  end,
  samples = {
    yes = { "\1\0\0\0\1\0\0\0\1\63\1\44\0\1", "\0\214\0\0\1\4\0\0\1\59\1\44\0\0" },
    no = { "\1\0\0\0\1\0\0\1\0\0\0\0\0\0", "\0\214\0\0\2\0\0\0\1\59\1\44", "\0\57\165\103\1\32\0\1\0\0\0\0" },
  },
}
