-- SPDX-License-Identifier: MIT
-- refract has no config file: its flags stand in a unit or a script. Enters: such a text. Leaves: sessions that its log
-- feeds, and the flags as they were in a comment: `refractium guard` takes them as they are.

local out = require "refractium.import.out"

local find, format, gmatch, gsub, match = string.find, string.format, string.gmatch, string.gsub, string.match
local concat, ipairs, tonumber = table.concat, ipairs, tonumber

local M = { title = "flags of refract" }

-- docs/guide/migrating.md has a row for each.
M.keys = { "--proto", "--dport", "--window", "--timeout", "--access.log", "--block.log" }

local UNITS = { ms = 1, s = 1000, m = 60000, h = 3600000 }

-- "1m30s" in milliseconds; nil: no such thing.
local function duration(text)
  local total, rest = 0, text
  while rest ~= "" do
    local n, unit, behind = match(rest, "^(%d+%.?%d*)(%a+)(.*)$")
    if not n or not UNITS[unit] then
      return nil
    end
    total, rest = total + tonumber(n) * UNITS[unit], behind
  end
  return text ~= "" and total > 0 and out.milliseconds(total) or nil
end

local function port(text)
  return find(text, "^%d+$") and text or find(text, "^%d+[:-]%d+$") and out.quote((gsub(text, ":", "-"))) or nil
end

local function words(text)
  return (text == "tcp" or text == "udp") and out.quote(text) or nil
end

-- By flag: the option of rx.sessions, and its text here for what stood there.
local OPTIONS = {
  ["--proto"] = { "proto", words }, ["--dport"] = { "dport", port }, ["--window"] = { "window", duration },
  ["--timeout"] = { "timeout", duration }, ["--block.log"] = { "block_log", out.quote },
}

---Whether a text is about refract.
function M.is_it(text)
  return match(text, "refract%s") and (match(text, "%-%-?access%.log") or match(text, "%-%-?block%.log")) and true
    or false
end

-- Words of a command line that may go on over lines ending in a backslash, as tables of flag and value.
function M.flags(text)
  local flags = {}
  text = gsub(text, "\\\r?\n", " ")
  local line = match(text, "[^\n]*refract%s[^\n]*")
  local waiting
  for word in gmatch(line or "", "%S+") do
    local dashes, name, v = match(word, "^(%-%-?)([%a.]+)=?(.*)$")
    word = gsub(word, "^['\"](.*)['\"]$", "%1")
    if waiting and not dashes then
      waiting.value, waiting = word, nil
    elseif dashes then
      local flag = { name = "--" .. name, value = gsub(v, "^['\"](.*)['\"]$", "%1") }
      flags[#flags + 1] = flag
      waiting = v == "" and flag or nil
    end
  end
  return flags
end

local function has(flags, name)
  for _, flag in ipairs(flags) do
    if flag.name == name and flag.value ~= "" then
      return flag.value
    end
  end
  return nil
end

function M.convert(_, result, text)
  local flags, typed = M.flags(text), {}
  local guard = result:guard("refract", has(flags, "--access.log") or "/var/log/xray/access.log")
  for _, flag in ipairs(flags) do
    local option = OPTIONS[flag.name]
    local value = option and option[2](flag.value)
    local is_known = option or flag.name == "--access.log"
    if value then
      guard:option(option[1], value, format("%s %s", flag.name, flag.value))
    elseif flag.name ~= "--access.log" then
      result.head:comment("%s %s: %s", flag.name, flag.value,
        option and "not a value that could be read" or "no such flag there; nothing was made of it")
    end
    typed[#typed + 1] = is_known and format("%s %s", flag.name, flag.value) or nil
  end
  if not has(flags, "--dport") then
    guard:option("dport", "443", "the port its rule was about was not said")
  end
  local proto = has(flags, "--proto")
  guard:option("enforce", proto == "tcp" and '{ "nftables", "kill" }'
    or proto == "udp" and '{ "nftables", "conntrack" }' or '{ "nftables", "kill", "conntrack" }')
  guard:comment("the same without a config: refractium guard %s", out.clean(concat(typed, " ")))
end

return M
