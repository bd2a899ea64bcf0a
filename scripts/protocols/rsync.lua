-- rsync: the client of a daemon opens with "@RSYNCD: " and a version (rsync's csprotocol.txt).
local rx = require "refractium"

return rx.protocol "rsync" {
  transport = "tcp",
  prefix = "@RSYNCD: ",
  identify = function(buf)
    local digit = buf[9]
    return digit < 0 and rx.more or digit >= 0x30 and digit <= 0x39
  end,
  samples = { yes = { "@RSYNCD: 31.0\n", "@RSYNCD: 32.0 sha512 md5\n" }, no = { "@RSYNCD: OK\n", "@RSYNC 31\n" } },
}
