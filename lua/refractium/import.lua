-- SPDX-License-Identifier: MIT
-- `refractium import`: a predecessor's config as refractium.lua.
-- Enters: the text of a file, and readers for the formats that are read by libraries. Leaves: the text of a config,
-- or what is wrong with the input, as "line N: ...".
-- Everything the input says ends up in the output, as an option or as a comment: what no importer asked for is
-- listed at its top.

local out = require "refractium.import.out"
local refract = require "refractium.import.refract"
local toml = require "refractium.import.toml"
local tree = require "refractium.import.tree"

local error, format, ipairs, pcall, require, type = error, string.format, ipairs, pcall, require, type
local concat, find = table.concat, string.find

local M = {}

-- Names for --format, in the order --help shows them.
M.formats = { "refractium", "rpxy", "portmux", "sslh", "refract" }

local SYNTAX = { refractium = "toml", rpxy = "toml", portmux = "yaml", sslh = "libconfig" }

local function has_line(text, pattern)
  return find(text, "^" .. pattern) or find(text, "\n" .. pattern)
end

---What a text looks like: one of M.formats, or nil.
function M.guess(text)
  if refract.is_it(text) then
    return "refract"
  elseif has_line(text, "%s*%[%[%s*protocols%s*%]%]") or has_line(text, "%s*%[%s*server%s*%]") then
    return "refractium"
  elseif has_line(text, "%s*listen_port%s*=") or has_line(text, "%s*%[%s*protocols") then
    return "rpxy"
  elseif has_line(text, "%s*protocols%s*[:=]%s*%(") or has_line(text, "%s*protocols%s*[:=]%s*\r?\n")
    or has_line(text, "%s*listen%s*[:=]%s*\r?\n?%s*%(") then
    return "sslh"
  end
  for _, section in ipairs { "PORTMUX", "HTTP", "HTTPS", "OPENVPN", "SSH", "SFTP", "USER" } do
    if has_line(text, section .. "%s*:") then
      return "portmux"
    end
  end
end

local function is_format(name)
  for _, known in ipairs(M.formats) do
    if name == known then
      return true
    end
  end
  return false
end

local function read(text, syntax, readers)
  if syntax == "toml" then
    return toml(text)
  elseif not syntax then
    return tree.table(1)
  end
  local events, line, wrong = readers[syntax](text)
  if not events then
    tree.fail(line, "%s", wrong)
  end
  return tree.from_events(events)
end

---@param text string
---@param options table name: of the file, format: one of M.formats or nil
---@param tools table readers: yaml(text), libconfig(text) → events, or nil, line, why; service(name) → port or nil;
---shipped: set of names of protocols that ship as scripts
---@return string? config, string? wrong
function M.run(text, options, tools)
  local kind = options.format or M.guess(text)
  if options.format and not is_format(options.format) then
    return nil, format("--format: no format %s (%s)", out.quote(options.format), concat(M.formats, ", "))
  end
  if not kind then
    return nil, "cannot tell what this is; say so with --format"
  end
  local importer = require("refractium.import." .. kind)
  local title = format("Made by refractium import from %s (%s).", out.clean(options.name), importer.title)
  local ok, result = pcall(function()
    local root = read(text, SYNTAX[kind], tools.readers)
    local made = out.new(title, tools.shipped)
    made.service = tools.service
    if root.kind ~= "table" then
      tree.fail(root.line, "a table belongs here, not a %s", root.kind)
    end
    importer.convert(root, made, text)
    made:leftovers(root, format("not a key of %s, or a value it does not take; nothing was made of it", importer.title))
    return made:text()
  end)
  if ok then
    return result
  elseif type(result) == "table" then
    return nil, format("line %d: %s", result.line, result.text)
  end
  error(result, 0)
end

return M
