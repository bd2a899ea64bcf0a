-- A door written in Lua: records every builder call and every finding, and answers like the program would.
-- Enters: what the runtime calls. Leaves: door.calls, a list of { name, arguments... }, and door.found, a list of
-- { severity, text }.

local M = {}

local BUILTINS = {
  "tls", "http", "ssh", "sftp", "socks4", "socks5", "postgres", "redis", "dns", "smtp", "https=tls",
}

local function is_ip(text)
  return text:find "^%d+%.%d+%.%d+%.%d+$" ~= nil or text:find "^[%x:]*:[%x:]*$" ~= nil
end

local function is_host_port(text)
  local host, port = text:match "^(.*):(%d+%-?%d*)$"
  if not host or tonumber(port:match "^%d+") > 65535 then
    return false
  end
  return host == "*" or host:find "^[%w.-]+$" ~= nil or is_ip((host:gsub("^%[(.*)%]$", "%1")))
end

local CHECKS = {
  [0] = function(text) return text:find "^unix:/" or is_host_port(text) end,
  function(text) return text:find "^unix:/" or is_host_port(text) end,
  function(text) return is_ip(text:match "^(.*)/%d+$" or text) end,
}

-- refuse: builder name → words, for builders that shall answer -1.
function M.new(refuse)
  local door = { calls = {}, found = {} }
  local next_id, words = {}, ""
  function door.error() return words end
  function door.report(_, severity, text) door.found[#door.found + 1] = { severity, text } end
  function door.builtin_name(i) return BUILTINS[i + 1] end
  function door.has(_, field) return not (refuse and refuse.lacks == field) end
  function door.addr_check(_, kind, text)
    words = "does not parse"
    return CHECKS[kind](text) and 0 or -1
  end
  function door.regex_check(_, text)
    words = "missing )"
    return text:find("(", 1, true) and not text:find(")", 1, true) and -1 or 0
  end
  setmetatable(door, { __index = function(_, name)
    return function(_, ...)
      door.calls[#door.calls + 1] = { name, ... }
      if refuse and refuse[name] then
        words = refuse[name]
        return -1
      end
      next_id[name] = (next_id[name] or (name == "fn_new" and 0 or -1)) + 1 -- as the program counts
      return next_id[name]
    end
  end })
  return door
end

---All calls of one builder, in order.
function M.calls(door, name)
  local out = {}
  for _, call in ipairs(door.calls) do
    if call[1] == name then
      out[#out + 1] = call
    end
  end
  return out
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

M.TEXTS = {
  "client_ip", "listener", "transport", "protocol", "sni", "alpn", "host", "path", "method", "software", "qname", "key",
  "route", "user",
}
M.NUMBERS = { "id", "client_port", "to_port", "qtype", "ech" }

---A view written in Lua: view.facts by name, view.backends a list of { name, active }, view.logged what was logged.
function M.view()
  local ffi = require "ffi"
  if not pcall(ffi.typeof, "struct rx_call") then
    ffi.cdef(read "core/abi.h")
  end
  if not pcall(ffi.typeof, "struct mock_time") then
    ffi.cdef "struct mock_time { int64_t s, ns; }; int clock_gettime(int clock, struct mock_time *time);"
  end
  local struct = ffi.new "struct rx_call" -- the VM treats a pointer better than a struct: as the program passes one
  local view = { call = ffi.cast("struct rx_call *", struct), struct = struct, facts = {}, backends = {}, logged = {} }
  local function answer(call, text)
    if not text then
      return 0
    end
    view.kept = text
    call.text.ptr, call.text.len = text, #text
    return 1
  end
  function view.conn_text(call, what) return answer(call, view.facts[M.TEXTS[what + 1]]) end
  function view.conn_number(_, what) return view.facts[M.NUMBERS[what + 1]] or -1 end
  function view.pool_size() return #view.backends end
  function view.backend_name(call, i) return answer(call, view.backends[i + 1][1]) end
  function view.backend_active(_, i) return view.backends[i + 1][2] end
  local time = ffi.new "struct mock_time"
  function view.now_ns()
    ffi.C.clock_gettime(1, time)
    return ffi.cast("uint64_t", time.s) * 1000000000ULL + ffi.cast("uint64_t", time.ns)
  end
  function view.log(level, text) view.logged[#view.logged + 1] = { level, text } end
  return view
end

---Makes a call as the program does. about: bytes, conn, pool, budget (ms). Returns what pcall does.
function M.call(view, wrapper, about)
  local ffi = require "ffi"
  local call = view.call
  local bytes = about.bytes or ""
  call.ptr, call.len = ffi.cast("const uint8_t *", bytes), #bytes
  call.conn = ffi.cast("void *", about.conn and 1 or 0)
  call.pool = ffi.cast("void *", about.pool and 1 or 0)
  call.until_ns = view.now_ns() + (about.budget or 1000) * 1000000
  call.is_open = 1
  local results = { pcall(wrapper) }
  call.is_open = 0
  return unpack(results, 1, table.maxn(results))
end
jit.off(M.call) -- the program writes to the call from outside compiled code, and so must this

---Loads a config of several files, as a worker does with is_worker. Returns the functions, the view and the errors,
---the texts it read, and the door.
function M.scripts(files, is_worker, name)
  local door, view = M.new(), M.view()
  name = name or "refractium.lua"
  local chunks = { ["abi.h"] = read "core/abi.h" }
  for path, text in pairs(files) do
    chunks[path] = text
  end
  local n, functions, texts = require "refractium.load"(door, {}, chunks, { config = name, collect = is_worker }, view)
  local errors = {}
  for _, finding in ipairs(door.found) do
    errors[#errors + 1] = finding[1] == 0 and finding[2] or nil
  end
  assert(n == #errors or is_worker)
  return functions, view, errors, texts, door
end

---The same for the inside of one file.
function M.script(body, is_worker)
  return M.scripts({ ["refractium.lua"] = 'local rx = require "refractium" ' .. body }, is_worker)
end

---Loads a config given as text. Returns the door, the errors as a list of texts, the warnings, and what load said.
function M.load(text, cli, refuse)
  local door = M.new(refuse)
  cli = cli or {}
  if text then
    cli.config = "refractium.lua"
  end
  local n = require "refractium.load"(door, {}, { ["refractium.lua"] = text }, cli)
  local errors, warnings = {}, {}
  for _, finding in ipairs(door.found) do
    local list = finding[1] == 0 and errors or warnings
    list[#list + 1] = finding[2]
  end
  return door, errors, warnings, n
end

---The same for the inside of a file that begins as every config does, on line 1.
function M.config(body, cli, refuse)
  return M.load('local rx = require "refractium" ' .. body, cli, refuse)
end

return M
