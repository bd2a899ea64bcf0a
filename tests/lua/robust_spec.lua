-- Whatever stands where an option belongs is reported or taken, and never breaks the runtime itself.
local mock = require "mock_door"
local schema = require "refractium.schema"

local VALUES = {
  "0", "-1", "1.5", "1e308", "0/0", "1/0", "1LL", "0xffffffffffffffffULL", "1i", '""', '"x"', '"~("', '"~"', '"*."',
  '"\\0"', '"3s"', '"16k"', '("x"):rep(70000)', "true", "false", "{}", "{ {} }", "{ 1, nil, 3 }", "{ [0] = 1 }",
  "{ [-1] = 1 }", "{ [1.5] = 1 }", "{ [true] = 1 }", "{ [{}] = 1 }", "{ x = {} }", "{ { { {} } } }", "{ rx.tls }",
  "function() end", "rx", "rx.tls", "rx.any", "rx.drop", "rx.respond", 'rx.respond ""', 'rx.pool "p" { "h:1" }',
  'rx.pool "p"', 'rx.listen "l:1" {}', "nothing", "rx.nothing", "{ nothing }", 'setmetatable({}, { __index = error })',
  'setmetatable({}, { __tostring = error, __len = error, __call = error })', "1LL + 1", "print", "string", "os",
}

local FRAMES = {
  server = "rx.server { %s = %s } rx.listen 'a:1' {}",
  listen = "rx.listen 'a:1' { %s = %s }",
  route = "rx.listen 'a:1' { routes = { { rx.tls, %s = %s } } }",
  pool = "rx.pool 'w' { 'h:1', %s = %s } rx.listen 'a:1' {}",
  backend = "rx.pool 'w' { { 'h:1', %s = %s } } rx.listen 'a:1' {}",
  proxy_protocol = "rx.listen 'a:1' { proxy_protocol = { from = '10.0.0.1', %s = %s } }",
  send_proxy = "rx.pool 'w' { 'h:1', send_proxy = { %s = %s } } rx.listen 'a:1' {}",
  health = "rx.pool 'w' { 'h:1', health = { %s = %s } } rx.listen 'a:1' {}",
  ttl = "rx.pool 'w' { 'h:1', ttl = { %s = %s } } rx.listen 'a:1' {}",
  protocol = "rx.protocol 'g' { %s = %s } rx.listen 'a:1' {}",
  samples = "rx.protocol 'g' { prefix = 'x', samples = { %s = %s } } rx.listen 'a:1' {}",
  record = "rx.server { record = { file = 'f', %s = %s } } rx.listen 'a:1' {}",
  counter = "rx.counter 'c_total' { %s = %s } rx.listen 'a:1' {}",
  gauge = "rx.gauge 'g' { %s = %s } rx.listen 'a:1' {}",
  shared = "rx.shared 's' { %s = %s } rx.listen 'a:1' {}",
  test = "rx.test 't' { %s = %s } rx.listen 'a:1' {}",
  canary = "rx.server { canary = { %s = %s } } rx.listen 'a:1' {}",
  hook = "rx.hook 'h' { %s = %s } rx.listen 'a:1' {}",
  sessions = "rx.sessions 's' { %s = %s } rx.listen 'a:1' {}",
  exempt = "rx.sessions 's' { exempt = { %s = %s } } rx.listen 'a:1' {}",
  tail = "rx.tail 'f' { %s = %s } rx.listen 'a:1' {}",
  expect = "rx.test 't' { send = 'x', expect = { %s = %s } } rx.listen 'a:1' {}",
}

local PLACES = {
  "rx.server(%s)", "rx.listen(%s)", "rx.listen(%s) {}", "rx.listen 'a:1' (%s)", "rx.pool(%s) {}", "rx.pool 'p' (%s)",
  "rx.pool 'p' { %s }", "rx.pool 'p' { 'h:1', %s }", "rx.pool 'p' { { %s } }", "rx.protocol(%s) {}",
  "rx.protocol 'g' (%s)", "rx.hook(%s) {}", "rx.hook 'h' (%s)", "rx.every(%s)", "rx.every('1s', %s)", "rx.file(%s)",
  "rx.file('f', %s)", "rx.listen 'a:1' { hooks = { %s } }", "rx.test(%s) {}", "rx.test 't' (%s)",
  "rx.listen 'a:1' { routes = { %s } }",
  "rx.listen 'a:1' { routes = { { %s } } }", "rx.listen 'a:1' { routes = { { rx.tls, %s } } }", "rx.respond(%s)",
  "rx.counter(%s) {}", "rx.counter 'c' (%s)", "rx.shared(%s) {}", "rx.shared 's' (%s)", "rx.ban(%s)", "rx.ban('x', %s)",
  "rx.unban(%s)", "local c = rx.counter 'c_total' {} c:inc(%s) c:add(%s)", "local t = rx.shared 's' {} t:set(%s, %s)",
  "local t = rx.shared 's' {} t:get(%s) t:add(%s) t:incr(%s) t:delete(%s)",
  "rx.listen { %s } {}", "require(%s)", "error(%s)", "local x = rx[%s]", "local x = os[%s]",
}

local function try(body)
  local ok, n, errors = pcall(function()
    local _, errors, _, n = mock.config(body)
    return n, errors
  end)
  assert.is_true(ok, body .. "\n" .. tostring(n))
  assert.equal(n, #errors)
  for _, text in ipairs(errors) do
    assert.is_nil(text:find("refractium/[%w]+%.lua:%d"), body .. "\n" .. text)
  end
end

describe("a table", function()
  it("may hold itself", function()
    try "local t = {} t.routes = t t[1] = t t.to = t rx.listen 'a:1' (t) rx.server(t) rx.pool 'p' (t)"
  end)

  it("counts as it is when the verb is called", function()
    local _, errors = mock.config [[
      local options = { fallback_tcp = rx.drop }
      rx.listen "a:1" (options)
      options.fallback_tcp, options.nonsense = nil, 1]]
    assert.same({}, errors)
  end)
end)

describe("any value", function()
  for _, name in ipairs(schema.order) do
    it("in place of every option of " .. name, function()
      for _, row in ipairs(schema[name]) do
        for _, value in ipairs(VALUES) do
          try(FRAMES[name]:format(row.name, value))
        end
      end
    end)
  end

  it("in every other place", function()
    for _, place in ipairs(PLACES) do
      for _, value in ipairs(VALUES) do
        try(place:gsub("%%s", function() return value end) .. " rx.listen 'b:1' { fallback_tcp = rx.drop }")
      end
    end
  end)
end)
