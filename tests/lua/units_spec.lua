local units = require "refractium.units"

describe("durations", function()
  local good = {
    ["250ms"] = 250, ["3s"] = 3000, ["1m"] = 60000, ["1.5m"] = 90000, ["1h"] = 3600000, ["1d"] = 86400000,
    ["0s"] = 0, ["3S"] = 3000, ["3 s"] = 3000,
  }
  for text, ms in pairs(good) do
    it("reads " .. text, function() assert.equal(ms, units.duration(text)) end)
  end

  it("says which unit a bare number lacks", function()
    local _, wrong = units.duration(3)
    assert.equal('3 has no unit (write "3s" or "3ms")', wrong)
    _, wrong = units.duration("3")
    assert.equal('"3" has no unit (write "3s" or "3ms")', wrong)
  end)

  it("names the units it knows", function()
    local _, wrong = units.duration("3x")
    assert.equal('"3x" has an unknown unit "x" (known: ms, s, m, h, d)', wrong)
  end)

  for _, bad in ipairs { "", "s", "-3s", "3s3s", "1e3s", "0x3s", "3s\n", "∞" } do
    it("refuses " .. string.format("%q", bad), function()
      local ms, wrong = units.duration(bad)
      assert.is_nil(ms)
      assert.matches('must be a duration like "3s"', wrong, 1, true)
    end)
  end

  it("refuses other types", function()
    for _, bad in ipairs { true, {}, print } do
      assert.is_nil((units.duration(bad)))
    end
  end)

  it("prints what it reads", function()
    for _, text in ipairs { "250ms", "3s", "90s", "1h", "30d", "0ms" } do
      assert.equal(text, units.print_duration(units.duration(text)))
    end
  end)
end)

describe("sizes", function()
  it("counts in powers of 1024", function()
    assert.equal(16384, units.size("16k"))
    assert.equal(1048576, units.size("1M"))
    assert.equal(512, units.size("512b"))
    assert.equal(1536, units.size("1.5k"))
  end)

  it("says which unit a bare number lacks", function()
    local _, wrong = units.size(16384)
    assert.equal('16384 has no unit (write "16384k" or "16384b")', wrong)
  end)

  it("prints what it reads", function()
    for _, text in ipairs { "64b", "16k", "1m", "3g", "0b" } do
      assert.equal(text, units.print_size(units.size(text)))
    end
  end)
end)

describe("rates", function()
  it("are so many in so long", function()
    assert.same({ 50, 1000 }, { units.rate("50/s") })
    assert.same({ 3, 60000 }, { units.rate("3 / m") })
    assert.same({ 10, 3600000 }, { units.rate("10/h") })
    for _, bad in ipairs { "", "/s", "5", "5/", "-5/s", "1.5/s", "5/s/s", "5/S", 5, {}, true } do
      assert.is_nil((units.rate(bad)))
    end
  end)

  it("of bytes are a size a second", function()
    assert.equal(10 * 1048576, units.byte_rate("10m/s"))
    assert.equal(1536, units.byte_rate("1.5k/s"))
    assert.equal("10m/s", units.print_byte_rate(units.byte_rate("10m/s")))
    for _, bad in ipairs { "", "/s", "10m", "10/s", "10m/m", "-1k/s", 10, {} } do
      assert.is_nil((units.byte_rate(bad)))
    end
  end)
end)
