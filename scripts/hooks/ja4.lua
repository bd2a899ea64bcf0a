-- SPDX-License-Identifier: MIT
-- Notes every fingerprint of a TLS client once, with the first name and address it came with.
-- Use: rx.listen "0.0.0.0:443" { hooks = { rx.include "scripts/hooks/ja4.lua" }, ... }
-- To turn clients away by fingerprint, ask in a route: when = function(conn) return BAD[conn.ja4] end, to = rx.refuse.

local rx = require "refractium"

local MAX = 10000 -- fingerprints remembered; clients can make up any number

local out = rx.file("ja4.log", { max = "100m" })
local seen, n = {}, 0

return rx.hook "ja4" {
  on_open = function(conn)
    local ja4 = conn.ja4
    if ja4 and not seen[ja4] and n < MAX then
      seen[ja4], n = true, n + 1
      out:write(("%s client=%s sni=%s\n"):format(ja4, tostring(conn.client), conn.sni or "-"))
    end
  end,
}
