-- Kafka: a request of those that open a connection, ApiVersions, Metadata or SaslHandshake: length, key, version,
-- correlation id, client id (Kafka protocol guide, "Request Header").
-- A new connection counts its correlation ids from near 0: above 2^24 it is a name in a PostgreSQL startup packet.
local rx = require "refractium"

local SMALLEST, LARGEST, ID_MAX = 10, 0x100000, 249

return rx.protocol "kafka" {
  transport = "tcp",
  prefix = "\0",
  identify = function(buf)
    local n, length, key, version, id = #buf, buf:u32(0), buf[5], buf[7], buf:u16(12)
    if length >= 0 and (length < SMALLEST or length > LARGEST) or buf[4] > 0 or buf[6] > 0 then return false end
    if key >= 0 and key ~= 18 and key ~= 3 and key ~= 17 then return false end
    if version > (key == 3 and 16 or key == 18 and 6 or 1) or buf[8] > 0 then return false end
    if id < 0 then return (buf[12] <= 0 or buf[12] == 0xff) and rx.more end
    if id == 0xffff then return true end -- no client id
    if id > ID_MAX or id + SMALLEST > length then return false end
    for i = 14, 13 + id do
      if i == n then return rx.more end
      if buf[i] < 0x20 or buf[i] >= 0x7f then return false end
    end
    return true
  end,
  samples = {
    yes = { "\0\0\0\36\0\18\0\3\0\0\0\1\0\7rdkafka\0", "\0\0\0\10\0\18\0\0\0\0\0\0\255\255" },
    no = {
      "\127\255\255\255\0\18\0\3\0\0\0\1", "\0\0\0\53\0\3\0\0user\0joe\0", "\0\0\0\44\0\0\0\0\0\0\0\0\0\0",
      "\0\0\0\8\4\210\22\47",
    },
  },
}
