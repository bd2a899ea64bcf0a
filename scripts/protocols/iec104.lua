-- IEC 60870-5-104: STARTDT act, or TESTFR act: start 68, length 4, control octets (IEC 60870-5-104 sections 5 and 5.1).
local rx = require "refractium"

return rx.protocol "iec104" {
  transport = "tcp",
  prefix = { "h\4\7\0\0\0", "h\4C\0\0\0" },
  samples = { yes = { "h\4\7\0\0\0", "h\4C\0\0\0h\4\7\0\0\0" }, no = { "h\4\11\0\0\0", "h\14\0\0\0\0", "hello\n" } },
}
