-- Random calls to everything a function of the config can reach of a connection, with the bytes between two pages
-- that nobody may touch: one byte too far ends the process.
-- luajit [-joff] tests/lua/fuzz_view.lua [CALLS [SEED]]; says how many calls it made.
package.path = "lua/?.lua;tests/lua/?.lua;" .. package.path

local ffi = require "ffi"
local mock = require "mock_door"
local views = require "refractium.view"

local CALLS, SEED = tonumber(arg[1] or 10000000), tonumber(arg[2] or 1)
local PAGE = 4096

ffi.cdef [[
  void *mmap(void *at, size_t n, int protection, int flags, int fd, long from);
  int mprotect(void *at, size_t n, int protection);
]]

-- A page that can be used between two that cannot.
local area = ffi.cast("uint8_t *", ffi.C.mmap(nil, 3 * PAGE, 3, 0x22, -1, 0)) -- read and write, private, anonymous
assert(ffi.C.mprotect(area, PAGE, 0) == 0 and ffi.C.mprotect(area + 2 * PAGE, PAGE, 0) == 0)
local page = area + PAGE

math.randomseed(SEED)
jit.opt.start("hotloop=5", "hotexit=2", "loopunroll=300", "maxtrace=8000", "sizemcode=512", "maxmcode=8192")
local random = math.random

local view = mock.view()
view.backends = { { "a", 1 }, { "b", 2 } }
view = views.open(view)
local call = view.call
call.conn, call.pool = ffi.cast("void *", 1), ffi.cast("void *", 1)
call.is_open = 1

local bytes, len = "", 0

-- Bytes that end where the page ends, or begin where it begins.
local function place()
  len = random() < 0.1 and 0 or random() < 0.5 and random(0, 20) or random(0, PAGE)
  local parts = {}
  for i = 1, len do
    parts[i] = string.char(random() < 0.3 and ("\r\nAB"):byte(random(4)) or random(0, 255))
  end
  bytes = table.concat(parts)
  call.ptr, call.len = random() < 0.5 and page or page + PAGE - len, len
  ffi.copy(ffi.cast("uint8_t *", call.ptr), bytes, len)
  call.is_open = random() < 0.99 and 1 or 0
end

local ODD = {
  0 / 0, 1 / 0, -1 / 0, 2 ^ 31, -2 ^ 31, 2 ^ 32, 2 ^ 53, 2 ^ 63, -2 ^ 63, 2 ^ 64, 1e308, -1e308, 5e-324, -0, 0.5, -0.5,
  0xffffffffffffffffULL, 0x7fffffffffffffffLL, -1LL, 0ULL, 1LL, 2i, "", "x", "0", "\r\n", ("A"):rep(5000), "ptr", "len",
  true, false, {}, print, view.buf, view.conn, view.pool, view.conn.client, page, call, coroutine.create(print),
  ffi.typeof "int", setmetatable({}, { __index = function() return 1 end, __len = function() return 2 ^ 40 end }),
}

local function any()
  local r = random()
  if r < 0.35 then
    return random(-2, len + 2)
  elseif r < 0.45 then
    return len - random(0, 5)
  elseif r < 0.5 then
    return random() * (len + 4) - 2
  elseif r < 0.7 then
    local at = random(0, len)
    return bytes:sub(at, at + random(0, 6))
  elseif r < 0.75 then
    return nil
  end
  return ODD[random(#ODD)]
end

local function is_whole(v)
  return type(v) == "number" and v % 1 == 0 and v > -1e9 and v < 1e9
end

-- What each must say when its arguments are whole numbers or strings as they should be; ANYTHING where they are not.
local ANYTHING = {}

local function number(n, is_little)
  return function(i)
    if not is_whole(i) then
      return ANYTHING
    elseif i < 0 or i + n > #bytes then
      return -1
    end
    local value = 0
    for k = 0, n - 1 do
      value = value * 256 + bytes:byte(is_little and i + n - k or i + k + 1)
    end
    return value
  end
end

local EXPECTED = {
  u8 = number(1), u16 = number(2), u24 = number(3), u32 = number(4), u16le = number(2, true), u32le = number(4, true),
  find = function(s, from)
    if type(s) ~= "string" or not is_whole(from) then
      return ANYTHING
    elseif from < 0 or from > #bytes then
      return nil
    end
    local at = bytes:find(s, from + 1, true)
    return at and at - 1 or nil
  end,
  starts = function(s, at)
    if type(s) ~= "string" or not is_whole(at) then
      return ANYTHING
    end
    return at >= 0 and at + #s <= #bytes and bytes:sub(at + 1, at + #s) == s
  end,
  sub = function(i, j)
    if not is_whole(i) or not is_whole(j) then
      return ANYTHING
    end
    i, j = i < 0 and math.max(#bytes + i, 0) or i, j < 0 and #bytes + j or j
    return j > i and bytes:sub(i + 1, j) or ""
  end,
}

local function judge(name, ok, result, a, b)
  if not ok or not EXPECTED[name] then
    return
  end
  local expected = EXPECTED[name](a, b)
  if expected ~= ANYTHING and expected ~= result then
    error(("%s(%s, %s) of %d bytes is %s, not %s"):format(name, tostring(a), tostring(b), #bytes, tostring(result),
      tostring(expected)))
  end
end

-- A piece of code of its own for each operation, as a config's functions are.
local function operation(name, code)
  local text = "local buf, conn, pool, pcall = ... local function f(a, b) " .. code .. " end"
    .. " return function(a, b) local ok, r = pcall(f, a, b) return ok, r end"
  return { name = name, fn = assert(load(text))(view.buf, view.conn, view.pool, pcall) }
end

local operations = {}
for _, name in ipairs {
  "u8", "u16", "u24", "u32", "u16le", "u32le", "starts", "find", "sub", "line", "hex",
} do
  operations[#operations + 1] = operation(name, "local r = buf:" .. name .. "(a, b) return r")
  operations[#operations + 1] = operation("odd", "local r = buf." .. name .. "(b, a) return r")
end
for _, code in ipairs {
  "return buf[a]", "return #buf", "buf[a] = b", "return buf .. a", "return buf + a", "return buf == a",
  "return buf < a",
  "return a[buf]", "return tostring(buf)", "return buf()", "return conn[a]", "conn[a] = b", "return conn.client[a]",
  "return conn == a", "return conn + a", "return #conn", "return pool[a]", "return #pool", "pool[a] = b",
  "return pool[1][a]", "return -buf", "return conn.sni", "return conn.client.ip", "return tostring(conn)",
  "local n = 0 for i = 0, #buf - 1 do n = n + buf[i] end return n", "return buf:sub(a):find(b, 1, true)",
} do
  operations[#operations + 1] = operation("code", code)
end

local made = 0
while made < CALLS do
  place()
  for _ = 1, 20 do
    local op = operations[random(#operations)]
    for _ = 1, 50 do
      local a, b = any(), any()
      local ok, result = op.fn(a, b)
      judge(op.name, ok, result, a, b)
      made = made + 1
    end
  end
end
print(("%d calls"):format(made))
