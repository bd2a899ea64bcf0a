-- The committed reference and annotations are what the schema says today; run `make docs` when they are not.
local docgen = require "refractium.docgen"
local schema = require "refractium.schema"
local kinds = require "refractium.kinds"
local units = require "refractium.units"

local function read(path)
  local file = assert(io.open(path, "r"))
  local text = file:read "*a"
  file:close()
  return text
end

describe("generated files", function()
  it("are current", function()
    assert.is_true(docgen.reference() == read "docs/reference/config.md", "docs/reference/config.md is stale")
    assert.is_true(docgen.annotations() == read "lua/refractium/meta/refractium.lua", "the annotations are stale")
  end)

  it("are Lua where they are Lua", function()
    assert.is_function(loadstring(docgen.annotations()))
  end)

  it("name every option", function()
    local text = docgen.reference()
    for _, name in ipairs(schema.order) do
      for _, row in ipairs(schema[name]) do
        assert.is_truthy(text:find("| `" .. row.name .. "` |", 1, true), row.name)
      end
    end
  end)
end)

describe("the schema", function()
  it("has a known type, a doc, and a default within its range in every row", function()
    for _, name in ipairs(schema.order) do
      for _, row in ipairs(schema[name]) do
        assert.is_function(kinds[row.type], row.name)
        assert.is_true(#row.doc > 10, row.name)
        local parse = units[row.type]
        if parse and row.default then
          assert.is_true(parse(row.default) >= parse(row.min) and parse(row.default) <= parse(row.max), row.name)
        elseif row.min and type(row.default) == "number" then
          assert.is_true(row.default >= row.min and row.default <= row.max, row.name)
        end
      end
    end
  end)

  it("does not call an option both available and not", function()
    for _, name in ipairs(schema.order) do
      for _, row in ipairs(schema[name]) do
        assert.is_nil(schema[name].not_yet[row.name], row.name)
      end
    end
  end)
end)
