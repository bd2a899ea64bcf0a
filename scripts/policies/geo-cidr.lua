-- The pool that is near the client, by a table of IPv4 networks; the narrowest network that has the client counts:
--
--   local geo = rx.include "scripts/policies/geo-cidr.lua"
--   { rx.tls, to = geo({ ["203.0.113.0/24"] = tokyo, ["198.51.100.0/22"] = berlin }, berlin) },
--
-- The second argument is for everybody else, IPv6 clients among them. The table is read once, when the config loads;
-- a lookup asks once for each length of prefix that occurs in it.
local function number(ip)
  local a, b, c, d = ip:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$"
  if not a then
    return nil
  end
  a, b, c, d = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
  return a < 256 and b < 256 and c < 256 and d < 256 and ((a * 256 + b) * 256 + c) * 256 + d or nil
end

return function(networks, otherwise)
  local lengths, by_length = {}, {}
  for cidr, target in pairs(networks) do
    local ip, bits = cidr:match "^([%d.]+)/(%d+)$"
    local base, length = ip and number(ip), tonumber(bits)
    if not base or length > 32 then
      error("not an IPv4 network: " .. tostring(cidr), 2)
    end
    if not by_length[length] then
      by_length[length] = {}
      lengths[#lengths + 1] = length
    end
    by_length[length][math.floor(base / 2 ^ (32 - length))] = target
  end
  table.sort(lengths, function(x, y) return x > y end)

  return function(conn)
    local address = number(conn.client.ip)
    for i = 1, address and #lengths or 0 do
      local target = by_length[lengths[i]][math.floor(address / 2 ^ (32 - lengths[i]))]
      if target then
        return target
      end
    end
    return otherwise
  end
end
