-- A door written in Lua: records every builder call and every finding, and answers like the program would.
-- Enters: what the runtime calls. Leaves: door.calls, a list of { name, arguments... }, and door.found, a list of
-- { severity, text }.

local M = {}

local BUILTINS = {
  "tls", "http", "ssh", "sftp", "socks4", "socks5", "postgres", "redis", "dns", "smtp", "quic", "wireguard",
  "https=tls",
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
  function(text) return text:find "^unix:/" or text:find "^srv:[%w._-]+$" or is_host_port(text) end,
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
  function door.store_check(_, text)
    words = "must be a URL"
    return text:find "^redis://" and 0 or -1
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
  view.spent_s = os.clock
  view.state = M.state(view.call)
  function view.log(level, text, len) text = text:sub(1, len) view.logged[#view.logged + 1] = { level, text } end
  return view
end

-- Keeps what functions say in tables: state.counted, "id:label,label" → number; state.tables[id]; state.bans.
function M.state(call)
  local ffi = require "ffi"
  local state = { counted = {}, tables = {}, bans = {} }
  local labels, pending = {}, nil
  local function use(id, fn)
    local key = id .. ":" .. table.concat(labels, ",")
    state.counted[key] = fn(state.counted[key] or 0)
    labels = {}
    return 0
  end
  local function entries(id)
    state.tables[id] = state.tables[id] or {}
    return state.tables[id]
  end
  function state.metric_label(_, text, n) labels[#labels + 1] = text:sub(1, n) end
  function state.metric_add(_, id, by) return use(id, function(v) return v + by end) end
  function state.metric_set(_, id, v) return use(id, function() return v end) end
  function state.shared_value(_, kind, number, text) pending = { kind, number, text } end
  function state.shared_get(_, id, key)
    local v = entries(id)[key]
    if not v then
      return 0
    end
    call.number = v[2]
    state.kept = v[3]
    call.text.ptr, call.text.len = ffi.cast("const char *", v[3]), #v[3]
    return v[1]
  end
  function state.shared_set(_, id, key, _, ttl_ms, only_new)
    if only_new == 1 and entries(id)[key] then
      return 0
    end
    entries(id)[key] = { pending[1], pending[2], pending[3], ttl_ms }
    return 1
  end
  function state.shared_incr(_, id, key, _, by, ttl_ms)
    local v = entries(id)[key] or { 2, 0, "", ttl_ms }
    if v[1] ~= 2 then
      return -1
    end
    v[2] = v[2] + by
    entries(id)[key] = v
    call.number = v[2]
    return 0
  end
  function state.shared_delete(_, id, key)
    local was = entries(id)[key]
    entries(id)[key] = nil
    return was and 1 or 0
  end
  function state.ban(_, whom, _, ttl_ms)
    if not whom:find(".", 1, true) then
      return -1
    end
    state.bans[whom] = ttl_ms
    return 1
  end
  function state.unban(_, whom)
    local was = state.bans[whom]
    state.bans[whom] = nil
    return was and 1 or 0
  end
  return state
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
