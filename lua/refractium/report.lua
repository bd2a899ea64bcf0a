-- SPDX-License-Identifier: MIT
-- Findings, collected and shown together.
-- Enters: errors and warnings in whatever order they are noticed. Leaves: one call of door.report for each,
-- in the order of the file's lines, each said once.

local format, sort = string.format, table.sort

local M = {}
M.__index = M

M.ERROR, M.WARNING = 0, 1

---@param file string what the load as a whole is called
---@param sources table sources.lua's: names places
function M.new(file, sources)
  return setmetatable({ file = file, sources = sources, items = {}, seen = {}, errors = 0 }, M)
end

-- line: a place (sources.lua), or nil for what concerns the command line or the whole.
function M:add(severity, line, text)
  local full = line and format("%s: %s", self.sources:text(line), text) or text
  if self.seen[full] then
    return
  end
  self.seen[full] = true
  local items = self.items
  items[#items + 1] = { severity = severity, line = line or 0, order = #items, text = full }
  if severity == M.ERROR then
    self.errors = self.errors + 1
  end
end

function M:error(line, text)
  self:add(M.ERROR, line, text)
end

function M:warn(line, text)
  self:add(M.WARNING, line, text)
end

local function before(a, b)
  if a.line ~= b.line then
    return a.line < b.line
  end
  return a.order < b.order
end

---Hands everything over and returns how many errors there were.
function M:flush(link)
  sort(self.items, before)
  for _, item in ipairs(self.items) do
    link.report(item.severity, item.text)
  end
  self.items = {}
  return self.errors
end

return M
