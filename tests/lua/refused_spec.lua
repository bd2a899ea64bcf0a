-- Each option of each verb has a value that is refused, with the file, the line and the path of the key; unless every
-- type has one here, this fails. What is said of particular mistakes is check_spec.lua's.
local mock = require "mock_door"
local schema = require "refractium.schema"

-- A whole config with the option on its second line, and the path that comes before its name.
local PLACES = {
  server = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.server {\n%s }', "server" },
  canary = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.server { canary = {\n%s } }', "server.canary" },
  record = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.server { record = { file = "f",\n%s } }', "server.record" },
  listen = { 'rx.listen "a:1" {\n%s }', 'listen "a:1"' },
  proxy_protocol = { 'rx.listen "a:1" { fallback_tcp = rx.drop, proxy_protocol = {\n%s } }',
    'listen "a:1".proxy_protocol' },
  route = { 'rx.listen "a:1" { routes = { { rx.any,\n%s } } }', 'listen "a:1".routes[1]' },
  pool = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.pool "p" { "h:1",\n%s }', 'pool "p"' },
  backend = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.pool "p" { { "h:1",\n%s } }', 'pool "p"[1]' },
  health = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.pool "p" { "h:1", health = {\n%s } }', 'pool "p".health' },
  ttl = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.pool "p" { "h:1", ttl = {\n%s } }', 'pool "p".ttl' },
  send_proxy = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.pool "p" { "h:1", send_proxy = {\n%s } }',
    'pool "p".send_proxy' },
  protocol = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.protocol "p" {\n%s }', 'protocol "p"' },
  samples = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.protocol "p" { prefix = "P", samples = {\n%s } }',
    'protocol "p".samples' },
  hook = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.hook "h" {\n%s }', 'hook "h"' },
  sessions = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.sessions "s" {\n%s }', 'sessions "s"' },
  exempt = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.sessions "s" { exempt = {\n%s } }', 'sessions "s".exempt' },
  tail = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.tail "/f" {\n%s }', 'tail "/f"' },
  counter = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.counter "c_total" {\n%s }', 'counter "c_total"' },
  gauge = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.gauge "g" {\n%s }', 'gauge "g"' },
  shared = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.shared "s" {\n%s }', 'shared "s"' },
  test = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.test "t" {\n%s }', 'test "t"' },
  expect = { 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.test "t" { send = "x", expect = {\n%s } }',
    'test "t".expect' },
}

-- Wrong for every option of that type. Values just out of range are added below from the row.
local WRONG = {
  access_log = { "3", "{}" },
  admin = { "true", '""', "3" },
  balance = { '"rond_robin"', "1" },
  boolean = { '"yes"', "1" },
  byte_rate = { "5", '"5m"', '"5/s"' },
  bytes = { '""', "1", "{}", "{ 1 }" },
  canary = { "true", '"5%"' },
  choice = { '"neither"', "1", "true" },
  client = { '"nobody"', "1" },
  count = { '"10"', "1.5", "-1", "0/0", "1/0", "true" },
  duration = { "3", '"3"', '"3 parsecs"', '"-3s"', "true" },
  enforce = { '"kll"', "1", '{ "kll" }' },
  exempt = { "1", '"x"', "true" },
  expect = { "1", '"x"' },
  expect_protocol = { "1", "rx.drop" },
  expect_to = { "1", "true" },
  expectation = { "1", '""', "{}" },
  first_bytes = { "1", '"GET"', '"z-a"', "{}" },
  func = { '"f"', "1", "{}" },
  health = { '"tcp"', "1" },
  hooks = { '"h"', "1", "{ 1 }" },
  hosts = { "1", '"a b"', "{}" },
  http_address = { "9180", '"nowhere"', '"unix:/x"', '"*:80"', '"systemd:x"' },
  http_path = { "1", '"x"', '""' },
  identities = { "1", "{}" },
  label = { "1", '""', '"a\\nb"' },
  labels = { "1", '{ "1a" }', '{ "a", "a" }' },
  line_parser = { "1", '"xray"' },
  log = { '"jurnal"', "true" },
  over_limit = { "rx.echo", '"drop"' },
  own_store = { "1", "true" },
  own_limits = { "1", '"x"', '{ alice = "3" }' },
  payload = { "1", '""', '"hex:0"' },
  percent = { "5", '"5"', '"x%"' },
  proxies = { "1", '"nobody"', "{}" },
  proxy_protocol = { "true", '"v1"', "{}" },
  rate = { "5", '"5"', '"5/d"' },
  record = { "true", "{}" },
  routes = { "1", '"x"', "{ 1 }" },
  samples = { "1", '"x"' },
  sandbox = { "1", '"loose"' },
  segments = { "1", "{}", "{ 1 }" },
  send_proxy = { '"v3"', "1", "{ 1 }" },
  servers = { '"dns.test"', "1", "{}" },
  sessions = { '"s"', "1" },
  short_name = { "1", '""', '"much-too-long-a-name"', '"a b"' },
  size = { "5", '"5"', '"5 bags"' },
  sources = { "1", '"nowhere"', '"10.0.0.1-nowhere"', '"10.0.0.0/28-10.0.0.99"', "{}" },
  statuses = { '"abc"', "99", "{}" },
  store = { "1", "true" },
  string = { "1", "{}" },
  target = { "80", "true", "{}" },
  texts = { "{}", "{ {} }", "true" },
  token = { "1", '"a b"', '""' },
  ttl = { '"5s"', "1" },
  word = { "1", '"a b"', '""' },
  workers = { '"four"', "0", "1.5" },
}

-- One step beyond what a row allows.
local function out_of_range(row)
  if type(row.min) == "number" then
    return { tostring(row.min - 1), string.format("%d", row.max + 1) }
  elseif row.min and row.type ~= "rate" then
    local n, unit = row.max:match "^(%d+)(.*)$"
    return { string.format('"%d%s"', n + 1, unit) }
  end
  return {}
end

local function refused(place, name, value)
  local _, errors = mock.config(place[1]:format(name .. " = " .. value))
  local path = place[2] .. "." .. name
  local want = "refractium.lua:2: " .. path
  for _, line in ipairs(errors) do
    -- The path itself, or something within it.
    if line:sub(1, #want) == want and line:sub(#want + 1, #want + 1):find "[:.%[]" then
      return
    end
  end
  error(("%s = %s was not refused at %s; said: %s"):format(path, value, want, table.concat(errors, "\n")), 0)
end

for _, section in ipairs(schema.order) do
  describe("a wrong value in " .. section, function()
    for _, row in ipairs(schema[section]) do
      it("is refused for " .. row.name, function()
        local values = assert(WRONG[row.type], "no wrong value is known for type " .. row.type)
        for _, value in ipairs(values) do
          refused(PLACES[section], row.name, value)
        end
        for _, value in ipairs(out_of_range(row)) do
          refused(PLACES[section], row.name, value)
        end
      end)
    end

    it("is refused for a key there is not", function()
      refused(PLACES[section], "nonesuch", "1")
    end)

    it("is refused for options of later versions", function()
      for _, name in ipairs(schema[section].unavailable or {}) do
        refused(PLACES[section], name, "1")
      end
    end)
  end)
end
