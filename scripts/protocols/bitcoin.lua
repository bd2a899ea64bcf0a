-- Bitcoin: a version message: a network's magic (main, testnet 3 and 4, signet, regtest) and the command (Bitcoin
-- developer reference, "Message Headers"). Version 2 of the transport (BIP 324) looks like noise.
local rx = require "refractium"

return rx.protocol "bitcoin" {
  transport = "tcp",
  prefix = {
    "\249\190\180\217version\0\0\0\0\0", "\11\17\9\7version\0\0\0\0\0", "\28\22\63\40version\0\0\0\0\0",
    "\10\3\207\64version\0\0\0\0\0", "\250\191\181\218version\0\0\0\0\0",
  },
  samples = { yes = { "\249\190\180\217version\0\0\0\0\0\102\0\0\0" }, no = { "\249\190\180\217verack\0\0\0\0\0\0" } },
}
