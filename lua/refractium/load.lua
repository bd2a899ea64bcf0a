-- SPDX-License-Identifier: MIT
-- The entry: runs a config and hands what it declares to the program.
-- Enters: the door and a build from C, texts that are embedded in the program, and the command line as strings.
-- Leaves: the number of errors, each of them told through door.report. With none, the build is complete.
--
-- chunks maps names to texts. "core/abi.h" is the declarations the FFI needs; a config whose path is found here
-- is not read from disk.

local abi = require "refractium.abi"
local build = require "refractium.build"
local check = require "refractium.check"
local env = require "refractium.env"
local forward = require "refractium.forward"
local init = require "refractium.init"
local locate = require "refractium.locate"
local report = require "refractium.report"

local error, io, jit, load, setfenv, tonumber, tostring, type, xpcall =
  error, io, jit, load, setfenv, tonumber, tostring, type, xpcall
local clock = os.clock
local find, format, gsub, match, sub = string.find, string.format, string.gsub, string.match, string.sub
local getinfo, sethook = debug.getinfo, debug.sethook

local DEFAULT_FILE = "refractium.lua"

-- The VM cuts long chunk names in messages, so the config runs under a short one; the report adds the path.
local SOURCE = "@config"

-- A config only declares; one that runs for so long has lost its way.
local RUN_SECONDS, HOOK_INSTRUCTIONS = 2, 1000000

local function read(path, chunks)
  if type(chunks) == "table" and chunks[path] then
    return chunks[path]
  end
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

local function add_with_line(findings, message)
  local line, rest = match(message, "^config:(%d+): (.*)$")
  findings:error(line and tonumber(line), rest or findings.file .. ": " .. message)
end

-- The deepest line of the config that was running; the message may carry another place, or none.
local function handler(message)
  if type(message) == "string" and find(message, "^config:%d+: ") then
    return message
  end
  local level = 2
  local info = getinfo(level, "Sl")
  while info do
    if info.source == SOURCE and info.currentline > 0 then
      return format("config:%d: %s", info.currentline, tostring(message))
    end
    level = level + 1
    info = getinfo(level, "Sl")
  end
  return tostring(message)
end

local function compile(text, findings)
  if sub(text, 1, 1) == "\27" then
    findings:error(nil, findings.file .. ": is bytecode, not Lua text")
    return nil
  end
  local chunk, wrong = load(tidy(text), SOURCE, "t")
  if not chunk then
    add_with_line(findings, wrong)
  end
  return chunk
end

-- Calls the chunk with an end to its patience. Compiled code does not call hooks, so the config is interpreted.
-- Once over the limit every instruction of the config raises: a pcall around the loop does not help it on.
local function call_with_limit(chunk)
  local deadline = clock() + RUN_SECONDS
  local function on_count()
    if clock() > deadline then
      sethook(on_count, "", 1)
      if getinfo(2, "S").source == SOURCE then
        error(format("ran for more than %d seconds", RUN_SECONDS), 0)
      end
    end
  end
  jit.off(chunk, true)
  sethook(on_count, "", HOOK_INSTRUCTIONS)
  local ok, wrong = xpcall(chunk, handler)
  sethook()
  return ok, wrong
end

---Runs the config; true when it ran to its end.
local function run(text, session, rx, findings)
  local chunk = compile(text, findings)
  if not chunk then
    return false
  end
  env.seal_strings()
  setfenv(chunk, env.new(session, rx))
  local ok, wrong = call_with_limit(chunk)
  if not ok then
    add_with_line(findings, wrong)
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

---@param door any light userdata: struct rx_door *, or a table of the same functions
---@param building any light userdata: struct rx_build *
---@param chunks table name → text
---@param cli table what was typed
---@return integer errors
return function(door, building, chunks, cli)
  local link = abi.open(door, building, abi_text(chunks))
  local path = cli.config
  local has_rules = cli.forward and #cli.forward > 0
  if not path and not has_rules then
    path = DEFAULT_FILE
  end
  local findings = report.new(path or "command line")
  local session = init.session(findings, SOURCE)
  local rx = init.new(session, link)
  local text, wrong, is_complete
  if path then
    text, wrong = read(path, chunks)
    if text then
      is_complete = run(text, session, rx, findings)
      init.report_pending(session)
    else
      missing_file(findings, path, wrong, not cli.config)
    end
  end
  local finder = text and locate.new(tidy(text)) or nil
  local ctx = check.context(session, link, findings, finder)
  ctx.is_file_read, ctx.is_cut_short = path ~= nil, path ~= nil and not is_complete
  local model = check.run(ctx, forward.parse(cli.forward, findings), cli)
  if findings.errors == 0 then
    build.run(link, findings, model, finder)
  end
  return findings:flush(link)
end
