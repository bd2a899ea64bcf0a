-- What scripts/protocols/ says of its own samples and of every file of the corpus, with a `buf` that has exactly the
-- API scripts get. The law of prefixes is core/proto.h's: NO and MATCH hold for every continuation, MORE for proper
-- prefixes.
local cjson = require "cjson"

local CORPUS, SCRIPTS = "tests/corpus/", "scripts/protocols/"
local LAW_MAX = 4096
local LINES_MAX = 40
local ODD = { "\0", "\1", "\4", "\127", "\128", "\255", " ", "\r", "\n", "\r\n", "0", "9", "A", "z", "/", ":", "." }
local MORE = setmetatable({}, { __tostring = function() return "more" end })

local function read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read "*a"
  file:close()
  return bytes
end

-- ---- the buffer: the first `n` bytes of `bytes`, without copying them

local methods = {}
local state = { bytes = "", n = 0 }

local function byte(i)
  return type(i) == "number" and i >= 0 and i < state.n and state.bytes:byte(i + 1) or -1
end

local function integer(i, width, is_little)
  local value = 0
  for k = 0, width - 1 do
    local b = byte(is_little and i + width - 1 - k or i + k)
    if b < 0 then return -1 end
    value = value * 256 + b
  end
  return value
end

function methods.u8(_, i) return byte(i) end
function methods.u16(_, i) return integer(i, 2) end
function methods.u24(_, i) return integer(i, 3) end
function methods.u32(_, i) return integer(i, 4) end
function methods.u16le(_, i) return integer(i, 2, true) end
function methods.u32le(_, i) return integer(i, 4, true) end
function methods.starts(_, s, at)
  at = at or 0
  return at >= 0 and at + #s <= state.n and state.bytes:sub(at + 1, at + #s) == s
end
function methods.find(_, s, from)
  local found = state.bytes:find(s, (from or 0) + 1, true)
  return found and found - 1 + #s <= state.n and found - 1 or nil
end
function methods.sub(_, i, j) return state.bytes:sub(i + 1, math.min(j, state.n)) end
function methods.line()
  local found = methods.find(nil, "\n", 0)
  return found and (state.bytes:sub(1, found):gsub("\r$", "")) or nil
end

local buf = newproxy(true)
getmetatable(buf).__len = function() return state.n end
getmetatable(buf).__index = function(_, key) return methods[key] or byte(key) end

-- ---- the runtime

local rx = { more = MORE }
local loaded = {}

function rx.protocol(name)
  return function(options)
    local prefix = options.prefix
    options.name = name
    options.prefixes = type(prefix) == "string" and { prefix } or prefix
    loaded[name] = options
    return options
  end
end

-- true, false or MORE for the first `n` of `bytes`; the prefix is decided without the script.
local function ask(proto, bytes, n)
  state.bytes, state.n = bytes, n
  local verdict = proto.prefixes == nil
  for _, prefix in ipairs(proto.prefixes or {}) do
    local here = math.min(n, #prefix)
    if bytes:sub(1, here) == prefix:sub(1, here) then
      if here == #prefix then
        verdict = true
        break
      end
      verdict = MORE
    end
  end
  if verdict == true and proto.identify then
    verdict = proto.identify(buf)
  end
  if verdict ~= true and verdict ~= false and verdict ~= MORE then
    error(proto.name .. " answered " .. tostring(verdict) .. " at " .. n)
  end
  return verdict
end

local function begins(proto, bytes)
  for _, prefix in ipairs(proto.prefixes or {}) do
    if bytes:sub(1, #prefix) == prefix then return true end
  end
  return not proto.prefixes
end

-- What breaks the law of prefixes in `bytes`, or nil
local function broken(proto, bytes)
  local decided, at
  for n = 0, math.min(#bytes, LAW_MAX) do
    local verdict = ask(proto, bytes, n)
    if decided ~= nil and verdict ~= decided then
      return ("%s said %s at %d, %s at %d"):format(proto.name, tostring(decided), at, tostring(verdict), n)
    end
    if verdict ~= MORE and decided == nil then
      decided, at = verdict, n
      if not begins(proto, bytes) then return end -- the prefix has decided, for good
    end
  end
end

-- ---- what is there

local order, ranked = {}, {}
for name in read(SCRIPTS .. "ORDER"):gmatch "[^\n]+" do
  order[#order + 1] = name
  ranked[name] = #order
end

local names = {}
local listing = io.popen("ls " .. SCRIPTS .. "*.lua")
for path in listing:lines() do
  names[#names + 1] = path:match "([^/]+)%.lua$"
end
listing:close()

package.loaded.refractium, rx.before = rx, package.loaded.refractium
for _, name in ipairs(names) do
  local chunk = assert(loadfile(SCRIPTS .. name .. ".lua"))
  chunk()
end
package.loaded.refractium = rx.before

local rows = {}
for line in io.lines(CORPUS .. "corpus.jsonl") do
  local row = cjson.decode(line)
  local proto = loaded[row.protocol]
  if row.transport == "tcp" or proto and proto.transport == "both" then
    row.bytes = read(CORPUS .. row.file)
    rows[#rows + 1] = row
  end
end

-- Not matched, and why the first bytes cannot tell
local UNTOLD = {
  ["managesieve/openssl-starttls.bin"] = "STARTTLS alone, after a greeting: IRC clients say the same unasked",
}
-- Matched by another as well, and why
local SHARED = {
  ["managesieve/openssl-starttls.bin"] = { irc = "the same bytes as irc/openssl-starttls.bin, which came unasked" },
  ["beanstalkd/spec-stats.bin"] = { memcached = "the same bytes as memcached/nc-stats.bin" },
  ["memcached/nc-stats.bin"] = { beanstalkd = "the same bytes as beanstalkd/spec-stats.bin" },
}

local function allowed(row, name)
  if (SHARED[row.file] or {})[name] then return true end
  local expect = row.expect or ""
  local kind, of = expect:match "^(%a+):(.+)$"
  if expect == "need-more" or expect == "unknown" or kind == "reject" then return false end
  if kind == "tolerant" then return of == name end
  if expect ~= "" then return expect == name end
  return row.protocol == name
end

describe("scripts/protocols", function()
  it("is listed in ORDER, every file once", function()
    assert.equal(#names, #order)
    for _, name in ipairs(names) do
      assert.truthy(ranked[name], name .. " is not in ORDER")
      assert.truthy(loaded[name], name .. ".lua declares another name")
    end
  end)

  for _, name in ipairs(names) do
    local proto = loaded[name]
    describe(name, function()
      it("is short, says its source and keeps to what is allowed", function()
        local text = read(SCRIPTS .. name .. ".lua")
        local _, lines = text:gsub("\n", "")
        assert.is_true(lines <= LINES_MAX, lines .. " lines")
        assert.truthy(text:find "^%-%- ")
        for _, word in ipairs { "string.", ":match", ":gsub", ":gmatch", "%f[%w]os%.", "io%.", "%f[%w]ffi" } do
          assert.is_nil(text:find(word, 1, word:sub(1, 1) ~= "%"), word)
        end
        for key in pairs(proto) do
          assert.truthy(("name transport prefix prefixes identify first is_server_first samples"):find(
              key, 1, true), key)
        end
      end)

      it("recognises its samples, and their beginnings never as no", function()
        assert.is_true(#proto.samples.yes > 0 and #proto.samples.no > 0)
        for _, sample in ipairs(proto.samples.yes) do
          assert.equal(true, ask(proto, sample, #sample), ("%q"):format(sample))
          for n = 0, #sample do
            assert.are_not.equal(false, ask(proto, sample, n), ("%q to %d"):format(sample, n))
          end
        end
        for _, sample in ipairs(proto.samples.no) do
          assert.are_not.equal(true, ask(proto, sample, #sample), ("%q"):format(sample))
        end
      end)

      it("needs at least one byte", function()
        assert.equal(MORE, ask(proto, "", 0))
      end)

      it("is asked about exactly the first bytes it may have", function()
        if not proto.first then return end
        local may = {}
        for _, range in ipairs(type(proto.first) == "table" and proto.first or { proto.first }) do
          for b = range:byte(1), range:byte(-1) do may[b] = true end
        end
        for b = 0, 255 do
          if may[b] then assert.are_not.equal(false, ask(proto, string.char(b), 1), b) end
          for second = 0, may[b] and -1 or 255 do
            assert.equal(false, ask(proto, string.char(b, second), 2), b)
          end
        end
      end)

      it("keeps the law of prefixes", function()
        for _, list in pairs(proto.samples) do
          for _, sample in ipairs(list) do
            assert.is_nil(broken(proto, sample))
            assert.is_nil(broken(proto, sample .. ("\0 \r\nx\255"):rep(20)))
          end
        end
        for _, row in ipairs(rows) do
          assert.is_nil(broken(proto, row.bytes), row.file)
        end
        math.randomseed(1)
        for round = 1, 300 do -- samples with a few bytes changed, most of which still begin right
          local list = proto.samples[round % 3 == 0 and "no" or "yes"]
          local text = list[math.random(#list)]
          for _ = 1, math.random(3) do
            local at = math.random(#text)
            local odd = ODD[math.random(#ODD)]
            text = text:sub(1, at - 1) .. odd .. text:sub(at + math.random(0, 1))
          end
          assert.is_nil(broken(proto, text), ("%q"):format(text))
        end
      end)

      it("takes what is labelled so, and nothing else", function()
        for _, row in ipairs(rows) do
          local verdict = ask(proto, row.bytes, #row.bytes)
          if verdict == true then
            assert.is_true(allowed(row, name), row.file .. " is taken for " .. name)
          elseif row.protocol == name and not row.expect and row.size > 0 and not UNTOLD[row.file] then
            assert.equal(true, verdict, row.file)
          elseif row.protocol == name and row.expect == "need-more" then
            assert.equal(MORE, verdict, row.file)
          end
        end
      end)

      it("is sure of noise", function()
        math.randomseed(7)
        local claimed = 0
        for _ = 1, 4000 do
          local bytes = {}
          for i = 1, 48 do bytes[i] = string.char(math.random(0, 255)) end
          local text = table.concat(bytes)
          claimed = claimed + (ask(proto, text, #text) == true and 1 or 0)
        end
        assert.equal(0, claimed)
      end)
    end)
  end

  it("in order gives each sample its own name", function()
    for _, of in ipairs(names) do
      for _, sample in ipairs(loaded[of].samples.yes) do
        for _, name in ipairs(order) do
          if ask(loaded[name], sample, #sample) == true then
            if not (sample == "stats\r\n" and name == "memcached") then
              assert.equal(of, name, ("%q"):format(sample))
            end
            break
          end
        end
      end
    end
  end)

  it("in order gives each file its label", function()
    for _, row in ipairs(rows) do
      for _, name in ipairs(order) do
        if ask(loaded[name], row.bytes, #row.bytes) == true then
          assert.is_true(allowed(row, name), row.file .. " goes to " .. name)
          break
        end
      end
    end
  end)
end)
