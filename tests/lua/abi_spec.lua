-- The FFI side of the door, as far as Lua alone can stand in for C (LuaJIT takes no structs by value in callbacks;
-- those calls are covered by everything the program itself loads).
local ffi = require "ffi"
local abi = require "refractium.abi"

local function text()
  local file = assert(io.open("core/abi.h", "r"))
  local header = file:read "*a"
  file:close()
  return header
end

local function new_door()
  abi.open(setmetatable({}, { __index = function() end }), nil) -- a Lua door needs no declarations
  if not pcall(ffi.typeof, "struct rx_door") then
    ffi.cdef(text())
  end
  return ffi.new("struct rx_door", { version = 2, size = ffi.sizeof "struct rx_door" })
end

local function open(door)
  return abi.open(ffi.cast("void *", door), ffi.cast("void *", 0), text())
end

describe("the door", function()
  it("must be of this version and size", function()
    local door = new_door()
    door.version = 3
    assert.error_matches(function() open(door) end, "mixed builds")
    door.version, door.size = 2, 8
    assert.error_matches(function() open(door) end, "mixed builds")
  end)

  it("gets plain values as C has them", function()
    local door, seen = new_door(), {}
    local callback = ffi.cast("int (*)(struct rx_build *, const struct rx_server_spec *)", function(_, spec)
      seen = { spec.workers, ffi.string(spec.access_log_file.ptr, spec.access_log_file.len), spec.fallback_tcp.kind,
        ffi.string(spec.fallback_tcp.text.ptr, spec.fallback_tcp.text.len), spec.fallback_udp.kind, spec.drain_ms }
      return 7
    end)
    door.server_set = callback
    local link = open(door)
    assert.equal(7, link.server_set {
      workers = 3, access_log_file = "x\0y", fallback_tcp = { kind = 5, pool = -1, text = "hi" }, is_new = true,
    })
    assert.same({ 3, "x\0y", 5, "hi", 0, 0 }, seen)
    link.server_set { drain_ms = 1 }
    assert.same({ 0, "", 0, "", 0, 1 }, seen) -- nothing is left of the call before
    callback:free()
  end)

  it("gives its words as strings", function()
    local door = new_door()
    local words = ffi.new("char[6]", "words")
    local error_fn = ffi.cast("const char *(*)(struct rx_build *)", function() return words end)
    local name_fn = ffi.cast("const char *(*)(uint32_t)", function(i) return i == 0 and words or nil end)
    door.error, door.builtin_name = error_fn, name_fn
    local link = open(door)
    assert.equal("words", link.error())
    assert.equal("words", link.builtin_name(0))
    assert.is_nil(link.builtin_name(1))
    error_fn:free()
    name_fn:free()
  end)

  it("is asked what it has", function()
    local link = open(new_door())
    assert.is_true(link.has("rx_route_spec", "name"))
    assert.is_false(link.has("rx_route_spec", "no_such_field"))
  end)
end)
