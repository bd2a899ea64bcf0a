local locate = require "refractium.locate"

-- Line of the first "<<" mark in the text; the marks are removed before the text is looked at.
local function marked(text)
  local before = text:match "^(.-)%-%-<<"
  local _, n = before:gsub("\n", "")
  return n + 1
end

-- Where the VM sees the last call of `verb`.
local function call_line(text, name)
  local at
  local function record()
    return setmetatable({}, { __call = function() at = debug.getinfo(2, "l").currentline end })
  end
  local rx = setmetatable({}, { __index = function(_, key)
    if key == "server" then
      return function() at = debug.getinfo(2, "l").currentline end
    end
    return function(given)
      if given == name or type(given) == "table" then
        return record()
      end
      return setmetatable({}, { __call = function() end })
    end
  end })
  local chunk = assert(loadstring(text))
  setfenv(chunk, setmetatable({ rx = rx }, { __index = _G }))
  chunk()
  return at
end

local function finds(text, path, verb, name)
  local declaration = { verb = verb or "listen", name = name or "a:1", line = call_line(text, name or "a:1") }
  assert.equal(marked(text), locate.new(text):line(declaration, path))
end

describe("the line of a key", function()
  it("is found in a nested table", function()
    finds([[
      rx.listen "a:1" {
        routes = {
          { rx.tls, to = "x" },
          { rx.ssh,
            from = "y",
            to = "z" }, --<<
        },
      }
    ]], { "routes", 2, "to" })
  end)

  it("is not fooled by comments and strings", function()
    finds([==[
      rx.listen "a:1" { -- } to = "no"
        --[[ routes = { { to = 1 } }
        ]]
        note = "routes = { } -- \" }", text = [[
          routes = { { to = 2 } }
        ]], other = '}\'',
        --[=[ ]] ]=] routes = { { rx.tls, -- {
            to = "z" } }, --<<
      }
    ]==], { "routes", 1, "to" })
  end)

  it("is found behind functions", function()
    finds([[
      rx.listen "a:1" {
        when = function(c, d)
          for i = 1, 2 do if c then return { 1, 2, to = 3 } elseif d then break else end end
          while d do repeat local x = function() end until true end
          return c, d
        end,
        routes = { { rx.tls,
          to = "z" } }, --<<
      }
    ]], { "routes", 1, "to" })
  end)

  it("is found under computed and quoted keys", function()
    finds([[
      local k = "x"
      rx.listen "a:1" {
        [k .. ("a,b"):rep(2)] = { 1, 2 }, ["odd key"] = 1,
        ["routes"] = { [1 + 1] = {}, { rx.tls,
          ["to"] = "z" } }, --<<
      }
    ]], { "routes", 1, "to" })
  end)

  it("counts positions among keys, whatever separates them", function()
    finds([[
      rx.pool "web" {
        balance = "x"; "a:1";
        { "b:1", weight = 1 }, tries = 2,
        { "c:1",
          weight = 3 }, --<<
      }
    ]], { 3, "weight" }, "pool", "web")
  end)

  it("compares with ==, ~=, <= and >= without taking them for keys", function()
    finds([[
      local a = 1
      rx.listen "a:1" {
        x = a == 1 and { to = 5 } or a ~= 2,
        a <= 1, a >= 2,
        to = "z", --<<
      }
    ]], { "to" })
  end)

  it("stops at what is computed elsewhere", function()
    finds([[
      local list = { { to = "z" } }
      rx.listen "a:1" {
        x = 1,
        routes = list, --<<
      }
    ]], { "routes", 1, "to" })
  end)

  it("is the call's when the key is not there", function()
    finds([[
      local x = 1
      rx.listen "a:1" { --<<
        x = 1,
      }
    ]], { "routes" })
  end)

  it("is the call's when the table comes from elsewhere", function()
    finds([[
      local options = { routes = {} }
      rx.listen "a:1"(options) --<<
    ]], { "routes" })
  end)

  it("is found where the verb is called with parentheses", function()
    finds([[
      rx.listen("a:1")({
        to = "z", --<<
      })
    ]], { "to" })
  end)

  it("is found where the brace stands on a line of its own", function()
    finds([[
      rx.listen "a:1"
      {
        to = "z", --<<
      }
    ]], { "to" })
  end)

  it("is found behind a list of addresses", function()
    finds([[
      rx.listen { "a:1", "b:1" } {
        to = "z", --<<
      }
    ]], { "to" }, "listen", { "a:1", "b:1" })
  end)

  it("is found among several calls on one line", function()
    finds([[
      rx.pool "one" { 1 } rx.pool "two" { 1,
        2 } --<<
    ]], { 2 }, "pool", "two")
  end)

  it("is found in rx.server", function()
    finds([[
      rx.server {
        a = 1,
        workers = 2, --<<
      }
    ]], { "workers" }, "server")
  end)

  it("is found when the verb has another name", function()
    finds([[
      local listen = rx.other
      listen "a:1" {
        x = 1,
        to = "z", --<<
      }
    ]], { "to" })
  end)
end)

describe("the lines of a list", function()
  it("are found in one walk", function()
    local text = 'rx.listen "a:1" {\n routes = {\n {},\n -- {}\n {}, {},\n x = {\n}, {\n}\n} }'
    local lines = locate.new(text):entries({ verb = "listen", name = "a:1", line = 1 }, { "routes" })
    assert.same({ 3, 5, 5, 7 }, lines)
  end)

  it("are unknown for a list from elsewhere", function()
    local lines = locate.new('rx.listen "a:1" { routes = list }'):entries({ verb = "listen", line = 1 }, { "routes" })
    assert.same({}, lines)
  end)
end)

describe("hostile text", function()
  it("does not hang or fail on anything unfinished", function()
    for _, text in ipairs {
      "rx.listen 'a:1' {", "rx.listen 'a:1' { routes = { {", "rx.listen 'a:1' { [", "{ [[", "--[[", "'", "x = {[1",
      "rx.server(", "rx.listen", "", "\0\255{",
    } do
      locate.new(text):line({ verb = "listen", name = "a:1", line = 1 }, { "routes", 1, "to" })
      locate.new(text):line({ verb = "server", line = 1 }, { "routes", 1, "to" })
      locate.new(text):entries({ verb = "listen", name = "a:1", line = 1 }, { "routes" })
    end
  end)
end)
