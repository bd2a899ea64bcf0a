-- SPDX-License-Identifier: MIT
-- What a predecessor's config says, whatever it was written in: nodes with a line and a note of what was used.
-- Enters: nodes from toml.lua, or the events C reads from YAML and libconfig. Leaves: values by key, and at the end
-- everything that nobody asked for, so that an import can say so.
--
-- A node: kind ("table", "list", "string", "number", "boolean", "null" or "other"), line, value, text (as written),
-- and for tables keys (in order) and map, for lists items.

local error, ipairs, setmetatable, tonumber, tostring, type = error, ipairs, setmetatable, tonumber, tostring, type
local concat, find, format, lower = table.concat, string.find, string.format, string.lower

local M = {}
M.__index = M

function M.table(line)
  return setmetatable({ kind = "table", line = line, keys = {}, map = {} }, M)
end

function M.list(line)
  return setmetatable({ kind = "list", line = line, items = {} }, M)
end

function M.scalar(kind, v, line, text)
  return setmetatable({ kind = kind, value = v, line = line, text = text or tostring(v) }, M)
end

---An error of the input: a table, so that it cannot be mistaken for one of the program.
function M.fail(line, text, ...)
  error({ line = line, text = format(text, ...) }, 0)
end

function M:put(key, node)
  if self.map[key] then
    M.fail(node.line, "%q is there twice (first in line %d)", key, self.map[key].line)
  end
  self.keys[#self.keys + 1] = key
  self.map[key] = node
end

---A child that is looked into, not taken as a whole; nil when it is absent or of another kind.
function M:child(key, kind)
  local node = self.kind == "table" and self.map[key] or nil
  return node and (not kind or node.kind == kind) and node or nil
end

---Everything below a node counts as used.
function M:use()
  self.is_used = true
  for _, key in ipairs(self.keys or {}) do
    self.map[key]:use()
  end
  for _, item in ipairs(self.items or {}) do
    item:use()
  end
  return self
end

---The value of a key, which then counts as used; nil when it is absent, or of another kind and so left over.
function M:take(key, kind)
  local node = self:child(key, kind)
  if not node then
    return nil
  end
  node:use()
  return node.value, node
end

---A string, or a list of strings, as a list; nil when it is neither.
function M:take_strings(key)
  local node = self:child(key)
  if node and node.kind == "string" then
    return { node:use().value }, node
  elseif not node or node.kind ~= "list" or #node.items == 0 then
    return nil
  end
  local out = {}
  for i, item in ipairs(node.items) do
    if item.kind ~= "string" then
      return nil
    end
    out[i] = item.value
  end
  node:use()
  return out, node
end

---A value in words, for a comment.
function M:show()
  local parts = {}
  for i, item in ipairs(self.items or self.keys or {}) do
    parts[i] = self.items and item:show() or item .. ": " .. self.map[item]:show()
  end
  return self.text or concat(parts, ", ")
end

-- "server.port", "protocols[2].name"
function M.path(parent, key)
  if type(key) == "number" then
    return format("%s[%d]", parent, key)
  elseif not find(key, "^[%w_-]+$") then
    key = format("%q", key)
  end
  return parent == "" and key or parent .. "." .. key
end

---Calls each(path, node) for every leaf that was not used, in the order of the file.
function M:unused(each, path)
  path = path or ""
  if self.is_used then
    return
  elseif self.kind == "table" then
    for _, key in ipairs(self.keys) do
      self.map[key]:unused(each, M.path(path, key))
    end
  elseif self.kind == "list" then
    for i, item in ipairs(self.items) do
      item:unused(each, M.path(path, i))
    end
  else
    each(path, self)
  end
end

-- From events ------------------------------------------------------------------------------------------------------

local WORDS = { ["true"] = true, ["false"] = false }

-- YAML 1.2's core schema for scalars without quotes.
local function plain(text, line)
  local word = WORDS[lower(text)]
  if text == "" or text == "~" or lower(text) == "null" then
    return M.scalar("null", nil, line, text)
  elseif word ~= nil then
    return M.scalar("boolean", word, line, text)
  elseif find(text, "^[-+]?%d+$") or find(text, "^0x%x+$") or find(text, "^[-+]?%d*%.?%d+$") then
    return M.scalar("number", tonumber(text), line, text)
  end
  return M.scalar("string", text, line, text)
end

local function scalar(event)
  local kind, line, text = event.kind, event.line, event.text
  if kind == "plain" then
    return plain(text, line)
  elseif kind == "number" then
    return M.scalar(kind, tonumber(text), line, text)
  elseif kind == "boolean" then
    return M.scalar(kind, text == "true", line, text)
  end
  return M.scalar("string", text, line, text)
end

---@param events table list of { kind, line, key, text }; "table" and "list" last until "end"
function M.from_events(events)
  local root, stack = nil, {}
  for _, event in ipairs(events) do
    if event.kind == "end" then
      stack[#stack] = nil
    else
      local is_open = event.kind == "table" or event.kind == "list"
      local node = is_open and M[event.kind](event.line) or scalar(event)
      local parent = stack[#stack]
      if not parent then
        root = node
      elseif parent.kind == "table" then
        parent:put(event.key, node)
      else
        parent.items[#parent.items + 1] = node
      end
      if is_open then
        stack[#stack + 1] = node
      end
    end
  end
  return root or M.table(1)
end

return M
