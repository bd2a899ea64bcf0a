-- SPDX-License-Identifier: MIT
-- The Lua side of core/abi.h: the only file that knows the FFI.
-- Enters: the door as C passes it (a light userdata), the build, and the text of abi.h. Leaves: a link, a table
-- of functions that take plain Lua values: strings for slices, tables for specs, booleans for flags.
-- A table in place of the door is taken as a door written in Lua, called as door.name(build, ...) with those
-- same plain values; that is how the tests listen in.

local ffi = require "ffi"

local error, format, next, pairs, pcall, setmetatable, type =
  error, string.format, next, pairs, pcall, setmetatable, type

local M = {}

local VERSION = 2

-- Builder name → how its arguments after the build are passed: "slice", "number", or the spec's struct.
local CALLS = {
  report = { "number", "slice" },
  addr_check = { "number", "slice" },
  regex_check = { "slice" },
  store_check = { "slice" },
  server_set = { "rx_server_spec" },
  fn_new = { "number", "slice" },
  metric_new = { "rx_metric_spec" },
  shared_new = { "rx_shared_spec" },
  sessions_new = { "rx_sessions_spec" },
  sessions_limit = { "number", "number", "slice" },
  sessions_exempt = { "number", "slice" },
  tail_new = { "rx_tail_spec" },
  fn_text = { "number", "slice" },
  proto_builtin = { "slice" },
  proto_new = { "rx_proto_spec" },
  proto_prefix = { "number", "slice" },
  proto_pattern = { "number", "slice" },
  proto_first = { "number", "number", "number" },
  proto_sample = { "number", "number", "slice" },
  pool_new = { "rx_pool_spec" },
  pool_backend = { "number", "rx_backend_spec" },
  pool_health = { "number", "rx_health_spec" },
  pool_source = { "number", "slice" },
  pool_health_status = { "number", "number", "number" },
  pool_health_expect = { "number", "slice" },
  listen_new = { "rx_listen_spec" },
  listen_bind = { "number", "slice" },
  listen_proxy = { "number", "slice" },
  route_new = { "number", "rx_route_spec" },
  route_cond = { "number", "number", "slice" },
  hook_new = { "rx_hook_spec" },
  hook_use = { "rx_hook_use_spec" },
  timer_new = { "number", "number" },
  file_new = { "rx_file_spec" },
  test_new = { "rx_test_spec" },
  test_send = { "number", "slice" },
}

-- abi.h may be declared once per Lua state, while a state may load several configs.
local function declare(text)
  if not pcall(ffi.typeof, "struct rx_door") then
    ffi.cdef(text)
  end
end

-- Writes plain values into a struct that was cleared. A field the struct does not have is left out: the runtime
-- may know more than an older program, and asks link.has where that matters.
local function fill(struct, known, values)
  for name, v in next, values do
    local kind = known[name] and type(v)
    if kind == "string" then
      local slice = struct[name]
      slice.ptr, slice.len = v, #v
    elseif kind == "table" then
      fill(struct[name], known[name], v)
    elseif kind == "boolean" then
      struct[name] = v and 1 or 0
    elseif kind == "number" then
      struct[name] = v
    end
  end
end

-- Structs inside specs, by the name of the field.
local NESTED = {
  to = "rx_target_spec", fallback = "rx_target_spec", fallback_tcp = "rx_target_spec", fallback_udp = "rx_target_spec",
  mirror = "rx_target_spec", connection_rate = "rx_rate_spec", rate_per_ip = "rx_rate_spec",
}

-- Name → true for the fields of a struct that exist; for a struct inside it, the same for that.
local function fields_of(name)
  return setmetatable({}, { __index = function(self, field)
    local found = ffi.offsetof("struct " .. name, field) ~= nil
    if found and NESTED[field] then
      found = fields_of(NESTED[field])
    end
    self[field] = found
    return found
  end })
end

-- One struct for each argument, used again and again: builders copy what they keep.
local function converter(kind)
  if kind == "number" then
    return function(v) return v end
  elseif kind == "slice" then
    local slice = ffi.new("struct rx_slice")
    return function(v)
      slice.ptr, slice.len = v, #v
      return slice
    end
  end
  local ctype = ffi.typeof("struct " .. kind)
  local struct, size, known = ffi.new(ctype), ffi.sizeof(ctype), fields_of(kind)
  return function(v)
    ffi.fill(struct, size)
    fill(struct, known, v)
    return struct
  end
end

-- A slice does not keep its string alive: passing the arguments on past the call does.
local function answer(result)
  return result
end

local function wrap(fn, build, kinds)
  local a, b, c = converter(kinds[1]), kinds[2] and converter(kinds[2]), kinds[3] and converter(kinds[3])
  if c then
    return function(x, y, z)
      return answer(fn(build, a(x), b(y), c(z)), x, y, z)
    end
  elseif b then
    return function(x, y)
      return answer(fn(build, a(x), b(y)), x, y)
    end
  end
  return function(x)
    return answer(fn(build, a(x)), x)
  end
end

local function check_version(door)
  local size = ffi.sizeof("struct rx_door")
  if door.version ~= VERSION or door.size ~= size then
    error(format("the program's door is version %d of %d bytes, the runtime's is version %d of %d: mixed builds",
      door.version, door.size, VERSION, size), 0)
  end
end

local function open_c(pointer, build, text)
  declare(text)
  local door = ffi.cast("struct rx_door *", pointer)
  check_version(door)
  build = ffi.cast("struct rx_build *", build)
  local link = {}
  for name, kinds in pairs(CALLS) do
    link[name] = wrap(door[name], build, kinds)
  end
  function link.error()
    local words = door.error(build)
    return words ~= nil and ffi.string(words) or "refused"
  end
  function link.builtin_name(i)
    local name = door.builtin_name(i)
    return name ~= nil and ffi.string(name) or nil
  end
  function link.has(struct, field)
    return ffi.offsetof("struct " .. struct, field) ~= nil
  end
  return link
end

local function open_lua(door, build)
  local link = {}
  for name in pairs(CALLS) do
    link[name] = function(...)
      return door[name](build, ...)
    end
  end
  function link.error()
    return door.error(build)
  end
  link.builtin_name = door.builtin_name
  link.has = door.has or function() return true end
  return link
end

---A link that builds nothing: what is declared gets the numbers the program's builders give, from what was declared
---before it, and nothing is checked or told. For a state that runs what another state found to be good.
function M.collector(link)
  local out = {
    builtin_name = link.builtin_name, has = link.has,
    error = function() return "refused" end, report = function() end,
    addr_check = function() return 0 end, regex_check = function() return 0 end,
    store_check = function() return 0 end,
  }
  for name in pairs(CALLS) do
    local n = name == "fn_new" and 0 or -1 -- functions are counted from 1, all else from 0
    out[name] = out[name] or function()
      n = n + 1
      return n
    end
  end
  return out
end

---@param door any light userdata of a `struct rx_door *`, or a table of functions
---@param build any light userdata of a `struct rx_build *`
---@param text string? core/abi.h, needed for the former
function M.open(door, build, text)
  if type(door) == "table" then
    return open_lua(door, build)
  end
  return open_c(door, build, text)
end

return M
