-- SPDX-License-Identifier: MIT
-- rx.re "pattern": regular expressions that functions of the config may use, since string patterns know no bounds.
-- Enters: a pattern, as PCRE2 reads it, while the config loads. Leaves: a value with test, find and match, for strings
-- and for buf. The search runs in C (core/regex.c) with limits on steps and time, on the bytes where they are.
--
-- Places are those of what is searched: from 1 in a string, the last one included; from 0 in buf, the last one not. So
-- s:sub(re:find(s)) and buf:sub(re:find(buf)) are both what was found.

local kinds = require "refractium.kinds"
local units = require "refractium.units"
local value = require "refractium.value"

local ffi = require "ffi"

local error, tonumber, type, unpack = error, tonumber, type, unpack
local floor, format, sub = math.floor, string.format, string.sub

local M = {}

local LIMIT = "took too many steps or too long"
local ABSENT = 0xffffffff -- a group that took no part in the match

-- Where a search begins, counted from 0.
local function start_of(from, is_text, level)
  if from == nil then
    return 0
  elseif type(from) ~= "number" then
    error(format("number expected, got %s", type(from)), level + 1)
  end
  from = floor(is_text and from - 1 or from)
  if from >= 0 then
    return from < ABSENT and from or ABSENT - 1
  end
  return 0
end

-- What a span holds, as a string; nil for a group that took no part.
local function text_of(call, subject, is_text, i)
  local first, last = tonumber(call.spans[2 * i]), tonumber(call.spans[2 * i + 1])
  if first == ABSENT then
    return nil
  elseif last <= first then -- \K can put the end before the beginning
    return ""
  elseif is_text then
    return sub(subject, first + 1, last)
  end
  return ffi.string(call.ptr + first, last - first)
end

local function texts(call, subject, is_text, n)
  local list = {}
  for i = 1, n - 1 do
    list[i] = text_of(call, subject, is_text, i)
  end
  return unpack(list, 1, n - 1)
end

local function methods_of(id, text, view)
  local call, re_find, is_buf = view.call, view.re_find, view.is_buf

  -- How many spans were found: 0 is no match.
  local function search(subject, from, level)
    local n
    if type(subject) == "string" then
      n = re_find(call, id, subject, #subject, start_of(from, true, level + 1))
    elseif not is_buf(subject) then
      error(format("%s: string or buf expected, got %s", text, kinds.what(subject)), level + 1)
    elseif call.is_open ~= 1 then
      error("buf is used after its call", level + 1)
    else
      n = re_find(call, id, nil, 0, start_of(from, false, level + 1))
    end
    if n < 0 then
      error(format("%s: %s", text, LIMIT), level + 1)
    end
    return n
  end

  local methods = {}

  ---Whether it matches anywhere at or behind `from`.
  function methods.test(_, subject, from)
    return search(subject, from, 2) > 0
  end

  ---Where it matches first; nil when nowhere.
  function methods.find(_, subject, from)
    if search(subject, from, 2) == 0 then
      return nil
    end
    local first, last = tonumber(call.spans[0]), tonumber(call.spans[1])
    if type(subject) == "string" then
      return first + 1, last
    end
    return first, last
  end

  ---What its groups matched, or without groups all that it matched; nil when it does not match.
  function methods.match(_, subject, from)
    local n = search(subject, from, 2)
    if n == 0 then
      return nil
    end
    local is_text = type(subject) == "string"
    if n <= 2 then
      return text_of(call, subject, is_text, n - 1)
    elseif n == 3 then
      return text_of(call, subject, is_text, 1), text_of(call, subject, is_text, 2)
    end
    return texts(call, subject, is_text, n)
  end
  return methods
end

-- The number of the compiled expression; nil and why.
local function compile(pattern, link, view)
  if not view.re_new then -- functions are never called here: the pattern need only be right
    if link.regex_check(pattern) == 0 then
      return 0
    end
    return nil, link.error()
  end
  local id = view.re_new(view.call, pattern, #pattern)
  if id < 0 then
    return nil, ffi.string(view.call.text.ptr, view.call.text.len)
  end
  return id
end

---@param session table init.lua's
---@param link table
---@param view table view.lua's
function M.new(session, link, view)
  return function(pattern)
    session:must_load "rx.re"
    if type(pattern) ~= "string" then
      session:complain(format('rx.re: needs a pattern, as in rx.re "^GET (/[a-z]+)", not %s', kinds.what(pattern)))
      return value.unknown
    end
    local text = "rx.re " .. units.show(pattern)
    local id, wrong = compile(pattern, link, view)
    if not id then
      session:complain(format("%s: %s", text, wrong))
      return value.unknown
    end
    return value.new("re", { text = text }, nil, methods_of(id, text, view))
  end
end

return M
