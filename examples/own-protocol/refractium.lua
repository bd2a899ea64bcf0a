-- Protocols of your own: by what they start with, and by bytes somewhere in their beginning.

local rx = require "refractium"

-- By prefix: decided as soon as the prefix is there, and as soon as it cannot come any more. Any number of prefixes
-- costs what one costs.
local game = rx.protocol "game" {
  transport = "tcp",
  prefix = { "GAME1", "GAME2" },
  samples = {
    yes = { "GAME1 hello", "GAME2\0\1" },
    no  = { "GAME3 hello", "GET / HTTP/1.1\r\n" },
  },
}

local metrics = rx.protocol "metrics" {
  transport = "tcp",
  prefix = "\xca\xfe\x01",
  samples = { yes = "\xca\xfe\x01\x00", no = "\xca\xfe\x02\x00" },
}

-- By pattern: bytes anywhere in the first `within` bytes. Until so many bytes are there nobody can say no, and the
-- routes behind it wait: so it stands last, and `within` is small.
local sensor = rx.protocol "sensor" {
  transport = "tcp",
  patterns = { "\x55\xaa\x55\xaa", "SENSOR/" },
  within = "64b",
  samples = {
    yes = { "\x01\x02\x03\x55\xaa\x55\xaa", "id=7;SENSOR/2" },
    no  = { ("x"):rep(64) .. "SENSOR/" },            -- too far behind
  },
}

rx.listen "0.0.0.0:9000" {
  peek_timeout = "1s",
  routes = {
    -- Before rx.http: "GAME1 hi" could still become a request whose method is GAME1, and would be waited for.
    { game,    to = { "127.0.0.1:9001", "127.0.0.1:9002" }, priority = "latency" },
    { metrics, from = "10.0.0.0/8", to = "127.0.0.1:9003" },
    { rx.http, to = "127.0.0.1:8000" },
    { sensor,  to = "unix:/run/sensor.sock" },
  },
}

rx.test "a player" { send = { "GA", "ME1 hi" }, expect = { protocol = game, to = "127.0.0.1:9001" } }

rx.test "metrics from inside" {
  send = "\xca\xfe\x01\x00", from = "10.1.2.3", expect = { to = "127.0.0.1:9003" },
}

rx.test "a sensor" { send = "id=7;SENSOR/2", expect = { to = "unix:/run/sensor.sock" } }

rx.test "may still be a sensor" { send = "hello", expect = { more = true } }

rx.test "will not be one any more" { send = "hello", silent = true, expect = { reason = "no_route" } }

rx.test "a browser is not held back by what stands behind it" {
  send = "GET / HTTP/1.0\r\n\r\n", expect = { to = "127.0.0.1:8000" },
}
