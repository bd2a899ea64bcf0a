-- SPDX-License-Identifier: MIT
-- rx.counter and rx.gauge: numbers that functions of the config count with.
-- Enters: calls with a number and label values. Leaves: the same for C, which keeps the numbers. A label value may be a
-- string, a number or a boolean; nil is the empty one.

local tostring, type = tostring, type
local format = string.format

local M = {}

local HUGE = math.huge

-- Raises, in a call; while the config loads it is a finding.
local function fail(record, text, ...)
  record.session:complain(format("%s: " .. text, record.text, ...))
end

local function text_of(record, v)
  local kind = type(v)
  if kind == "string" then
    return v
  elseif kind == "number" or kind == "boolean" then
    return tostring(v)
  elseif v == nil then
    return ""
  end
  fail(record, "a label value must be a string, not a %s", kind)
end

-- Values first, then the calls: nothing can raise between them.
local function give_labels(view, record, a, b, c, d, e)
  local n, state, call = record.n_labels, view.state, view.call
  local given = e ~= nil and 5 or d ~= nil and 4 or c ~= nil and 3 or b ~= nil and 2 or a ~= nil and 1 or 0
  if given > n then
    fail(record, "%s", n == 0 and "has no labels" or format("has %d label%s", n, n == 1 and "" or "s"))
  end
  if n > 0 then
    a, b, c, d = text_of(record, a), n > 1 and text_of(record, b), n > 2 and text_of(record, c),
      n > 3 and text_of(record, d)
    state.metric_label(call, a, #a)
    if b then state.metric_label(call, b, #b) end
    if c then state.metric_label(call, c, #c) end
    if d then state.metric_label(call, d, #d) end
  end
  return a, b, c, d -- alive until here
end

local function number(record, verb, n)
  if type(n) ~= "number" then
    fail(record, "%s needs a number, not a %s", verb, type(n))
  elseif n ~= n or n == HUGE or n == -HUGE then
    fail(record, "%s needs a finite number", verb)
  end
end

local function is_open(view, record)
  if view.call.is_open == 1 then
    return true
  end
  fail(record, "can only be used in functions that run while connections are served")
  return false
end

local function counter(view, record)
  local function add(_, n, a, b, c, d, e)
    if not is_open(view, record) then return end
    number(record, "add", n)
    if n < 0 then
      fail(record, "a counter only grows: add of %g", n)
    end
    give_labels(view, record, a, b, c, d, e)
    view.state.metric_add(view.call, record.id, n)
  end
  local function inc(_, a, b, c, d, e)
    if not is_open(view, record) then return end
    give_labels(view, record, a, b, c, d, e)
    view.state.metric_add(view.call, record.id, 1)
  end
  return { add = add, inc = inc }
end

local function gauge(view, record)
  local function change(by)
    return function(_, a, b, c, d, e)
      if not is_open(view, record) then return end
      give_labels(view, record, a, b, c, d, e)
      view.state.metric_add(view.call, record.id, by)
    end
  end
  local function add(_, n, a, b, c, d, e)
    if not is_open(view, record) then return end
    number(record, "add", n)
    give_labels(view, record, a, b, c, d, e)
    view.state.metric_add(view.call, record.id, n)
  end
  local function set(_, v, a, b, c, d, e)
    if not is_open(view, record) then return end
    number(record, "set", v)
    give_labels(view, record, a, b, c, d, e)
    view.state.metric_set(view.call, record.id, v)
  end
  return { add = add, set = set, inc = change(1), dec = change(-1) }
end

---What makes the value of a declaration.
---@param session table init.lua's
function M.maker(session, view)
  return function(declaration)
    local record = {
      text = format('rx.%s "%s"', declaration.verb, declaration.name), name = declaration.name, session = session,
    }
    declaration.value = record
    return record, nil, (declaration.verb == "gauge" and gauge or counter)(view, record)
  end
end

return M
