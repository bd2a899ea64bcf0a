local suggest = require "refractium.suggest"

describe("distance", function()
  local cases = {
    { "", "", 0 }, { "a", "", 1 }, { "", "abc", 3 }, { "tls", "tls", 0 }, { "tsl", "tls", 1 }, { "wbe", "web", 1 },
    { "kitten", "sitting", 3 }, { "ca", "abc", 3 }, { "abcd", "badc", 2 },
  }
  for _, case in ipairs(cases) do
    it(case[1] .. " to " .. case[2], function()
      assert.equal(case[3], suggest.distance(case[1], case[2]))
      assert.equal(case[3], suggest.distance(case[2], case[1]))
    end)
  end
end)

describe("hint", function()
  it("names the closest", function()
    assert.equal(' (did you mean "peek_timeout"?)', suggest.hint("pek_timeout", { "peek_buffer_size", "peek_timeout" }))
  end)

  it("does not mind case", function()
    assert.equal(' (did you mean "sni"?)', suggest.hint("SNI", { "host", "sni" }))
  end)

  it("is silent when nothing is close", function()
    assert.equal("", suggest.hint("ssh", { "sip", "http", "tls" }))
    assert.equal("", suggest.hint("x", {}))
    assert.equal("", suggest.hint(3, { "a" }))
    assert.equal("", suggest.hint(("x"):rep(1000), { ("x"):rep(999) }))
  end)
end)
