-- What the runtime says of the built-in protocols is what the program has.
local builtin = require "refractium.builtin"
local schema = require "refractium.schema"

local function read(path)
  local file = io.open(path, "r")
  local text = file and file:read "*a"
  if file then
    file:close()
  end
  return text
end

-- name → { transport, facts } of every struct rx_proto in a source file.
local function structs(text)
  local out = {}
  for body in text:gmatch "const struct rx_proto rx_proto_[%w_]+ = (%b{})" do
    local facts = {}
    for fact in (body:match "%.facts = ([^,}]*)" or ""):gmatch "RX_FACT_(%w+)" do
      facts[fact:lower()] = true
    end
    out[body:match '%.name = "([^"]*)"'] = { transport = body:match "%.transport = RX_(%w+)":lower(), facts = facts }
  end
  return out
end

-- Facts a route can ask for; the others are only reported.
local ASKABLE = {}
for _, row in ipairs(schema.route) do
  if row.cond or row.name == "ech" then
    ASKABLE[row.name] = true
  end
end

local function askable(facts)
  local out = {}
  for fact in pairs(facts) do
    out[#out + 1] = ASKABLE[fact] and fact or nil
  end
  table.sort(out)
  return out
end

local function sorted(list)
  local out = { unpack(list) }
  table.sort(out)
  return out
end

local sources = io.popen "ls core/proto/*.c"
local shipped = {}
for path in sources:lines() do
  for name, struct in pairs(structs(read(path))) do
    shipped[name] = struct
  end
end
sources:close()

local listed = {}
for name in read("core/proto.c"):match("rx_protos%[%] = (%b{})"):gmatch "rx_proto_([%w_]+)" do
  listed[name] = true
end

describe("the table of built-in protocols", function()
  it("lists what the program lists", function()
    for name in pairs(listed) do
      assert.is_table(builtin.by_name[name], name .. " has no row")
    end
    for _, row in ipairs(builtin) do
      assert.is_true(listed[row.name] or row.name == "any" or row.name == "silent", row.name .. " does not ship")
    end
  end)

  for name, struct in pairs(shipped) do
    it("knows " .. name, function()
      local row = builtin.by_name[name]
      assert.is_table(row)
      assert.equal(struct.transport, row.transport)
      assert.same(askable(struct.facts), sorted(row.facts))
    end)
  end
end)
