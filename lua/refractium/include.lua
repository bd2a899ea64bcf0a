-- SPDX-License-Identifier: MIT
-- rx.include "path": another file of the config.
-- Enters: the path as written, relative to the file it is written in. Leaves: what the file returns. A file runs
-- once however often it is included, in the same environment as the config, and becomes one of the load's files.

local sources = require "refractium.sources"
local units = require "refractium.units"
local value = require "refractium.value"

local error, select, type, unpack = error, select, type, unpack
local concat, find, format = table.concat, string.find, string.format

local M = {}

local function pack(...)
  return { n = select("#", ...), ... }
end

-- The files that are on their way, from the one that comes round again.
local function circle(running, path)
  local names = {}
  for _, file in ipairs(running) do
    if #names > 0 or file.path == path then
      names[#names + 1] = file.path
    end
  end
  names[#names + 1] = path
  return concat(names, " -> ")
end

---Protocols that ship as Lua: rx.NAME runs scripts/protocols/NAME.lua, which the program carries.
---@param session table init.lua's
---@param run function(file) as below
---@return function(name) the protocol's value; nil when none of that name ships
function M.shipped(session, run)
  local files = session.sources
  return function(name)
    local path = "scripts/protocols/" .. name .. ".lua"
    if not files:has(path) then
      return nil
    end
    local file = files.by_path[path] or files:add(path)
    if not file.results then
      file.results = pack(run(file))
    end
    return file.results[1]
  end
end

---@param session table init.lua's
---@param run function(file) runs it and returns what it returned, or nothing after reporting that it does not compile
function M.new(session, run)
  local files = session.sources

  -- A file that cannot be had is reported, and all it might have returned is unknown.
  local function open(path)
    local known = files.by_path[path]
    if known and known.is_running then
      session:complain(format("rx.include: %s includes itself: %s", path, circle(session.running, path)))
      return nil
    elseif known then
      return known
    end
    local file, wrong = files:add(path)
    if not file then
      session:complain(format("rx.include: %s", find(wrong, path, 1, true) and wrong or path .. ": " .. wrong))
    end
    return file
  end

  return function(path)
    session:must_load "rx.include"
    if type(path) ~= "string" or path == "" then
      session:complain(format('rx.include: needs the path of a file, as in rx.include "scripts/game.lua", not %s',
        type(path) == "string" and units.show(path) or "a " .. type(path)))
      return value.unknown
    end
    local _, from = session:line()
    if not from then
      error("rx.include: called from nowhere", 0)
    end
    local file = open(sources.resolve(from.path, path))
    if not file then
      return value.unknown
    elseif not file.results then
      session.running[#session.running + 1] = file
      file.is_running = true
      file.results = pack(run(file))
      file.is_running = false
      session.running[#session.running] = nil
    end
    return unpack(file.results, 1, file.results.n)
  end
end

return M
