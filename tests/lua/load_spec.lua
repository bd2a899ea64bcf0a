-- The whole of it: the default config, the examples, and how long a large config takes.
local mock = require "mock_door"

local function read(path)
  local file = assert(io.open(path, "r"))
  local text = file:read "*a"
  file:close()
  return text
end

describe("the default config", function()
  it("loads without a finding and answers with what is built in", function()
    local door, errors, warnings = mock.load(read "refractium.lua")
    assert.same({}, errors)
    assert.same({}, warnings)
    assert.equal(0, #mock.calls(door, "pool_new"))
    assert.equal(50, mock.calls(door, "listen_new")[1][2].max_connections_per_ip)
    assert.is_true(#mock.calls(door, "test_new") >= 3)
  end)

  it("holds examples that load when they are uncommented", function()
    local text, n = read("refractium.lua"):gsub("(\n *)%-%-(%f[^%s\n-]%S)", "%1%2")
    text = text:gsub("\n%-%-(  +%S)", "\n%1")
    local door, errors, warnings = mock.load(text)
    assert.same({}, errors)
    assert.same({}, warnings)
    assert.is_true(n > 25, "nothing was uncommented")
    assert.equal(1, #mock.calls(door, "sessions_new"))
    assert.is_true(#mock.calls(door, "route_new") >= 16)
  end)
end)

describe("a large config", function()
  it("loads in linear time", function()
    local function best_of_three(n)
      local lines = { "rx.listen 'a:1' { routes = {" }
      for i = 1, n do
        lines[#lines + 1] = ('{ rx.tls, sni = { "h%d.test", "*.h%d.test" }, alpn = "h2", from = "10.0.0.0/8",'
          .. ' to = "10.0.%d.%d:443" },'):format(i, i, i / 250, i % 250)
      end
      lines[#lines + 1] = "} }"
      local text = table.concat(lines, "\n")
      local best = math.huge
      for _ = 1, 3 do
        local start = os.clock()
        local door, errors = mock.config(text)
        best = math.min(best, os.clock() - start)
        assert.same({}, errors)
        assert.equal(n, #mock.calls(door, "route_new"))
        assert.equal(("refractium.lua:%d"):format(n + 1), mock.calls(door, "route_new")[n][3].where)
      end
      return best
    end
    -- Ten times the routes: a hundred times the work if any of it were quadratic.
    local small, large = best_of_three(300), best_of_three(3000)
    assert.is_true(large < 40 * small, ("300 routes took %.0f ms, 3000 took %.0f ms"):format(small * 1e3, large * 1e3))
  end)
end)
