-- The same name always goes to the same backend of a pool, so that what a backend keeps per site (caches, TLS
-- tickets) stays warm:
--
--   local sticky = rx.include "scripts/policies/sticky-by-sni.lua"
--   local web = rx.pool "web" { "10.0.0.1:443", "10.0.0.2:443", "10.0.0.3:443", balance = sticky }
--
-- A policy gets the connection and the backends that may be chosen now, and returns one's number, from 1. nil leaves
-- the choice to the pool's default: here for clients that send no name.
local bxor, rshift = bit.bxor, bit.rshift

local function mix(hash, byte)
  hash = bxor(hash, byte) % 4294967296 * 1540483 % 4294967296
  return bxor(hash, rshift(hash, 15)) % 4294967296
end

return function(conn, pool)
  local name = conn.sni or conn.host
  if not name then
    return nil
  end
  -- A backend's rank follows from its name and the client's (rendezvous hashing): when one goes, only its names move.
  local text, best, highest = name:lower(), nil, -1
  for i = 1, #pool do
    local hash, backend = 5381, pool[i].name
    for at = 1, #backend do
      hash = mix(hash, backend:byte(at))
    end
    for at = 1, #text do
      hash = mix(hash, text:byte(at))
    end
    if hash > highest then
      best, highest = i, hash
    end
  end
  return best
end
