-- Ceph: the messenger's banner, "ceph v2\n" (msgr2) or "ceph v027" (Ceph documentation, "msgr2 protocol" and "Messenger
-- version 1").
local rx = require "refractium"

return rx.protocol "ceph" {
  transport = "tcp",
  prefix = { "ceph v2\n", "ceph v027" },
  samples = { yes = { "ceph v2\n\16\0\1\0\0\0\0\0", "ceph v027\0\0\0\0" }, no = { "ceph v3\n", "ceph status\n" } },
}
