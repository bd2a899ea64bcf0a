-- BitTorrent: the peer handshake opens with 19 and "BitTorrent protocol" (BEP 3, "peer protocol").
local rx = require "refractium"

return rx.protocol "bittorrent" {
  transport = "tcp",
  prefix = "\19BitTorrent protocol",
  samples = { yes = { "\19BitTorrent protocol\0\0\0\0\0\16\0\5" }, no = { "\19BitTorrent Protocol", "BitTorrent" } },
}
