-- ADB: a packet of six little-endian words, the last the first one inverted, which hosts open with (AOSP
-- packages/modules/adb, protocol.txt); or a request to an ADB server, four hex digits and "host" (SERVICES.TXT).
local rx = require "refractium"

local function is_hex(b)
  return b >= 0x30 and b <= 0x39 or b >= 0x41 and b <= 0x46 or b >= 0x61 and b <= 0x66
end

return rx.protocol "adb" {
  transport = "tcp",
  prefix = { "CNXN", "STLS", "AUTH", "00" },
  identify = function(buf)
    local n = #buf
    if buf[0] == 0x30 then
      for i = 2, 3 do
        if i < n and not is_hex(buf[i]) then return false end
      end
      for i = 4, 7 do
        if i < n and buf[i] ~= ("host"):byte(i - 3) then return false end
      end
      return n >= 8 or rx.more
    end
    if buf[0] == 0x41 then -- AUTH: kind 1 to 3
      if buf[4] == 0 or buf[4] > 3 or buf[5] > 0 or buf[6] > 0 or buf[7] > 0 then return false end
    elseif buf[4] > 1 or buf[5] > 0 or buf[6] > 0 or n > 7 and buf[7] ~= 1 then
      return false -- CNXN, STLS: version 01000000 or 01000001
    end
    local magic = buf:u32le(20)
    return magic < 0 and rx.more or magic == 4294967295 - buf:u32le(0)
  end,
  samples = {
    yes = { "CNXN\1\0\0\1\0\0\16\0\7\0\0\0\50\2\0\0\188\177\167\177host::\0", "000Chost:version" },
    no = {
      "CNXN\1\0\0\1\0\0\16\0\7\0\0\0\50\2\0\0\188\177\167\0", "AUTH TLS\r\n", "STLS\r\n", "003egit-upload-pack /",
      "001x",
    },
  },
}
