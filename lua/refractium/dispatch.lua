-- SPDX-License-Identifier: MIT
-- The functions of a config, made callable for C.
-- Enters: functions by kind (enum rx_fn_kind), in the order of their numbers. Leaves: for each a wrapper that takes
-- nothing, calls it with what it may see, and returns what core/abi.h says.
--
-- Every wrapper is compiled from a text of its own. One text with the function as a variable would be one piece of
-- machine code that branches over all functions: a hundred times slower. No wrapper ends in a call: tail calls count
-- against the VM's limit for unrolled loops.

local jutil = require "jit.util"

local kinds = require "refractium.kinds"
local sessions = require "refractium.sessions"
local value = require "refractium.value"

local error, floor, ipairs, jit, load, pcall, tonumber, type, unpack =
  error, math.floor, ipairs, jit, load, pcall, tonumber, type, unpack
local format, gsub, match, rep = string.format, string.gsub, string.match, string.rep

local M = {}

M.IDENTIFY, M.WHEN, M.TO, M.POLICY, M.ACCEPT, M.LISTEN = 0, 1, 2, 3, 4, 5
M.OPEN, M.DATA, M.CLOSE, M.FILTER, M.EVERY = 6, 7, 8, 9, 10
M.EXPECT, M.BY, M.LIMITS, M.PARSE = 11, 12, 13, 14

local KEY_MAX = 255
local SAID_PROTOCOL, SAID_TARGET = 2, 3
local DIRECTIONS = { [0] = "to_server", [1] = "to_client" }
local POOL, ACTIONS = 1, { refuse = 2, drop = 3, tarpit = 4, respond = 5, describe = 6, echo = 7 }

-- More, and longer, traces than the VM allows by itself: the chain of a config's functions is one long piece of code.
local LIMITS = {
  "loopunroll=300", "maxsnap=2000", "maxrecord=16000", "maxirconst=4000", "maxside=1000", "maxtrace=8000",
  "sizemcode=512", "maxmcode=8192",
}

-- What a function returned is judged when it is over: messages name the function's own place. So do those about its
-- last call, when it ended with `return f()`: the VM then knows the wrapper's place only, which is made to be the same.
local TEMPLATES = {
  [M.IDENTIFY] = [[
local f, buf, more, key_of, wrong = ...
return function()
  local verdict, key = f(buf)
  if verdict == true then
    if key == nil then
      return 1
    end
    key_of(key)
    return 1, key
  elseif verdict == false or verdict == nil then
    return 0
  elseif verdict == more then
    return 2
  end
  wrong(verdict)
end]],
  [M.WHEN] = [[
local f, conn, wrong = ...
return function()
  local answer = f(conn)
  if answer == true then
    return true
  elseif answer == false or answer == nil then
    return false
  end
  wrong(answer)
end]],
  [M.TO] = [[
local f, conn, target_of = ...
return function()
  local answer = f(conn)
  if answer == nil or answer == false then
    return nil
  end
  local kind, what = target_of(answer)
  return kind, what
end]],
  [M.POLICY] = [[
local f, conn, pool, number_of = ...
return function()
  local answer = f(conn, pool)
  if answer == nil then
    return nil
  end
  local number = number_of(answer, #pool)
  return number
end]],
  [M.LISTEN] = [[
local f, buf, more, answer_of = ...
return function()
  local answer, key = f(buf)
  if answer == nil or answer == false then
    return 0
  elseif answer == more then
    return 1
  end
  local said, what, detail = answer_of(answer, key)
  return said, what, detail
end]],
  [M.ACCEPT] = [[
local f, conn, refuse = ...
return function()
  local answer = f(conn)
  if answer == refuse then
    return false
  end
  return true
end]],
  [M.OPEN] = [[
local f, conn_now = ...
return function()
  f(conn_now())
end]],
  [M.DATA] = [[
local f, conn_now, directions, call, buf = ...
return function()
  f(conn_now(), directions[call.direction], buf)
end]],
  [M.CLOSE] = [[
local f, conn_now, why = ...
return function()
  f(conn_now(), why())
end]],
  [M.FILTER] = [[
local f, conn_now, directions, call, buf, refuse, bytes_of = ...
return function()
  local answer = f(conn_now(), directions[call.direction], buf)
  if answer == nil then
    return nil
  elseif answer == refuse then
    return false
  end
  bytes_of(answer)
  return answer
end]],
  [M.EXPECT] = [[
local f, buf, more, wrong = ...
return function()
  local verdict, why = f(buf)
  if verdict == true then
    return 1
  elseif verdict == false or verdict == nil then
    return 0, why
  elseif verdict == more then
    return 2
  end
  wrong(verdict)
end]],
  [M.BY] = [[
local f, conn, judge = ...
return function()
  local answer = f(conn)
  if answer == nil or answer == false then
    return nil
  end
  local id = judge.identity(answer)
  return id
end]],
  [M.LIMITS] = [[
local f, text_now, judge = ...
return function()
  local answer = f(text_now())
  if answer == nil then
    return nil
  end
  local limit = judge.limit(answer)
  return limit
end]],
  [M.PARSE] = [[
local f, text_now, judge = ...
return function()
  local id, ip, transport = f(text_now())
  if id == nil or id == false then
    return nil
  end
  judge.said(id, ip, transport)
  return id, ip, transport
end]],
  [M.EVERY] = [[
local f = ...
return function()
  f()
end]],
}

local function refuse_with(where, text)
  return function(v)
    error(format("%s: %s; got %s", where, text, kinds.what(v)), 0)
  end
end

local function key_check(where)
  return function(key)
    if type(key) ~= "string" then
      error(format("%s: identify's key must be a string; got %s", where, kinds.what(key)), 0)
    elseif #key > KEY_MAX then
      error(format("%s: identify's key has at most %d bytes; got %d", where, KEY_MAX, #key), 0)
    end
  end
end

local function bytes_check(where)
  local wrong = refuse_with(where, "filter must return nil, a string or rx.refuse")
  return function(v)
    if type(v) ~= "string" then
      wrong(v)
    end
  end
end

local function target_maker(where, targets, verb, wrong)
  local function from_value(v, record)
    if record.kind == "action" then
      return ACTIONS[record.action], record.bytes
    end
    local id = record.kind == "pool" and targets.of_pool(record)
    if not id then
      wrong(v)
    end
    return POOL, id
  end
  return function(v)
    local kind = type(v)
    if kind == "table" then
      local record = value.of(v)
      if not record or record.kind == "unknown" then
        error(format('%s: %s must return one target; got a table (for several addresses make a pool: rx.pool "name"'
          .. " { ... })", where, verb), 0)
      end
      local target, what = from_value(v, record)
      return target, what
    elseif kind == "string" and v ~= "" then
      return POOL, targets.by_name(v) or v
    elseif kind == "number" and v >= 1 and v <= 65535 and floor(v) == v then
      return POOL, "127.0.0.1:" .. v
    end
    wrong(v)
  end
end

-- A listener's identify: a protocol, by value or name, or else what `to` may return.
local function answer_maker(where, targets, session)
  local wrong = refuse_with(where, "identify must return a protocol, a pool, an address, a port, an action, rx.more or"
    .. " nothing")
  local target_of = target_maker(where, targets, "identify", wrong)
  local check_key = key_check(where)
  local function protocol_of(v)
    if type(v) == "string" then
      local known = session.protocols[v]
      return known and known.name
    end
    local record = value.of(v, "protocol")
    return record and record.name
  end
  return function(v, key)
    local name = protocol_of(v)
    if name then
      if key ~= nil then
        check_key(key)
      end
      return SAID_PROTOCOL, name, key
    end
    local kind, what = target_of(v)
    return SAID_TARGET, kind, what
  end
end

local function backend_number(where, numbers)
  return function(v, size)
    local n = type(v) == "number" and v or numbers[v]
    if n and n >= 1 and n <= size and floor(n) == n then
      return n - 1
    end
    error(format("%s: balance must return a backend, its number from 1 to %d, or nil; got %s", where, size,
      kinds.what(v)), 0)
  end
end

-- What each kind of wrapper is given besides the function.
local function arguments(kind, where, view, session, targets)
  if kind == M.IDENTIFY then
    return view.buf, session.more, key_check(where),
      refuse_with(where, "identify must return true, false, rx.more or true, key")
  elseif kind == M.WHEN then
    return view.conn, refuse_with(where, "when must return true or false")
  elseif kind == M.TO then
    return view.conn, target_maker(where, targets, "to",
      refuse_with(where, "to must return a pool, an address, a port or an action"))
  elseif kind == M.LISTEN then
    return view.buf, session.more, answer_maker(where, targets, session)
  elseif kind == M.POLICY then
    return view.conn, view.pool, backend_number(where, view.numbers)
  elseif kind == M.OPEN then
    return view.conn_now
  elseif kind == M.DATA then
    return view.conn_now, DIRECTIONS, view.call, view.buf
  elseif kind == M.CLOSE then
    return view.conn_now, view.why
  elseif kind == M.FILTER then
    return view.conn_now, DIRECTIONS, view.call, view.buf, session.refuse, bytes_check(where)
  elseif kind == M.EXPECT then
    return view.buf, session.more, refuse_with(where, "expect must return true, false or rx.more")
  elseif kind == M.EVERY then
    return nil
  elseif kind == M.BY then
    return view.conn, sessions.judges(where, kinds.what)
  elseif kind == M.LIMITS or kind == M.PARSE then
    return view.text_now, sessions.judges(where, kinds.what)
  end
  return view.conn, session.refuse
end

---The wrapper for one function.
---@param fn table { kind, fn, where }
---@param view table view.lua's
---@param session table init.lua's: the values rx.more and rx.refuse
---@param targets table of_pool(record) → id, by_name(name) → id or nil
function M.wrap(fn, view, session, targets)
  local file, line = match(fn.where, "^(.*):(%d+)$")
  local text = rep("\n", tonumber(line or 1) - 1) .. gsub(TEMPLATES[fn.kind], "\n", " ")
  local chunk = load(text, "=" .. (file or fn.where), "t")
  return chunk(fn.fn, arguments(fn.kind, fn.where, view, session, targets))
end

-- Functions made on every call -------------------------------------------------------------------------------

local funcbc, funcinfo = jutil.funcbc, jutil.funcinfo

local function opcode(fn, pc)
  local instruction = funcbc(fn, pc)
  return instruction and instruction % 256
end

-- What the VM calls the instructions that make a function, and that jump, read from functions which have them there.
local FNEW = opcode(function() return function() end end, 1)
local JMP = opcode(function(a) if a then return 1 end return 2 end, 2)

---Where a function makes another one whenever it is called: the line, or nil. The VM compiles no such function. Only
---what comes before the first jump is looked at, since the rest may be for the rare case.
function M.line_of_new(fn)
  local pc, op = 1, opcode(fn, 1)
  while op and op ~= JMP do
    if op == FNEW then
      return funcinfo(fn, pc).currentline
    end
    pc = pc + 1
    op = opcode(fn, pc)
  end
  return nil
end

---Called before anything of a config runs.
function M.tune()
  jit.opt.start(unpack(LIMITS))
end

-- Warm-up -----------------------------------------------------------------------------------------------------

local ROUNDS = 60 -- a function is compiled after 56 calls
local LOOKS = 24 -- a branch after 10
local TICKS = { 2, 3, 5 } -- between looks at the clock: each tick of a function is to have its branch compiled
local SHARED_MAX = 32

-- How clients begin: what a function will be shown most often.
local BEGINNINGS = {
  "GET / HTTP/1.1\r\nHost: a.test\r\nUser-Agent: x\r\n\r\n",
  "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n",
  "\22\3\1\2\0\1\0\1\252\3\3" .. ("\90"):rep(500),
  "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
  "\0\29\18\52\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1",
  "\18\52\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1",
  "\5\1\0", "\4\1\0\80\127\0\0\1\0", "\0\0\0\8\4\210\22\47", "\16\16\0\4MQTT\4\2\0\60\0\4test", "EHLO a.test\r\n",
  "\3\0\0\19\14\224\0\0\0\0\0\1\0\8\0\3\0\0\0", "*1\r\n$4\r\nPING\r\n", "\1", "\255\254\253\252\251\250\249\248",
  ("\0"):rep(64),
}

local PATIENCE = 50000000ULL -- ns that warming one function may take

-- A call from C, as in earnest. Below a function in Lua the VM would compile what comes back to that one too, which it
-- cannot, and give up on each branch of the wrapper for good.
local function step(wrapper)
  gsub("x", "x", wrapper)
end

local function show(call, sample)
  local ffi = require "ffi"
  call.ptr, call.len = ffi.cast("const uint8_t *", sample), #sample
end

local function warm_one(fn, samples, rounds, view)
  local call = view.call
  for _ = 1, rounds do
    for _, sample in ipairs(samples) do
      show(call, sample)
      pcall(step, fn.wrapper)
      if view.now_ns() >= call.until_ns then
        return
      end
    end
  end
end

-- What clients of the config's own protocols begin with: other functions will be shown it too.
local function samples_of_all(functions)
  local out = {}
  for _, fn in ipairs(functions) do
    if fn.samples and fn.samples[1] and #out < SHARED_MAX then
      out[#out + 1] = fn.samples[1]
    end
  end
  return out
end

---Calls each identify so often with what is likely to come that it is compiled before a client waits for it.
---@param functions table number → { kind, wrapper, samples }
---@param view table view.lua's
function M.warm(functions, view)
  local call = view.call
  local was = { call.ptr, call.len, call.is_open, call.until_ns }
  local shared = samples_of_all(functions)
  call.is_open = 1
  for _, fn in ipairs(functions) do
    if fn.kind == M.IDENTIFY or fn.kind == M.LISTEN then
      call.until_ns = view.now_ns() + PATIENCE
      local samples = fn.samples or {}
      warm_one(fn, samples, ROUNDS, view)
      warm_one(fn, BEGINNINGS, ROUNDS, view)
      warm_one(fn, shared, ROUNDS, view)
      for _, ticks in ipairs(TICKS) do
        view.look_often(ticks)
        warm_one(fn, samples, LOOKS, view)
        warm_one(fn, BEGINNINGS, LOOKS, view)
      end
      view.look_often()
    end
  end
  call.ptr, call.len, call.is_open, call.until_ns = was[1], was[2], was[3], was[4]
end
jit.off(M.warm)
jit.off(warm_one)
jit.off(step)

return M
