-- Who may take a route, by address, name and what the client says of itself; the first rule that fits decides:
--
--   local rules = rx.include "scripts/policies/allow-deny.lua"
--   { rx.ssh, to = bastion, when = rules {
--     { allow = true, ip = "192.0.2.7" },
--     { allow = false, software = "libssh" },        -- the beginning of the SSH client's software string
--     { allow = false, sni = "old.example.com" },
--     default = true,
--   } },
--
-- A connection that may not take the route is tried on the routes after it; end with `to = rx.refuse` to turn it away.
-- Whole networks are better given as `from` and `not_from`, which are decided without a script.
local FIELDS = { "sni", "host", "method", "user", "qname", "protocol", "listener" } -- these must be equal
local BEGINNINGS = { "path", "software" } -- these must begin so

local function fits(rule, conn)
  if rule.ip and rule.ip ~= conn.client.ip or rule.to_port and rule.to_port ~= conn.to_port then
    return false
  end
  for i = 1, #FIELDS do
    local field = FIELDS[i]
    if rule[field] and rule[field] ~= conn[field] then
      return false
    end
  end
  for i = 1, #BEGINNINGS do
    local wanted, said = rule[BEGINNINGS[i]], conn[BEGINNINGS[i]]
    if wanted and (not said or said:sub(1, #wanted) ~= wanted) then
      return false
    end
  end
  return true
end

return function(rules)
  return function(conn)
    for i = 1, #rules do
      if fits(rules[i], conn) then
        return rules[i].allow
      end
    end
    return rules.default == true
  end
end
