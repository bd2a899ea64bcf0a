-- DNP3: a link frame from a master: 05 64, length, a control octet with DIR and PRM and one of their functions (IEEE
-- 1815 section 9.2.4). Its header is ten bytes with the checksum.
local rx = require "refractium"

return rx.protocol "dnp3" {
  transport = "tcp",
  prefix = "\5\100",
  identify = function(buf)
    local length, control = buf[2], buf[3]
    if length >= 0 and length < 5 or control >= 0 and control < 0xc0 then return false end
    local code = control % 16
    if control >= 0 and code ~= 0 and code ~= 2 and code ~= 3 and code ~= 4 and code ~= 9 then return false end
    return #buf >= 10 or rx.more
  end,
  samples = {
    yes = { "\5\100\5\201\1\0\0\0\223\142", "\5\100\20\196\10\0\1\0\1\2\192\192" },
    no = { "\5\100\0\201\1\0\0\0\1\1", "\5\100\5\11\1\0\0\0\1\1", "\5\2\0\1", "\5\100\5\193\1\0\0\0" },
  },
}
