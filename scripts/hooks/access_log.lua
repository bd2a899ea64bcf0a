-- SPDX-License-Identifier: MIT
-- A line for every connection, in a file of its own, with what the program's own access log leaves out: JA4, pool, age.
-- Use: rx.server { hooks = { rx.include "scripts/hooks/access_log.lua" } }
-- The file is opened anew when it was rotated away.

local rx = require "refractium"

local out = rx.file "connections.log"

-- What peers send must not write lines of its own: only printable bytes, quotes and backslashes escaped.
local function quoted(text)
  local parts = {}
  for i = 1, #text < 300 and #text or 300 do
    local c = text:byte(i)
    if c < 32 or c > 126 or c == 34 or c == 92 then
      parts[i] = ("\\x%02x"):format(c)
    else
      parts[i] = text:sub(i, i)
    end
  end
  return '"' .. table.concat(parts) .. '"'
end

local FACTS = { "sni", "host", "method", "path", "software", "qname", "user", "key", "ja4", "pool", "backend" }

return rx.hook "access_log" {
  on_close = function(conn, why)
    local words = {
      os.date("!%Y-%m-%dT%H:%M:%SZ", conn.time), "conn=" .. conn.id, "client=" .. tostring(conn.client),
      "protocol=" .. (conn.protocol or "-"), "route=" .. quoted(conn.route or "-"),
    }
    for _, fact in ipairs(FACTS) do
      local v = conn[fact]
      if v then
        words[#words + 1] = fact .. "=" .. quoted(v)
      end
    end
    words[#words + 1] = ("in=%d out=%d s=%.3f reason=%s\n"):format(conn.bytes_in, conn.bytes_out, conn.age, why)
    out:write(table.concat(words, " "))
  end,
}
