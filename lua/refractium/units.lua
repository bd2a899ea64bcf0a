-- SPDX-License-Identifier: MIT
-- Durations and sizes as users write them.
-- Enters: a value from a config or the command line. Leaves: milliseconds or bytes, or nil and why not,
-- in words that fit after "peek_timeout: ". Also the way back, for defaults and ranges in messages.

local floor = math.floor
local format, gsub, lower, match, sub = string.format, string.gsub, string.lower, string.match, string.sub

local M = {}

local DURATION = { ms = 1, s = 1000, m = 60000, h = 3600000, d = 86400000 }
local DURATION_ORDER = { "d", "h", "m", "s", "ms" }
local SIZE = { b = 1, k = 1024, m = 1048576, g = 1073741824 }
local SIZE_ORDER = { "g", "m", "k", "b" }

-- How a value reads in a message: strings quoted, the rest bare.
function M.show(value)
  if type(value) == "string" then
    local text = #value > 60 and sub(value, 1, 57) .. "..." or value
    return (gsub(gsub(format("%q", text), "\\\n", "\\n"), "\r", "\\r"))
  end
  return tostring(value)
end

local function parse(value, units, what, example, unit_list, bare)
  local text = value
  if type(value) == "number" then
    text = format("%.14g", value)
  elseif type(value) ~= "string" then
    return nil, format("must be a %s like %s, not a %s", what, example, type(value))
  end
  local number, unit = match(text, "^(%d+%.?%d*)%s?(%a*)$")
  if not number then
    return nil, format("must be a %s like %s, not %s", what, example, M.show(value))
  end
  if unit == "" then
    return nil, format('%s has no unit (write "%s%s" or "%s%s")', M.show(value), number, bare[1], number, bare[2])
  end
  local factor = units[lower(unit)]
  if not factor then
    return nil, format("%s has an unknown unit %s (known: %s)", M.show(value), M.show(unit), unit_list)
  end
  return floor(tonumber(number) * factor + 0.5)
end

---"250ms", "3s", "1.5m", "1h", "1d" → milliseconds.
function M.duration(value)
  return parse(value, DURATION, "duration", '"3s"', "ms, s, m, h, d", { "s", "ms" })
end

---"512b", "16k", "1m" → bytes; units are powers of 1024.
function M.size(value)
  return parse(value, SIZE, "size", '"16k"', "b, k, m, g", { "k", "b" })
end

local RATE = { s = 1000, m = 60000, h = 3600000 }

---"50/s", "10/m", "5/h" → how many, in how many milliseconds.
function M.rate(value)
  local example = 'must be a rate like "50/s"'
  if type(value) ~= "string" then
    return nil, format("%s, not %s", example, type(value) == "table" and "a table" or M.show(value))
  end
  local count, unit = match(value, "^(%d+)%s?/%s?(%a+)$")
  local per_ms = unit and RATE[unit]
  if not per_ms then
    local why = match(value, "^%d+$") and format('%s has no unit (write "%s/s")', M.show(value), value)
    return nil, why or format("%s, not %s (units: /s, /m, /h)", example, M.show(value))
  end
  return tonumber(count), per_ms
end

---"10m/s" → bytes a second.
function M.byte_rate(value)
  local size = type(value) == "string" and match(value, "^(.-)%s?/%s?s$")
  local bytes = size and M.size(size)
  if not bytes then
    return nil, format('must be bytes a second like "10m/s", not %s',
      type(value) == "table" and "a table" or M.show(value))
  end
  return bytes
end

function M.print_byte_rate(bytes)
  return M.print_size(bytes) .. "/s"
end

---"5%", "0.5%" → millionths.
function M.percent(value)
  local number = type(value) == "string" and match(value, "^(%d+%.?%d*)%s?%%$")
  if not number then
    return nil, format('must be a percentage like "5%%", not %s',
      type(value) == "table" and "a table" or M.show(value))
  end
  return floor(tonumber(number) * 10000 + 0.5)
end

local function print_with(n, units, order)
  for i = 1, #order do
    local factor = units[order[i]]
    if n >= factor and n % factor == 0 then
      return format("%d%s", n / factor, order[i])
    end
  end
  return format("%d%s", n, order[#order])
end

function M.print_duration(ms)
  return print_with(ms, DURATION, DURATION_ORDER)
end

function M.print_percent(millionths)
  return format("%.14g%%", millionths / 10000)
end

function M.print_size(bytes)
  return print_with(bytes, SIZE, SIZE_ORDER)
end

return M
