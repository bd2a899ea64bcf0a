-- A route that is open only at some hours, or a target that changes with them:
--
--   local hours = rx.include "scripts/policies/time-of-day.lua"
--   { rx.ssh, when = hours.between("22:00", "06:00"), to = "10.0.0.9:22" },
--   { rx.http, to = hours.choose({ from = "08:00", till = "18:00", to = day }, night) },
--
-- Local time; a span may pass midnight. Days of the week are simpler with the route option `during`.
local M = {}

local function minutes(text)
  local hour, minute = text:match "^(%d%d?):(%d%d)$"
  if not hour or tonumber(hour) > 24 or tonumber(minute) > 59 then
    error("a time is written HH:MM, not " .. text, 3)
  end
  return hour * 60 + minute
end

local function is_within(from, till)
  local now = os.date "*t"
  local at = now.hour * 60 + now.min
  if from <= till then
    return at >= from and at < till
  end
  return at >= from or at < till
end

-- For `when`: true from `from` until `till`
function M.between(from, till)
  from, till = minutes(from), minutes(till)
  return function()
    return is_within(from, till)
  end
end

-- For `to`: span.to within span.from and span.till, otherwise `otherwise`
function M.choose(span, otherwise)
  local from, till = minutes(span.from), minutes(span.till)
  return function()
    return is_within(from, till) and span.to or otherwise
  end
end

return M
