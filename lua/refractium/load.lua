-- SPDX-License-Identifier: MIT
-- The entry: runs a config and hands what it declares to the program.
-- Enters: the door and a build from C, texts that are embedded in the program, the command line as strings, and the
-- view its functions will see connections through. Leaves: the number of errors, each of them told through
-- door.report, the functions of the config in the order of their numbers, and the texts of all files it read. With no
-- errors, the build is complete.
--
-- chunks maps names to texts. "core/abi.h" is the declarations the FFI needs; files whose path is found here are not
-- read from disk. With cli.collect nothing is built, checked or told: the config is known to be good, and only its
-- functions are wanted. They get the same numbers, since everything else happens as before.

local abi = require "refractium.abi"
local build = require "refractium.build"
local check = require "refractium.check"
local context = require "refractium.context"
local dispatch = require "refractium.dispatch"
local env = require "refractium.env"
local forward = require "refractium.forward"
local init = require "refractium.init"
local report = require "refractium.report"
local sources = require "refractium.sources"
local value = require "refractium.value"
local views = require "refractium.view"

local error, ipairs, jit, setfenv, tostring, type, xpcall = error, ipairs, jit, setfenv, tostring, type, xpcall
local find, format = string.find, string.format
local getinfo, sethook = debug.getinfo, debug.sethook

local DEFAULT_FILE = "refractium.lua"

-- A config only declares; one that runs for so long has lost its way. Of this thread's time: others may be busy.
local RUN_SECONDS, HOOK_INSTRUCTIONS = 2, 1000000

-- The deepest line of the config that was running; the message may carry another place, or none.
local function handler(files)
  return function(message)
    if type(message) == "string" and files:split(message) then
      return message
    end
    local level = 2
    local info = getinfo(level, "Sl")
    while info do
      local file = files:file_of(info.source)
      if file and info.currentline > 0 then
        return format("%s:%d: %s", file.short, info.currentline, tostring(message))
      end
      level = level + 1
      info = getinfo(level, "Sl")
    end
    return tostring(message)
  end
end

-- Calls the chunk with an end to its patience. Compiled code does not call hooks, so nothing is compiled meanwhile.
-- Once over the limit every instruction of the config raises: a pcall around the loop does not help it on.
local function call_with_limit(chunk, files, clock)
  local deadline = clock() + RUN_SECONDS
  local function on_count()
    if clock() > deadline then
      sethook(on_count, "", 1)
      if files:file_of(getinfo(2, "S").source) then
        error(format("ran for more than %d seconds", RUN_SECONDS), 0)
      end
    end
  end
  local was_on = jit.status()
  jit.off()
  sethook(on_count, "", HOOK_INSTRUCTIONS)
  local ok, wrong = xpcall(chunk, handler(files))
  sethook()
  if was_on then
    jit.on()
  end
  return ok, wrong
end

local function add_with_line(findings, place, text)
  findings:error(place, place and text or findings.file .. ": " .. text)
end

-- A chunk of the file in the config's environment; nil after what is wrong with it was reported.
local function compile(file, session, environment)
  local chunk, place, wrong = session.sources:compile(file, session.is_quiet)
  if not chunk then
    session.report:error(place, place and wrong or file.path .. ": " .. wrong)
    return nil
  end
  setfenv(chunk, environment)
  return chunk
end

-- What the config's files run in, and how one of them is run.
local function new_environment(session, link, view)
  local environment
  local rx = init.new(session, link, view, function(included)
    local chunk = compile(included, session, environment)
    if chunk then
      return chunk()
    end
    return value.unknown
  end)
  env.seal_strings(view)
  environment = env.new(session, rx, view)
  return environment
end

---Runs the config; true when it ran to its end.
local function run(file, session, environment, view)
  local chunk = compile(file, session, environment)
  if not chunk then
    return false
  end
  session.running, file.is_running = { file }, true
  local ok, wrong = call_with_limit(chunk, session.sources, view.spent_s)
  if not ok then
    add_with_line(session.report, session.sources:split(wrong))
  end
  return ok
end

local function missing_file(findings, path, wrong, is_default)
  local hint = is_default and ' (write one with "refractium init", or give routes with -f)' or ""
  findings:error(nil, format("%s%s", find(wrong, path, 1, true) and wrong or path .. ": " .. wrong, hint))
end

local function abi_text(chunks)
  return type(chunks) == "table" and (chunks["core/abi.h"] or chunks["abi.h"]) or chunks
end

-- What a function may name as a target, in the numbers of the build.
local function targets_of(ctx, pools)
  return {
    of_pool = function(record) return record.model and pools[record.model] or nil end,
    by_name = function(name)
      local pool = ctx.pool_by_name[name]
      return pool and pools[pool] or nil
    end,
  }
end

local function wrap_all(functions, pools, ctx, view)
  local targets, wrappers = targets_of(ctx, pools), {}
  for i, fn in ipairs(view.buf and functions or {}) do
    fn.wrapper = dispatch.wrap(fn, view, ctx.session, targets)
    wrappers[i] = fn.wrapper
  end
  return wrappers
end

-- Runs the config, if there is one, and checks what it declared.
local function read_config(path, session, link, view, cli)
  local findings, files = session.report, session.sources
  local file, wrong, is_complete
  local environment = new_environment(session, link, view)
  if path then
    file, wrong = files:add(path)
    if file then
      is_complete = run(file, session, environment, view)
      init.report_pending(session)
    else
      missing_file(findings, path, wrong, not cli.config)
    end
  end
  local ctx = context.new(session, link, findings, file and files or nil)
  ctx.is_file_read, ctx.is_cut_short = path ~= nil, path ~= nil and not is_complete
  return ctx
end

---@param door any light userdata: struct rx_door *, or a table of the same functions
---@param building any light userdata: struct rx_build *
---@param chunks table name -> text
---@param cli table what was typed; collect: see above
---@param view_door any light userdata: struct rx_view_door *, a table of the same functions, or nil
---@return integer errors, table functions, table files path -> text
return function(door, building, chunks, cli, view_door)
  local link = abi.open(door, building, abi_text(chunks))
  if cli.collect then
    link = abi.collector(link)
  end
  local view = views.open(view_door)
  local path = cli.config
  local has_rules = cli.forward and #cli.forward > 0
  if not path and not has_rules and not cli.guard then
    path = DEFAULT_FILE
  end
  dispatch.tune()
  local files = sources.new(chunks)
  local findings = report.new(path or "command line", files)
  local session = init.session(findings, files)
  session.is_quiet = cli.collect
  local ctx = read_config(path, session, link, view, cli)
  local rules = forward.parse(cli.forward, findings)
  for _, rule in ipairs(rules) do
    if not session.protocols[rule.proto] then
      session.shipped(rule.proto)
    end
  end
  local model = check.run(ctx, rules, cli)
  local wrappers = {}
  if findings.errors == 0 then
    local functions, pools = build.run(link, findings, model, ctx.locate, session)
    session.is_loaded = true
    wrappers = wrap_all(functions, pools, ctx, view)
    if cli.collect and view.buf then
      dispatch.warm(functions, view)
    end
  end
  return findings:flush(link), wrappers, files:texts()
end
