-- Opens a door to clients that knocked: connections to some ports, in the right order, each soon after the one before.
--
--   local knock = rx.include "scripts/policies/port_knocking.lua" {
--     ports = { 7003, 7001, 7002 },   -- not in rising order: a scan of ports from the lowest on must not open it
--     within = "10s",                 -- between two knocks
--     open = "10m",                   -- how long the door stays open to this address
--   }
--   rx.listen { "0.0.0.0:7001", "0.0.0.0:7002", "0.0.0.0:7003" } {
--     routes = { { rx.any, when = knock.heard, to = rx.drop } }, fallback_tcp = rx.drop,
--   }
--   rx.listen "0.0.0.0:22" {
--     routes = { { rx.ssh, when = knock.is_open, to = "127.0.0.1:2222" } }, fallback_tcp = rx.drop,
--   }
--
-- A knock at the wrong port begins anew. The table is shared, so it does not matter which worker hears a knock, and an
-- edit of the config forgets nobody. It is no secret from who can watch the network: it keeps noise off, nothing more.
local rx = require "refractium"

return function(options)
  local ports, within, open = options.ports, options.within or "10s", options.open or "10m"
  local knocks = rx.shared(options.name or "port_knocking") { max_entries = options.max_entries or 10000 }
  local opened = rx.counter "port_knocking_opened_total" { help = "Clients that knocked right." }

  local function heard(conn)
    local who = conn.client.ip
    local step = (knocks:get("step " .. who) or 0) + 1
    if conn.to_port ~= ports[step] then
      step = conn.to_port == ports[1] and 1 or 0
    end
    if step == #ports then
      knocks:delete("step " .. who)
      knocks:set("open " .. who, true, open)
      opened:inc()
      rx.log.info("knocked right", { client = who })
    elseif step > 0 then
      knocks:set("step " .. who, step, within)
    else
      knocks:delete("step " .. who)
    end
    return true
  end

  local function is_open(conn)
    return knocks:get("open " .. conn.client.ip) == true
  end

  return { heard = heard, is_open = is_open }
end
