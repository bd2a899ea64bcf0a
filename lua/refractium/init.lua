-- SPDX-License-Identifier: MIT
-- The verbs of a config: what `require "refractium"` gives to the file.
-- Enters: calls from the config. Leaves: session.declarations, a list of what was declared, in order, each with
-- its name, its options as written and its line. Nothing is judged here but the shape of the call itself:
-- check.lua does that when the whole file has run.

local hook = require "refractium.hook"
local include = require "refractium.include"
local ban = require "refractium.ban"
local log = require "refractium.log"
local metric = require "refractium.metric"
local sessions = require "refractium.sessions"
local shared = require "refractium.shared"
local suggest = require "refractium.suggest"
local re = require "refractium.re"
local schema = require "refractium.schema"
local units = require "refractium.units"
local value = require "refractium.value"

local error, ipairs, next, pairs, rawget, setmetatable, tostring, type =
  error, ipairs, next, pairs, rawget, setmetatable, tostring, type
local concat, find, format, sort, sub = table.concat, string.find, string.format, table.sort, string.sub
local getinfo = debug.getinfo

local M = {}

local session_methods = {}
session_methods.__index = session_methods

---The place (sources.lua) in the config that is running now and its file, or nil outside the config. A file that ends
---in `return rx.verb(...)` has left the stack: the first frame is then the main chunk of the one that included it, not
---of the file that is on its way, and its place is the line of the include.
function session_methods:line()
  for level = 2, 60 do
    local info = getinfo(level, "Sl")
    local on_its_way = self.running[#self.running]
    if not info then
      return nil
    end
    local file = self.sources:file_of(info.source)
    if file and info.currentline > 0 then
      local is_left = info.what == "main" and on_its_way and on_its_way ~= file
      return self.sources:place(file, info.currentline), is_left and on_its_way or file
    end
  end
  return nil
end

---A finding of the load. Once that is over, functions of the config run, and a mistake ends the call it is made in.
function session_methods:complain(text)
  local line = self:line()
  if self.is_loaded then
    error(line and format("%s: %s", self.sources:text(line), text) or text, 0)
  end
  self.report:error(line, text)
end

---Verbs declare, and what was declared has been built.
function session_methods:must_load(what)
  if self.is_loaded then
    self:complain(format("%s can only be used while the config loads", what))
  end
end

---What to say of a protocol's name that names none; `is_value`: where rx.NAME belongs, not a string.
function session_methods:no_protocol(name, is_value)
  local close = suggest.closest(name, self.names)
  local hint = close and format(is_value and " (did you mean rx.%s?)" or ' (did you mean "%s"?)', close) or ""
  return format("no protocol named %s%s", units.show(name), hint)
end

---@param report table where findings go
---@param sources table the files of this load
function M.session(report, sources)
  return setmetatable({ report = report, sources = sources, declarations = {}, protocols = {}, names = {},
    running = {} }, session_methods)
end

-- What the config wrote, as it is at the time of the call, without the config's metatables: nothing of the config
-- runs while its tables are read. `seen` lets a table that holds itself end.
local function plain(v, seen)
  if type(v) ~= "table" or value.of(v) then
    return v
  elseif seen[v] then
    return seen[v]
  end
  local copy = {}
  seen[v] = copy
  for key, item in next, v do
    if type(item) == "table" then
      item = plain(item, seen)
    end
    copy[key] = item
  end
  return copy
end

local function declare(session, verb, name, options)
  local declaration = { verb = verb, name = plain(name, {}), options = plain(options, {}), line = session:line() }
  session.declarations[#session.declarations + 1] = declaration
  return declaration
end

local function title(verb, name)
  if type(name) == "table" then
    name = rawget(name, 1)
  end
  return type(name) == "string" and format('%s "%s"', verb, name) or verb
end
M.title = title

-- rx.verb NAME gives a value that waits for { options }; one that never gets them is reported at the end.
local function curried(session, verb, check_name, make)
  return function(name, more)
    session:must_load("rx." .. verb)
    local wrong = check_name(name)
    if wrong then
      session:complain(format("rx.%s: %s", verb, wrong))
      return value.unknown
    elseif more ~= nil then
      session:complain(format("rx.%s: give the options in a call of their own: rx.%s { ... }", verb, title(verb, name)))
      return value.unknown
    end
    local pending = { verb = verb, name = name, line = session:line(), text = "rx." .. title(verb, name) }
    session.pending[#session.pending + 1] = pending
    return value.new("pending", pending, function(_, options)
      session:must_load("rx." .. verb)
      pending.is_complete = true
      if type(options) ~= "table" or value.of(options) then
        session:complain(format("%s: options must be a table { ... }, not a %s", pending.text, type(options)))
        return value.unknown
      end
      local declaration = declare(session, verb, name, options)
      return value.new(verb, make(declaration))
    end)
  end
end

local function named(verb, example)
  return function(name)
    if type(name) ~= "string" then
      return format('needs a name first: rx.%s "%s" { ... }', verb, example)
    elseif name == "" then
      return "the name is empty"
    end
  end
end

local function addressed(name)
  if type(name) == "string" then
    return nil
  elseif type(name) ~= "table" or value.of(name) or #name == 0 then
    return 'needs an address first: rx.listen "0.0.0.0:8080" { ... }'
  end
  for i, address in ipairs(name) do
    if type(address) ~= "string" then
      return format("address %d of the list must be a string, not a %s", i, type(address))
    end
  end
end

local function server(session)
  return function(options)
    session:must_load "rx.server"
    if type(options) ~= "table" or value.of(options) then
      session:complain("rx.server: options must be a table: rx.server { ... }")
      return
    end
    declare(session, "server", nil, options)
  end
end

local function value_of(verb)
  return function(declaration)
    local record = { text = "rx." .. title(verb, declaration.name), name = declaration.name, declaration = declaration }
    declaration.value = record
    return record
  end
end

local function actions(session, api)
  for _, kind in ipairs { "refuse", "drop", "tarpit", "echo" } do
    api[kind] = value.new("action", { text = "rx." .. kind, action = kind })
  end
  session.refuse = api.refuse
  session.more = value.new("more", { text = "rx.more" })
  api.more = session.more
  api.respond = value.new("action", { text = "rx.respond", action = "describe" }, function(_, text)
    if type(text) ~= "string" then
      session:complain(format('rx.respond: needs a string, as in rx.respond "hello\\n", not a %s', type(text)))
      return value.unknown
    end
    return value.new("action", { text = "rx.respond", action = "respond", bytes = text })
  end)
end

local function is_ours(name)
  return name ~= "any" and name ~= "silent"
end

local function add_builtin(session, api, name)
  local record = { text = "rx." .. name, name = name, is_builtin = true, is_pseudo = not is_ours(name) }
  session.protocols[name] = record
  session.names[#session.names + 1] = name
  api[name] = value.new("protocol", record, function()
    session:complain(format("rx.%s is a value: write { rx.%s, to = ... }", name, name))
    return value.unknown
  end)
end

-- An alias is a second name of the same value.
local function add_builtins(session, api, link)
  local i = 0
  local entry = link.builtin_name(i)
  while entry do
    local equals = find(entry, "=", 1, true)
    if equals then
      local alias, name = sub(entry, 1, equals - 1), sub(entry, equals + 1)
      api[alias] = api[name]
      session.protocols[alias] = session.protocols[name]
      session.names[#session.names + 1] = alias
    elseif not api[entry] then
      add_builtin(session, api, entry)
    end
    i = i + 1
    entry = link.builtin_name(i)
  end
  for _, name in ipairs { "any", "silent" } do
    if not api[name] then
      add_builtin(session, api, name)
    end
  end
end

-- A website: what its clients speak over TCP and UDP.
local function web(session)
  return value.new("web", { text = "rx.web" }, function()
    session:complain "rx.web is a value: write { rx.web, sni = ..., to = ... }"
    return value.unknown
  end)
end

local function unknown_verb(session, api)
  return function(_, key)
    local known = api[key]
    if known == nil and type(key) == "string" then
      known = session.shipped(key)
      api[key] = known
    end
    if known ~= nil then
      return known
    elseif schema.unavailable_verbs[key] then
      session:complain(format("rx.%s is not available in this version", key))
    else
      local names = {}
      for name in pairs(api) do
        names[#names + 1] = name
      end
      sort(names)
      session:complain(format("refractium has no rx.%s%s", tostring(key), suggest.hint(key, names)))
    end
    return value.unknown
  end
end

---The value of `require "refractium"` for one load.
---@param session table M.session's
---@param link table
---@param view table view.lua's
---@param run function(file) what include does with a file: returns what it returned
function M.new(session, link, view, run)
  session.pending = {}
  local api = {}
  add_builtins(session, api, link)
  actions(session, api)
  api.web = web(session)
  api.server = server(session)
  api.listen = curried(session, "listen", addressed, value_of("listen"))
  api.pool = curried(session, "pool", named("pool", "web"), value_of("pool"))
  api.test = curried(session, "test", named("test", "what must happen"), value_of("test"))
  api.protocol = curried(session, "protocol", named("protocol", "game"), value_of("protocol"))
  for _, kind in ipairs { "counter", "gauge" } do
    local example = kind == "gauge" and "depth" or "knocks_total"
    api[kind] = curried(session, kind, named(kind, example), metric.maker(session, view))
  end
  api.shared = curried(session, "shared", named("shared", "knocks"), shared.maker(session, view))
  api.ban, api.unban = ban.new(session, view)
  api.hook = curried(session, "hook", named("hook", "access"), value_of("hook"))
  api.sessions = curried(session, "sessions", named("sessions", "vpn"), value_of("sessions"))
  api.tail = curried(session, "tail", named("tail", "/var/log/xray/access.log"), value_of("tail"))
  api.xray = sessions.xray()
  api.every = hook.every(session)
  api.file = hook.file(session, view)
  api.include = include.new(session, run)
  session.shipped = include.shipped(session, run)
  api.log = log.new(session, view)
  api.re = re.new(session, link, view)
  return setmetatable({}, {
    __index = unknown_verb(session, api),
    __newindex = function(_, key)
      session:complain(format("rx.%s cannot be assigned", tostring(key)))
    end,
    __tostring = function() return "refractium" end,
    __metatable = false,
  })
end

---Verbs that were named but never given their options.
function M.report_pending(session)
  for _, pending in ipairs(session.pending) do
    if not pending.is_complete then
      session.report:error(pending.line, concat { pending.text, " is not followed by { ... }" })
    end
  end
end

return M
