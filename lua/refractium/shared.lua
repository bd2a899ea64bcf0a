-- SPDX-License-Identifier: MIT
-- rx.shared: tables that all workers share.
-- Enters: keys and values of functions of the config. Leaves: what C keeps. The bounds are those of core/store.h.

local duration = require "refractium.duration"

local ffi = require "ffi"

local tostring, type = tostring, type
local format = string.format

local M = {}

local KEY_MAX, TEXT_MAX = 255, 4096
local TEXT, NUMBER, TRUE, FALSE = 1, 2, 3, 4 -- enum rx_shared_kind

-- Raises, in a call; while the config loads it is a finding.
local function fail(record, text, ...)
  record.session:complain(format("%s: " .. text, record.text, ...))
end

local function open_call(view, record)
  if view.call.is_open == 1 then
    return view.call, view.state
  end
  fail(record, "can only be used in functions that run while connections are served")
end

local function key_of(record, key)
  local kind = type(key)
  if kind == "number" then
    return tostring(key)
  elseif kind ~= "string" then
    fail(record, "a key must be a string or a number, not %s", key == nil and "nil" or "a " .. kind)
  elseif #key > KEY_MAX then
    fail(record, "a key has at most %d bytes, not %d", KEY_MAX, #key)
  end
  return key
end

local function ttl_of(record, ttl)
  if ttl == nil then
    return 0
  end
  local ms, wrong = duration(ttl)
  if not ms then
    fail(record, "ttl %s", wrong)
  end
  return ms
end

-- kind, number, text
local function parts_of(record, v)
  local kind = type(v)
  if kind == "string" then
    if #v > TEXT_MAX then
      fail(record, "a string has at most %d bytes, not %d", TEXT_MAX, #v)
    end
    return TEXT, 0, v
  elseif kind == "number" then
    return NUMBER, v, ""
  elseif kind == "boolean" then
    return v and TRUE or FALSE, 0, ""
  end
  fail(record, "a value must be a string, a number or a boolean, not %s (t:delete(key) removes one)",
    v == nil and "nil" or "a " .. kind)
end

local function setter(view, record, only_new)
  return function(_, key, v, ttl)
    local call, state = open_call(view, record)
    if not call then return nil end
    key = key_of(record, key)
    local ms = ttl_of(record, ttl)
    local kind, number, text = parts_of(record, v)
    state.shared_value(call, kind, number, text, #text)
    local result = state.shared_set(call, record.id, key, #key, ms, only_new)
    if result < 0 then
      fail(record, "out of memory")
    end
    return result == 1, text -- alive until here
  end
end

local function methods(view, record)
  local out = {}
  local set, add = setter(view, record, 0), setter(view, record, 1)
  function out.get(_, key)
    local call, state = open_call(view, record)
    if not call then return nil end
    key = key_of(record, key)
    local kind = state.shared_get(call, record.id, key, #key)
    if kind == NUMBER then
      return call.number
    elseif kind == TEXT then
      return ffi.string(call.text.ptr, call.text.len)
    elseif kind == TRUE then
      return true
    elseif kind == FALSE then
      return false
    end
    return nil
  end
  function out.set(self, key, v, ttl)
    set(self, key, v, ttl)
  end
  function out.add(self, key, v, ttl)
    return (add(self, key, v, ttl))
  end
  function out.incr(_, key, by, ttl)
    local call, state = open_call(view, record)
    if not call then return nil end
    if by == nil then
      by = 1
    elseif type(by) ~= "number" or by ~= by then
      fail(record, "incr needs a number, not %s", tostring(by))
    end
    key = key_of(record, key)
    local result = state.shared_incr(call, record.id, key, #key, by, ttl_of(record, ttl))
    if result < 0 then
      fail(record, result == -1 and "what is at this key is no number" or "out of memory")
    end
    return call.number
  end
  function out.delete(_, key)
    local call, state = open_call(view, record)
    if not call then return nil end
    key = key_of(record, key)
    return state.shared_delete(call, record.id, key, #key) == 1
  end
  return out
end

---What makes the value of a declaration.
---@param session table init.lua's
function M.maker(session, view)
  return function(declaration)
    local record = { text = format('rx.shared "%s"', declaration.name), name = declaration.name, session = session }
    declaration.value = record
    return record, nil, methods(view, record)
  end
end

return M
