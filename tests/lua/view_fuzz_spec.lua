-- A short run of fuzz_view.lua, in a process of its own: what it looks for ends the process.
local COUNT = 300000

describe("random calls", function()
  for name, flag in pairs { compiled = "", interpreted = "-joff " } do
    it("stay within the bytes, " .. name, function()
      local pipe = io.popen("luajit " .. flag .. "tests/lua/fuzz_view.lua " .. COUNT .. " " .. os.time() .. " 2>&1")
      local said = pipe:read "*a"
      pipe:close()
      assert.matches("^%d+ calls\n$", said)
    end)
  end
end)
