-- SPDX-License-Identifier: MIT
-- refract has no config file: its flags stand in a unit or a script. Enters: such a text. Leaves: the flags, in
-- words, as a config has a verb for them only where this version does.

local out = require "refractium.import.out"
local schema = require "refractium.schema"

local format, gmatch, gsub, match = string.format, string.gmatch, string.gsub, string.match
local ipairs = ipairs

local M = { title = "flags of refract" }

-- docs/guide/migrating.md has a row for each.
M.keys = { "--proto", "--dport", "--window", "--timeout", "--access.log", "--block.log" }

local MEANING = {
  ["--proto"] = "the protocol its rule dropped", ["--dport"] = "the port its rule was about",
  ["--window"] = "window of rx.sessions: an address counts as active until this long after it was last seen",
  ["--timeout"] = "timeout of rx.sessions: for how long a newcomer is kept out",
  ["--access.log"] = "rx.tail reads it", ["--block.log"] = "block_log of rx.sessions",
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

function M.convert(_, result, text)
  local head, words = result.head, {}
  head:comment("one address for each user: rx.sessions and rx.tail do that in a config, and \"refractium guard\" takes"
    .. " the same flags")
  for _, flag in ipairs(M.flags(text)) do
    local meaning = MEANING[flag.name]
    head:comment("%s %s: %s", flag.name, flag.value, meaning or "no such flag there; nothing was made of it")
    words[#words + 1] = meaning and format("%s %s", flag.name, flag.value) or nil
  end
  if schema.unavailable_verbs.sessions then
    head:comment("rx.sessions is not available in this version")
  end
  head:comment("refractium guard %s", out.clean(table.concat(words, " ")))
end

return M
