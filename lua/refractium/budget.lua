-- SPDX-License-Identifier: MIT
-- The script budget: how a function of the config that does not return is stopped.
-- Compiled code calls no hooks, so a config is compiled from a text that counts by itself: every loop, every function
-- and every goto begins with a tick. Enters: Lua text that compiled. Leaves: the same text with ticks, on the same
-- lines; and the tick to put into its environment.

local lex = require "refractium.lex"

local byte, concat, find, format, sub =
  string.byte, table.concat, string.find, string.format, string.sub
local error, pcall, setmetatable, type = error, pcall, setmetatable, type

local comment_end, long_end = lex.comment_end, lex.long_end

local M = {}

-- What ticks are called. A global of the config's environment: an upvalue would count against the 60 a function may
-- have, a local against the 200. Nothing a config writes may begin like this.
M.NAME = "__rx_tick"
local RESERVED = "^__rx_"

M.WORDS = "stopped: ran longer than script_budget"

-- So many ticks between two looks at the clock. Few enough that ticks with slow work between them are noticed.
local TICKS = 64

-- Reading Lua -------------------------------------------------------------------------------------------------

local QUOTE, APOSTROPHE, DASH, DOT, BRACKET, BACKSLASH, COLON = 34, 39, 45, 46, 91, 92, 58

-- Classes of bytes: letters may begin a name (LuaJIT counts every byte from 128 on among them).
local LETTER, DIGIT = {}, {}
for c = 0, 255 do
  LETTER[c] = c >= 65 and c <= 90 or c >= 97 and c <= 122 or c == 95 or c >= 128
  DIGIT[c] = c >= 48 and c <= 57
end

-- A backslash takes the next byte with it; what else belongs to an escape is no quote.
local function string_end(text, at, quote)
  local i = at + 1
  local c = byte(text, i)
  while c and c ~= quote do
    i = i + (c == BACKSLASH and 2 or 1)
    c = byte(text, i)
  end
  return i
end

local function name_end(text, at)
  local i = at + 1
  local c = byte(text, i)
  while c and (LETTER[c] or DIGIT[c]) do
    i = i + 1
    c = byte(text, i)
  end
  return i - 1
end

-- As greedy as the VM's own: letters, digits, dots, and a sign after the exponent's letter.
local function number_end(text, at)
  local second = byte(text, at + 1)
  local is_hex = byte(text, at) == 48 and (second == 120 or second == 88) -- 0x
  local small, large = 101, 69 -- e
  if is_hex then
    small, large = 112, 80 -- p
  end
  local i, before = at + 1, byte(text, at)
  local c = second
  while c and (LETTER[c] or DIGIT[c] or c == DOT
    or ((c == 43 or c == DASH) and (before == small or before == large))) do
    before = c
    i = i + 1
    c = byte(text, i)
  end
  return i - 1
end

-- The token at `at`, which is no space: its kind and its last byte. Kinds: "name", "value" (strings and numbers),
-- "::", "other"; nil for comments.
local function token_at(text, at, c)
  if LETTER[c] then
    return "name", name_end(text, at)
  elseif DIGIT[c] then
    return "value", number_end(text, at)
  elseif c == QUOTE or c == APOSTROPHE then
    return "value", string_end(text, at, c)
  end
  local second = byte(text, at + 1)
  if c == DASH and second == DASH then
    return nil, comment_end(text, at)
  elseif c == DOT and second and DIGIT[second] then
    return "value", number_end(text, at)
  elseif c == DOT and second == DOT then
    return "other", byte(text, at + 2) == DOT and at + 2 or at + 1
  elseif c == COLON and second == COLON then
    return "::", at + 1
  elseif c == BRACKET then
    local last = long_end(text, at)
    if last then
      return "value", last
    end
  end
  return "other", at
end

-- Writing ticks -----------------------------------------------------------------------------------------------

local KEYWORDS = {}
for word in ("and break do else elseif end false for function if in local nil not or repeat return then true until"
  .. " while"):gmatch "%a+" do
  KEYWORDS[word] = true
end

-- After these no statement can begin; what looks like `goto` there is the name of a variable.
local BEFORE_VALUE = {}
for word in ("and elseif for function if in local not or return until while = , ( { [ . : + - * / % ^ # < > ~ .."
  .. " goto"):gmatch "%S+" do
  BEFORE_VALUE[word] = true
end

local AFTER = " " .. M.NAME .. "();"
local BEFORE = M.NAME .. "(); "

local function line_of(text, at)
  local line, next_line = 1, find(text, "\n", 1, true)
  while next_line and next_line < at do
    line = line + 1
    next_line = find(text, "\n", next_line + 1, true)
  end
  return line
end

local writer = {}
writer.__index = writer

-- Copies up to and with byte `last`, then the tick.
function writer:after(last)
  local out, n = self.out, self.n
  out[n + 1], out[n + 2] = sub(self.text, self.from, last), AFTER
  self.n, self.from = n + 2, last + 1
end

function writer:before(first)
  local out, n = self.out, self.n
  out[n + 1], out[n + 2] = sub(self.text, self.from, first - 1), BEFORE
  self.n, self.from = n + 2, first
end

-- `function` waits for the parenthesis that closes its parameters; a goto for what comes after it, since the word is
-- a name unless another name follows.
-- A tick before each goto, not after the label: a label at a block's end must stay the last thing in it.
function writer:name(word, first, last)
  if self.jump then
    if not KEYWORDS[word] and word ~= "goto" then
      self:before(self.jump)
    end
    self.jump = nil
  end
  if word == "do" or word == "repeat" then
    self:after(last)
  elseif word == "function" then
    self.is_in_head = true
  elseif word == "goto" and not BEFORE_VALUE[self.previous] and not self.is_in_label then
    self.jump = first
  end
end

function writer:other(word, last)
  self.jump = nil
  if self.is_in_head and word == ")" then
    self.is_in_head = false
    self:after(last)
  end
end

function writer:token(kind, first, last)
  local word = kind == "value" and "" or sub(self.text, first, last)
  if kind == "name" then
    self:name(word, first, last)
  else
    self:other(word, last)
    if kind == "::" then
      self.is_in_label = not self.is_in_label
    end
  end
  self.previous = word
end

---The text with ticks; nil, line and words when it uses a name of ours.
function M.transform(text)
  local w = setmetatable({ text = text, out = {}, n = 0, from = 1, previous = "" }, writer)
  local at = 1
  local c = byte(text, at)
  while c do
    if c <= 32 then
      at = at + 1
    else
      local kind, last = token_at(text, at, c)
      if kind == "name" and c == 95 and find(text, RESERVED, at) then
        return nil, line_of(text, at), format('the name "%s" is taken', sub(text, at, last))
      elseif kind then
        w:token(kind, at, last)
      end
      at = last + 1
    end
    c = byte(text, at)
  end
  w.out[w.n + 1] = sub(text, w.from)
  return concat(w.out)
end

-- Running -----------------------------------------------------------------------------------------------------

---@param view table view.lua's: call and now_ns
---@return function tick, function is_over
function M.new(view)
  local call, now_ns = view.call, view.now_ns
  local left, every = TICKS, TICKS

  local function is_over()
    return call.is_open == 1 and now_ns() >= call.until_ns
  end

  -- Once over, every tick looks again and raises again: a pcall around the loop does not help it on.
  local function look()
    if is_over() then
      left = 0
      error(M.WORDS, 3)
    end
    left = every
  end

  -- Looks at the clock are rare, and so would be compiled late: while functions are warmed up they can be had often.
  function view.look_often(ticks)
    every = ticks or TICKS
    left = every
  end

  local function tick()
    left = left - 1
    if left <= 0 then
      look()
    end
  end
  return tick, is_over
end

---pcall for configs: it cannot keep the end of the budget to itself.
function M.guard(is_over)
  local function pass(ok, ...)
    if not ok and is_over() then
      local message = ...
      error(type(message) == "string" and find(message, M.WORDS, 1, true) and message or M.WORDS, 0)
    end
    return ok, ...
  end
  return function(...)
    return pass(pcall(...))
  end
end

return M
