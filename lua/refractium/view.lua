-- SPDX-License-Identifier: MIT
-- What functions of the config see of a connection: buf, conn and pool.
-- Enters: struct rx_view_door of core/abi.h. Leaves: three values that show what struct rx_call is about, each of
-- them only during a call that has it.
--
-- They are opaque: structs without a field that can be named, whose methods read the call through an upvalue nobody
-- else has. Named fields would win over __index and hand out pointers, and a pointer can be indexed anywhere.
-- Numbers are checked for being numbers first (the language has 64-bit literals without the FFI, whose sums wrap),
-- and ranges in the form that NaN fails.

local suggest = require "refractium.suggest"

local ffi = require "ffi"

local error, ipairs, jit, pairs, pcall, select, setmetatable, tonumber, tostring, type =
  error, ipairs, jit, pairs, pcall, select, setmetatable, tonumber, tostring, type
local concat, floor, format, min, sort = table.concat, math.floor, string.format, math.min, table.sort
local byte, sub = string.byte, string.sub

local M = {}

local HEX_DEFAULT, HEX_MAX = 32, 1024 -- bytes buf:hex shows

-- The C library's own, which compiled code calls as it calls the view door's.
local is_declared = pcall(function() return ffi.C.memmem end)
if not is_declared then
  ffi.cdef [[
    int memcmp(const void *a, const void *b, size_t n);
    void *memchr(const void *s, int c, size_t n);
    void *memmem(const void *s, size_t n, const void *needle, size_t len);
  ]]
end
local C = ffi.C

local function names_of(...)
  local names = {}
  for i = 1, select("#", ...) do
    for name in pairs((select(i, ...))) do
      names[#names + 1] = name
    end
  end
  sort(names)
  return names
end

local function no_field(what, key, level, ...)
  error(format("%s has no %s%s", what, tostring(key), suggest.hint(key, names_of(...))), level + 1)
end

-- A type of its own for each value, since a metatable is bound to the type.
local function sealed(metatable)
  metatable.__metatable = false
  local v = ffi.new "struct { uint32_t :32; }"
  ffi.metatype(ffi.typeof(v), metatable)
  return v
end
jit.off(sealed) -- compiled code takes a type once seen for the type of every later call

local function not_number(v, level)
  error(format("number expected, got %s", v == nil and "nothing" or type(v)), level + 1)
end

local function not_string(v, level)
  error(format("string expected, got %s", v == nil and "nothing" or type(v)), level + 1)
end

-- buf ---------------------------------------------------------------------------------------------------------

local function dead_buf(level)
  error("buf is used after its call", level + 1)
end

-- Numbers of one, two, three and four bytes. Beyond the end: -1, which equals no byte and keeps one type.
local function add_numbers(methods, call)
  function methods.u8(_, i)
    if type(i) ~= "number" then not_number(i, 2) end
    if call.is_open ~= 1 then dead_buf(2) end
    if i >= 0 and i < call.len then
      return call.ptr[i]
    end
    return -1
  end

  function methods.u16(_, i)
    if type(i) ~= "number" then not_number(i, 2) end
    if call.is_open ~= 1 then dead_buf(2) end
    if i >= 0 and i + 1 < call.len then
      local p = call.ptr
      return p[i] * 256 + p[i + 1]
    end
    return -1
  end

  function methods.u16le(_, i)
    if type(i) ~= "number" then not_number(i, 2) end
    if call.is_open ~= 1 then dead_buf(2) end
    if i >= 0 and i + 1 < call.len then
      local p = call.ptr
      return p[i + 1] * 256 + p[i]
    end
    return -1
  end

  function methods.u24(_, i)
    if type(i) ~= "number" then not_number(i, 2) end
    if call.is_open ~= 1 then dead_buf(2) end
    if i >= 0 and i + 2 < call.len then
      local p = call.ptr
      return p[i] * 65536 + p[i + 1] * 256 + p[i + 2]
    end
    return -1
  end

  function methods.u32(_, i)
    if type(i) ~= "number" then not_number(i, 2) end
    if call.is_open ~= 1 then dead_buf(2) end
    if i >= 0 and i + 3 < call.len then
      local p = call.ptr
      return p[i] * 16777216 + p[i + 1] * 65536 + p[i + 2] * 256 + p[i + 3]
    end
    return -1
  end

  function methods.u32le(_, i)
    if type(i) ~= "number" then not_number(i, 2) end
    if call.is_open ~= 1 then dead_buf(2) end
    if i >= 0 and i + 3 < call.len then
      local p = call.ptr
      return p[i + 3] * 16777216 + p[i + 2] * 65536 + p[i + 1] * 256 + p[i]
    end
    return -1
  end
end

local function add_searches(methods, call)
  ---Whether the bytes at `at` (0 unless given) are those of s.
  function methods.starts(_, s, at)
    if type(s) ~= "string" then not_string(s, 2) end
    if at == nil then at = 0 end
    if type(at) ~= "number" then not_number(at, 2) end
    if call.is_open ~= 1 then dead_buf(2) end
    local n = #s
    if at >= 0 and at + n <= call.len then
      return C.memcmp(call.ptr + at, s, n) == 0
    end
    return false
  end

  ---First place of s at or after `from`, or nil.
  function methods.find(_, s, from)
    if type(s) ~= "string" then not_string(s, 2) end
    if from == nil then from = 0 end
    if type(from) ~= "number" then not_number(from, 2) end
    if call.is_open ~= 1 then dead_buf(2) end
    local len = call.len
    if not (from >= 0 and from <= len) then
      return nil
    end
    from = floor(from)
    local n, start = #s, call.ptr + from
    if n == 0 then
      return from
    end
    local p
    if n == 1 then
      p = C.memchr(start, byte(s), len - from)
    else
      p = C.memmem(start, len - from, s, n)
    end
    if p == nil then
      return nil
    end
    return from + tonumber(ffi.cast("const uint8_t *", p) - start)
  end
end

local function add_texts(methods, call)
  ---Bytes from i up to, not with, j: buf:sub(0, 4) is the first four. Negative numbers count from the end.
  function methods.sub(_, i, j)
    if i == nil then i = 0 end
    if j == nil then j = call.len end
    if type(i) ~= "number" then not_number(i, 2) end
    if type(j) ~= "number" then not_number(j, 2) end
    if call.is_open ~= 1 then dead_buf(2) end
    local len = call.len
    if i < 0 then i = len + i end
    if j < 0 then j = len + j end
    i = i >= 0 and floor(i) or 0
    j = j <= len and floor(j) or len
    if j > i then
      return ffi.string(call.ptr + i, j - i)
    end
    return ""
  end

  ---The first line without its end, or nil when none has ended yet.
  function methods.line()
    if call.is_open ~= 1 then dead_buf(2) end
    local start = call.ptr
    local p = C.memchr(start, 10, call.len)
    if p == nil then
      return nil
    end
    local n = tonumber(ffi.cast("const uint8_t *", p) - start)
    if n > 0 and start[n - 1] == 13 then
      n = n - 1
    end
    return ffi.string(start, n)
  end

  ---The first n bytes (32 unless given, at most 1024) as hexadecimal digits, for logs.
  function methods.hex(_, n)
    if n == nil then n = HEX_DEFAULT end
    if type(n) ~= "number" then not_number(n, 2) end
    if call.is_open ~= 1 then dead_buf(2) end
    local digits = {}
    if n >= 1 then
      for i = 0, floor(min(n, call.len, HEX_MAX)) - 1 do
        digits[i + 1] = format("%02x", call.ptr[i])
      end
    end
    return concat(digits)
  end
end

local function new_buf(call)
  local methods = {}
  add_numbers(methods, call)
  add_searches(methods, call)
  add_texts(methods, call)
  return sealed {
    __len = function()
      if call.is_open ~= 1 then dead_buf(2) end
      return call.len
    end,
    __index = function(_, key)
      if type(key) == "number" then
        if call.is_open ~= 1 then dead_buf(2) end
        if key >= 0 and key < call.len then
          return call.ptr[key]
        end
        return -1
      end
      local method = methods[key]
      if method == nil then no_field("buf", key, 2, methods) end
      return method
    end,
    __tostring = function() return "buf" end,
  }
end

-- conn --------------------------------------------------------------------------------------------------------

-- Numbers of enum rx_conn_text and enum rx_conn_number.
local TEXTS = {
  listener = 1, transport = 2, protocol = 3, sni = 4, host = 6, path = 7, method = 8, software = 9, qname = 10,
  key = 11, route = 12, user = 13, pool = 14, backend = 15, ja4 = 16,
}
local WHY = 17
local NUMBERS = {
  id = 0, to_port = 2, qtype = 3, bytes_in = 5, bytes_out = 6, age = 7, lost = 8, time = 9, -- those from 5 in hooks
}
local OTHERS = { client = true, alpn = true, ech = true, proxy = true }
local CLIENT_IP, ALPN, CLIENT_PORT, ECH = 0, 5, 1, 4
local PROXY_VERSION, VIA = 10, 18
-- Types of TLVs in a PROXY header, and in its SSL one.
local TLV, TLV_SSL, SSL = 0x100, 0x200, 0x20
local PROXY_TEXTS = { via = VIA, alpn = TLV + 1, authority = TLV + 2, unique_id = TLV + 5, netns = TLV + 0x30 }
local PROXY_OTHERS = { version = true, ssl = true, tlv = true }
local SSL_TEXTS = { version = 0x21, cn = 0x22, cipher = 0x23, sig_alg = 0x24, key_alg = 0x25 }
local CLIENT = { ip = true, port = true }

local function dead_conn(level)
  error("conn is used after its call", level + 1)
end

local function text_of(view, what)
  local call = view.call
  if view.conn_text(call, what) ~= 1 then
    return nil
  end
  return ffi.string(call.text.ptr, call.text.len)
end

local function number_of(view, what)
  local n = tonumber(view.conn_number(view.call, what))
  if n < 0 then
    return nil
  end
  return n
end

-- TLS writes them one after the other, each behind its length.
local function alpn_list(raw)
  local list, at = {}, 1
  while at <= #raw do
    local n = byte(raw, at)
    list[#list + 1] = sub(raw, at + 1, at + n)
    at = at + 1 + n
  end
  return list
end

local function ech_of(view)
  local n = number_of(view, ECH)
  if n == nil then
    return nil
  end
  return n == 1
end

local function client_meta(view, is_dead)
  return {
    __index = function(self, key)
      if is_dead(self) then dead_conn(2) end
      if key == "ip" then
        return text_of(view, CLIENT_IP)
      elseif key == "port" then
        return number_of(view, CLIENT_PORT)
      end
      no_field("conn.client", key, 2, CLIENT)
    end,
    __newindex = function(_, key)
      error(format("conn.client.%s cannot be changed", tostring(key)), 2)
    end,
    __tostring = function(self)
      if is_dead(self) then return "conn.client" end
      return format("%s:%s", text_of(view, CLIENT_IP) or "?", number_of(view, CLIENT_PORT) or "?")
    end,
  }
end

-- What a proxy says of the TLS it ended.
local function ssl_of(view)
  local head = text_of(view, TLV + SSL)
  if not head then
    return nil
  end
  local flags, a, b, c, d = byte(head, 1, 5)
  local ssl = {
    is_tls = flags % 2 == 1,
    has_cert = flags % 8 >= 2, -- on this connection, or in its session
    is_verified = flags % 8 >= 2 and a + b + c + d == 0,
  }
  for name, kind in pairs(SSL_TEXTS) do
    ssl[name] = text_of(view, TLV_SSL + kind)
  end
  return ssl
end

local function proxy_tlv(view, kind, level)
  if type(kind) ~= "number" then not_number(kind, level + 1) end
  if not (kind >= 0 and kind <= 255) then
    error("the type of a TLV is a number from 0 to 255", level + 1)
  end
  return text_of(view, TLV + floor(kind))
end

local function proxy_meta(view, is_dead)
  local methods = {
    tlv = function(self, kind)
      if is_dead(self) then dead_conn(2) end
      return proxy_tlv(view, kind, 2)
    end,
  }
  return {
    __index = function(self, key)
      if is_dead(self) then dead_conn(2) end
      local what = PROXY_TEXTS[key]
      if what then
        return text_of(view, what)
      elseif key == "version" then
        return number_of(view, PROXY_VERSION)
      elseif key == "ssl" then
        return ssl_of(view)
      end
      local method = methods[key]
      if method == nil then no_field("conn.proxy", key, 2, PROXY_TEXTS, PROXY_OTHERS) end
      return method
    end,
    __newindex = function(_, key)
      error(format("conn.proxy.%s cannot be changed", tostring(key)), 2)
    end,
    __tostring = function() return "conn.proxy" end,
  }
end

-- client_of: conn → its client; proxy_of: the same for what a PROXY header said
local function conn_meta(view, is_dead, client_of, proxy_of)
  return {
    __index = function(self, key)
      if is_dead(self) then dead_conn(2) end
      local what = TEXTS[key]
      if what then
        return text_of(view, what)
      end
      what = NUMBERS[key]
      if what then
        return number_of(view, what)
      elseif key == "client" then
        return client_of(self)
      elseif key == "proxy" then
        return number_of(view, PROXY_VERSION) and proxy_of(self) or nil
      elseif key == "alpn" then
        return alpn_list(text_of(view, ALPN) or "")
      elseif key == "ech" then
        return ech_of(view)
      end
      no_field("conn", key, 2, TEXTS, NUMBERS, OTHERS)
    end,
    __newindex = function(_, key)
      error(format("conn.%s cannot be changed", tostring(key)), 2)
    end,
    __tostring = function(self)
      if is_dead(self) then return "conn" end
      return format("conn %s %s", number_of(view, 0) or "?", tostring(client_of(self)))
    end,
  }
end

local function new_conn(view)
  local call = view.call
  local function is_dead()
    return call.is_open ~= 1 or call.conn == nil
  end
  local client = sealed(client_meta(view, is_dead))
  local proxy = sealed(proxy_meta(view, is_dead))
  return sealed(conn_meta(view, is_dead, function() return client end, function() return proxy end))
end

-- For hooks, which may keep a conn for as long as the connection lives: one for each call, which knows the call it was
-- made for, so that one that was kept does not come to mean another connection.
local function new_conn_now(view)
  local call = view.call
  local function is_dead(self)
    return call.is_open ~= 1 or call.conn == nil or self[1] ~= call.serial
  end
  local client, proxy = client_meta(view, is_dead), proxy_meta(view, is_dead)
  local function made(meta)
    return function(self) return setmetatable({ self[1] }, meta) end
  end
  local conn = conn_meta(view, is_dead, made(client), made(proxy))
  client.__metatable, proxy.__metatable, conn.__metatable = false, false, false
  return function()
    return setmetatable({ call.serial }, conn)
  end
end

-- The bytes of a call as a string: an identity, or a line of a log.
local function new_text_now(view)
  local call = view.call
  return function()
    return ffi.string(call.ptr, call.len)
  end
end

-- pool --------------------------------------------------------------------------------------------------------

local function dead_pool(level)
  error("pool is used after its call", level + 1)
end

local BACKEND = { name = true, active = true }

-- One value stands for the i-th backend of whatever pool a call is about.
local function new_backend(view, number, is_dead)
  return setmetatable({}, {
    __index = function(_, key)
      if is_dead() then dead_pool(2) end
      if number > view.pool_size(view.call) then
        error("this backend is of another pool", 2)
      elseif key == "name" then
        local call = view.call
        return view.backend_name(call, number - 1) == 1 and ffi.string(call.text.ptr, call.text.len) or nil
      elseif key == "active" then
        return tonumber(view.backend_active(view.call, number - 1))
      end
      no_field("a backend", key, 2, BACKEND)
    end,
    __newindex = function() error("a backend cannot be changed", 2) end,
    __tostring = function() return format("backend %d", number) end,
    __metatable = false,
  })
end

-- numbers: backend → its number, also for dispatch.lua, which takes what a policy returns.
local function new_pool(view, numbers)
  local call, backends = view.call, {}
  local function is_dead()
    return call.is_open ~= 1 or call.pool == nil
  end
  local function backend(i)
    local found = backends[i]
    if not found then
      found = new_backend(view, i, is_dead)
      backends[i], numbers[found] = found, i
    end
    return found
  end
  return sealed {
    __len = function()
      if is_dead() then dead_pool(2) end
      return view.pool_size(call)
    end,
    __index = function(_, key)
      if is_dead() then dead_pool(2) end
      if type(key) ~= "number" then no_field("pool", key, 2, {}) end
      if key >= 1 and key <= view.pool_size(call) and floor(key) == key then
        return backend(key)
      end
      return nil
    end,
    __tostring = function() return "pool" end,
  }
end

-- Opening -----------------------------------------------------------------------------------------------------

local function open_c(pointer)
  local door = ffi.cast("struct rx_view_door *", pointer)
  local size = ffi.sizeof "struct rx_view_door"
  if door.size ~= size then
    error(format("the program's view is of %d bytes, the runtime's of %d: mixed builds", door.size, size), 0)
  end
  local view = { call = door.call }
  for _, name in ipairs {
    "conn_text", "conn_number", "pool_size", "backend_name", "backend_active", "now_ns", "log", "re_new", "re_find",
    "spent_s",
  } do
    view[name] = door[name]
  end
  view.state = door.state
  if view.state.size ~= ffi.sizeof "struct rx_state_door" then
    error("the program's state door is not the runtime's: mixed builds", 0)
  end
  function view.file_write(id, text)
    return door.file_write(view.call, id, text, #text)
  end
  function view.file_size(id)
    return tonumber(door.file_size(view.call, id))
  end
  return view
end

local function none()
  return { call = { is_open = 0 }, now_ns = function() return 0 end, spent_s = os.clock }
end

---@param door any light userdata of a `struct rx_view_door *`, a table of the same functions with a call of type
---`struct rx_call`, or nil where functions are never called
function M.open(door)
  if door == nil then
    return none()
  end
  local view = type(door) == "table" and door or open_c(door)
  if not view.buf then
    view.numbers = {}
    view.buf, view.conn, view.pool = new_buf(view.call), new_conn(view), new_pool(view, view.numbers)
    local buf_type = ffi.typeof(view.buf)
    view.is_buf = function(v) return type(v) == "cdata" and ffi.istype(buf_type, v) end
    view.conn_now, view.text_now = new_conn_now(view), new_text_now(view)
    function view.why() return text_of(view, WHY) end
  end
  return view
end

return M
