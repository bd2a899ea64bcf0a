-- Zabbix: the header "ZBXD", flags, a little-endian length and a reserved word (Zabbix manual, appendix "Protocols",
-- "Header").
local rx = require "refractium"

return rx.protocol "zabbix" {
  transport = "tcp",
  prefix = { "ZBXD\1", "ZBXD\3", "ZBXD\5", "ZBXD\7" },
  samples = { yes = { "ZBXD\1\12\0\0\0\0\0\0\0agent.ping\r\n" }, no = { "ZBXD\0\0", "ZBXE\1" } },
}
