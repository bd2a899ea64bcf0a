-- SPDX-License-Identifier: MIT
-- The files of one load: the config and what it includes, their texts, and where in them something stands.
-- Enters: paths, and texts that are already known (chunks). Leaves: compiled chunks and places.
--
-- A place is one number: the file's number times FILE plus the line. The config is file 0, so without includes
-- places are lines, and everything that keeps, compares and sorts lines does so for places too.

local budget = require "refractium.budget"
local locate = require "refractium.locate"

local floor, io, ipairs, load, next, setmetatable, tonumber, type =
  math.floor, io, ipairs, load, next, setmetatable, tonumber, type
local concat, find, format, gmatch, gsub, match, sub =
  table.concat, string.find, string.format, string.gmatch, string.gsub, string.match, string.sub
local getinfo = debug.getinfo

local M = {}
M.__index = M

local FILE = 2 ^ 24 -- more lines than the VM can count

---@param chunks table? path → text, for files that are not to be read from disk
function M.new(chunks)
  return setmetatable({ chunks = type(chunks) == "table" and chunks or {}, list = {}, by_path = {}, by_source = {},
    missing = {} }, M)
end

local function from_disk(path)
  local file, wrong = io.open(path, "rb")
  if not file then
    return nil, wrong
  end
  local text
  text, wrong = file:read("*a")
  file:close()
  return text, wrong
end

-- Lua tolerates neither a byte order mark nor, in a string, a first line for the shell. Lines keep their numbers.
local function tidy(text)
  text = gsub(text, "^\239\187\191", "")
  return (gsub(text, "^#[^\n]*", ""))
end

---Whether the text of that path is known without the disk.
function M:has(path)
  return self.chunks[path] ~= nil
end

---Reads a file and makes it one of this load's; nil and the reason when it cannot be read.
function M:add(path)
  local text, wrong = self.chunks[path], nil
  if not text then
    text, wrong = from_disk(path)
  end
  if not text then
    self.missing[path] = true
    return nil, wrong
  end
  local number = #self.list
  local file = { path = path, raw = text, text = tidy(text), number = number, source = "@" .. path }
  file.short = getinfo(load("", file.source), "S").short_src -- as messages name it: the VM cuts long names
  self.list[number + 1] = file
  self.by_path[path] = file
  self.by_source[file.source] = file
  return file
end

-- Directories of the including file, then the path, without "." and ".." as far as that can be told from the text.
local function resolve(from, path)
  if sub(path, 1, 1) ~= "/" then
    path = (match(from, "^(.*/)[^/]*$") or "") .. path
  end
  local parts = {}
  for part in gmatch(path, "[^/]+") do
    local last = parts[#parts]
    if part == ".." and last and last ~= ".." then
      parts[#parts] = nil
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  return (sub(path, 1, 1) == "/" and "/" or "") .. concat(parts, "/")
end
M.resolve = resolve

---Compiles a file, with ticks in it for the script budget; nil, place and words when it is no Lua.
---The text as it was written is compiled first, unless it is known to be good: what is said of it must not speak of
---words nobody wrote.
function M:compile(file, is_good)
  if sub(file.raw, 1, 1) == "\27" then
    return nil, nil, "is bytecode, not Lua text"
  end
  local chunk, wrong
  if not is_good then
    chunk, wrong = load(file.text, file.source, "t")
    if not chunk then
      return nil, self:split(wrong)
    end
  end
  local ticking, line, why = budget.transform(file.text)
  if not ticking then
    return nil, self:place(file, line), why
  end
  chunk, wrong = load(ticking, file.source, "t")
  if not chunk then
    return nil, self:split(wrong)
  end
  return chunk
end

---Whether a function of that source came from this load's files.
function M:file_of(source)
  return self.by_source[source]
end

function M.place(_, file, line)
  return line and file.number * FILE + line
end

---A message of the VM or of error() taken apart: the place it names, or nil, and the rest.
function M:split(message)
  for _, file in ipairs(self.list) do
    local n = #file.short
    if sub(message, 1, n) == file.short then
      local line, rest = match(message, "^:(%d+): (.*)$", n + 1)
      if line then
        return self:place(file, tonumber(line)), rest
      end
    end
  end
  return nil, message
end

---"refractium.lua:31"
function M:text(place)
  local number = floor(place / FILE)
  local file = self.list[number + 1]
  return format("%s:%d", file and file.path or "?", place - number * FILE)
end

---Where something was first: "on line 31", or its file and line when that is another file than here.
function M:text_from(place, here)
  if here and floor(place / FILE) == floor(here / FILE) then
    return format("on line %d", place % FILE)
  end
  return "in " .. self:text(place)
end

---The place of a function of the config, or nil for one of Lua's own; or of a line in it.
function M:of_function(fn, line)
  local info = getinfo(fn, "S")
  local file = self.by_source[info.source]
  return file and info.linedefined > 0 and self:place(file, line or info.linedefined) or nil
end

-- Where each line of a text begins, and behind the last one where the text ends.
local function line_starts(text)
  local starts, at = { 1 }, find(text, "\n", 1, true)
  while at do
    starts[#starts + 1] = at + 1
    at = find(text, "\n", at + 1, true)
  end
  starts[#starts + 1] = #text + 1
  return starts
end

---The lines a function of the config stands on; "" for one of Lua's own.
function M:text_of_function(fn)
  local info = getinfo(fn, "S")
  local file = self.by_source[info.source]
  if not file or info.linedefined < 1 then
    return ""
  end
  file.starts = file.starts or line_starts(file.text)
  local first, behind = file.starts[info.linedefined], file.starts[info.lastlinedefined + 1]
  return sub(file.text, first or 1, (behind or #file.text + 1) - 1)
end

-- The same interface as a locator (locate.lua), for all files. A locator knows lines, not places.
local function locator(self, declaration)
  local number = floor(declaration.line / FILE)
  local file = self.list[number + 1]
  if not declaration.here then
    declaration.here = { verb = declaration.verb, name = declaration.name, line = declaration.line % FILE }
  end
  file.locator = file.locator or locate.new(file.text)
  return file.locator, declaration.here, number * FILE
end

function M:line(declaration, path)
  local finder, here, base = locator(self, declaration)
  return finder:line(here, path) + base
end

function M:entries(declaration, path)
  if not declaration.line then
    return {}
  end
  local finder, here, base = locator(self, declaration)
  local lines = finder:entries(here, path)
  for position, line in next, lines do
    lines[position] = line + base
  end
  return lines
end

---path → text as it was read, of everything this load saw; false for what was not there.
function M:texts()
  local out = {}
  for path in next, self.missing do
    out[path] = false
  end
  for _, file in ipairs(self.list) do
    out[file.path] = file.raw
  end
  return out
end

return M
