-- SPDX-License-Identifier: MIT
-- Connections and bytes by route and protocol, in /metrics.
-- Use: rx.server { hooks = { rx.include "scripts/hooks/bytes.lua" } }

local rx = require "refractium"

local LABELS = { "route", "protocol" }
local connections = rx.counter "hook_connections_total" { help = "Connections that ended.", labels = LABELS }
local bytes_in = rx.counter "hook_bytes_in_total" { help = "Bytes that clients sent.", labels = LABELS }
local bytes_out = rx.counter "hook_bytes_out_total" { help = "Bytes that clients were sent.", labels = LABELS }

return rx.hook "bytes" {
  on_close = function(conn)
    local route, protocol = conn.route or "fallback", conn.protocol or "unknown"
    connections:inc(route, protocol)
    bytes_in:add(conn.bytes_in, route, protocol)
    bytes_out:add(conn.bytes_out, route, protocol)
  end,
}
