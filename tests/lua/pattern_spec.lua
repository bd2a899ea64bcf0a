-- Patterns are tried out as the VM would match them, and only those that would not end are refused.
local pattern = require "refractium.pattern"

local PIECES = {
  "a", "b", ".", "%a", "%d", "[ab]", "[^b]", "[%a_]", "%%", "()", "(", ")", "%1", "%bab", "%f[a]", "$", "a*", "b+",
  ".-", "a?", "[ab]-", "%s*", "[]]", "[^]]",
}

describe("a string pattern", function()
  it("is tried out as the VM matches it", function()
    math.randomseed(7)
    local n = 0
    for _ = 1, 20000 do
      local p, text = math.random(4) == 1 and "^" or "", {}
      for _ = 1, math.random(6) do p = p .. PIECES[math.random(#PIECES)] end
      for i = 1, math.random(0, 9) do text[i] = ("ab1 ]%"):sub(math.random(6)):sub(1, 1) end
      text = table.concat(text)
      local at = math.random(#text + 1)
      local ok, first, last = pcall(string.find, text, p, at)
      if ok then
        local mine, end_of_mine = pattern.scan(text, p, at)
        assert.same({ p, text, first, last }, { p, text, mine, end_of_mine })
        n = n + 1
      else
        pcall(pattern.scan, text, p, at)
      end
    end
    assert.is_true(n > 10000)
  end)

  it("that would not end is found out", function()
    local bomb, text = ("a?"):rep(50) .. ("a"):rep(50) .. "b", ("a"):rep(50)
    assert.is_true(pattern.is_endless(text, bomb))
    assert.is_true(pattern.is_endless(text, bomb, -50, true))
    assert.is_true(pattern.is_endless(("x"):rep(3000), (".-"):rep(20) .. "y"))
  end)

  it("that ends is left alone, however much text there is", function()
    local lines = ("name = value and more\n"):rep(2000)
    assert.is_false(pattern.is_endless(lines, "(%w+)%s*=%s*([^\n]-)%s*\n", nil, true))
    assert.is_false(pattern.is_endless(lines, "^%s*(%w+)%s*=%s*(.*)$"))
    assert.is_false(pattern.is_endless(("x"):rep(3000), ".-y"))
    assert.is_false(pattern.is_endless(nil, 7))
    assert.is_false(pattern.is_endless(("x"):rep(1e6), "(((.-.-.-"))
    assert.is_false(pattern.is_endless(12, "%d+"))
  end)
end)
