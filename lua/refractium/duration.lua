-- SPDX-License-Identifier: MIT
-- Durations in calls of functions: a string as everywhere in a config, or a number of seconds, for those that were
-- computed. Leaves milliseconds, or nil and why not.

local units = require "refractium.units"

local type = type

local MAX_S = 10 * 365 * 86400
local KEPT = 100 -- a config has few; one that makes them up must not fill the memory

local known, n = {}, 0

return function(v)
  if type(v) == "number" then
    if v > 0 and v <= MAX_S then
      return v * 1000
    end
    return nil, "must be more than 0 and at most ten years"
  end
  local ms = known[v]
  if ms then
    return ms
  end
  local wrong
  ms, wrong = units.duration(v)
  if not ms then
    return nil, wrong
  elseif ms < 1 or ms > MAX_S * 1000 then
    return nil, "must be more than 0 and at most ten years"
  end
  if n >= KEPT then
    known, n = {}, 0
  end
  known[v], n = ms, n + 1
  return ms
end
