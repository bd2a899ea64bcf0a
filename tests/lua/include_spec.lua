-- rx.include: other files of the config.
local mock = require "mock_door"

local HEAD = 'local rx = require "refractium"\n'
local REST = "\nrx.listen 'a:1' { fallback_tcp = rx.drop }"

local function errors_of(files, name)
  local _, _, errors = mock.scripts(files, false, name)
  return errors
end

describe("an included file", function()
  it("is found beside the one that names it, and gives what it returns", function()
    local functions, view, errors, texts = mock.scripts({
      ["/etc/rx/main.lua"] = HEAD .. "local a, b = rx.include 'scripts/a.lua' assert(b == 2)\n"
        .. "rx.listen 'a:1' { routes = { { a, to = rx.drop } } }",
      ["/etc/rx/scripts/a.lua"] = HEAD .. "return rx.include './sub/../b.lua', 2",
      ["/etc/rx/scripts/b.lua"] = HEAD .. "\nreturn rx.protocol 'g' { identify = function(buf)\nerror 'x' end }",
    }, false, "/etc/rx/main.lua")
    assert.same({}, errors)
    assert.equal(1, #functions)
    assert.same({ false, "/etc/rx/scripts/b.lua:4: x" }, { mock.call(view, functions[1], {}) })
    local names = {}
    for path in pairs(texts) do
      names[#names + 1] = path
    end
    table.sort(names)
    assert.same({ "/etc/rx/main.lua", "/etc/rx/scripts/a.lua", "/etc/rx/scripts/b.lua" }, names)
    assert.equal(HEAD .. "return rx.include './sub/../b.lua', 2", texts["/etc/rx/scripts/a.lua"])
  end)

  it("is found beside the one that names it last of all", function()
    assert.same({}, errors_of {
      ["refractium.lua"] = HEAD .. "assert(rx.include 'sub/a.lua' == 'right')" .. REST,
      ["sub/a.lua"] = HEAD .. "return rx.include 'b.lua'",
      ["sub/b.lua"] = HEAD .. "if true then return rx.include 'deep/c.lua' end",
      ["sub/deep/c.lua"] = "return 'right'",
      ["b.lua"] = "return 'wrong'", ["deep/c.lua"] = "return 'wrong'",
    })
    assert.same({ "refractium.lua:2: rx.include: sub/none.lua: No such file or directory" }, errors_of {
      ["refractium.lua"] = HEAD .. "rx.include 'sub/a.lua'" .. REST,
      ["sub/a.lua"] = HEAD .. "return rx.include 'none.lua'",
    })
  end)

  it("runs once", function()
    assert.same({}, errors_of {
      ["refractium.lua"] = HEAD .. "assert(rx.include 'a.lua' == rx.include './a.lua')" .. REST,
      ["a.lua"] = HEAD .. "return rx.pool 'once' { 'h:1' }",
    })
  end)

  it("lives in the same world", function()
    assert.same({
      "a.lua:1: io is not available in a config", 'a.lua:2: assignment to the global "x": write "local x = ..."',
    }, errors_of {
      ["refractium.lua"] = HEAD .. "rx.include 'a.lua'" .. REST,
      ["a.lua"] = "local f = io\nx = 1",
    })
  end)

  it("is named in findings", function()
    assert.same({
      'refractium.lua:4: pool "p": declared twice (first in a.lua:2)',
      'a.lua:3: listen "b:1".routes[1].to: no pool named "nope" (an address has a port: "host:80")',
      'a.lua:5: protocol "g": declared twice (first on line 4)',
    }, errors_of {
      ["refractium.lua"] = HEAD .. "rx.include 'a.lua'" .. REST .. "\nrx.pool 'p' { 'h:1' }",
      ["a.lua"] = HEAD .. "rx.pool 'p' { 'h:1' }\nrx.listen 'b:1' { routes = { { rx.tls, to = 'nope' } } }\n"
        .. "rx.protocol 'g' { prefix = 'x' }\nrx.protocol 'g' { prefix = 'x' }",
    })
  end)

  it("that is no Lua, fails or is not there says so", function()
    assert.matches("^a.lua:2: ", errors_of {
      ["refractium.lua"] = HEAD .. "rx.include 'a.lua'" .. REST, ["a.lua"] = "\nlocal = 3",
    }[1])
    assert.same({ "a.lua:2: oh" }, errors_of {
      ["refractium.lua"] = HEAD .. "rx.listen 'a:1' { fallback_tcp = rx.drop } rx.include 'a.lua'",
      ["a.lua"] = "\nerror 'oh'",
    })
    assert.same({ "refractium.lua:2: rx.include: no/such.lua: No such file or directory" },
      errors_of { ["refractium.lua"] = HEAD .. "rx.include 'no/such.lua'" .. REST })
    assert.same({
      'refractium.lua:2: rx.include: needs the path of a file, as in rx.include "scripts/game.lua", not a number',
    }, errors_of { ["refractium.lua"] = HEAD .. "rx.include(3)" .. REST })
    assert.same({ "a.lua: is bytecode, not Lua text" }, errors_of {
      ["refractium.lua"] = HEAD .. "rx.include 'a.lua'" .. REST, ["a.lua"] = string.dump(function() end),
    })
  end)

  it("does not include itself", function()
    assert.same({ "refractium.lua:2: rx.include: refractium.lua includes itself: refractium.lua -> refractium.lua" },
      errors_of { ["refractium.lua"] = HEAD .. "rx.include 'refractium.lua'" .. REST })
    assert.same({ "b.lua:2: rx.include: a.lua includes itself: a.lua -> b.lua -> a.lua" }, errors_of {
      ["refractium.lua"] = HEAD .. "rx.include 'a.lua'" .. REST,
      ["a.lua"] = HEAD .. "rx.include 'b.lua'", ["b.lua"] = HEAD .. "rx.include 'a.lua'",
    })
  end)

  it("is read from disk where it is not given", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write "return 'read'"
    file:close()
    local body = "assert(rx.include '" .. path .. "' == 'read')"
    local _, _, errors, texts = mock.scripts { ["refractium.lua"] = HEAD .. body .. REST }
    os.remove(path)
    assert.same({}, errors)
    assert.equal("return 'read'", texts[path])
  end)

  it("counts for the time a load may take", function()
    local errors = errors_of {
      ["refractium.lua"] = HEAD .. "rx.include 'a.lua'" .. REST, ["a.lua"] = "\nwhile true do end",
    }
    assert.matches("a.lua:2: ran for more than 2 seconds", errors[#errors], 1, true)
  end)
end)
