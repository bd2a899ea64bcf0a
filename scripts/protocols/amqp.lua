-- AMQP: the client opens with "AMQP", a protocol id and a version (AMQP 1.0 part 2 section 2.2, part 5 section 5.2.1;
-- 0-9-1 section 4.2.2: 0 0 9 1; 0-8 to 0-10: 1 1 and the version).
local rx = require "refractium"

return rx.protocol "amqp" {
  transport = "tcp",
  prefix = "AMQP",
  identify = function(buf)
    local id, major, minor, revision = buf[4], buf[5], buf[6], buf[7]
    if id > 3 or major > 1 or id == 1 and major == 0 then return false end
    if major == 0 and (id > 0 or minor >= 0 and minor ~= 9) then return false end
    if major == 1 and id ~= 1 and (minor > 0 or revision > 0) then return false end
    return revision >= 0 or rx.more
  end,
  samples = {
    yes = { "AMQP\0\0\9\1", "AMQP\3\1\0\0", "AMQP\0\1\0\0", "AMQP\2\1\0\0", "AMQP\1\1\0\10" },
    no = { "AMQPX\0\0\0", "AMQP\0\2\0\0", "AMQP/1.0" },
  },
}
