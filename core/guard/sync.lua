-- SPDX-License-Identifier: MIT
-- Runs in Redis, one call as a whole: what one node has heard is judged by what all of them have, and told to all.
-- Enters: ARGV = channel, node, verb, the verb's own. Leaves: news on the channel (core/guard/sync_news.h reads them).
-- Time is the server's, so that the nodes' clocks do not matter; everything has an end in Redis itself.

local redis, ARGV, KEYS = redis, ARGV, KEYS
local channel, node, verb = ARGV[1], ARGV[2], ARGV[3]
local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local OUTS_MAX = 4             -- of one identity, as in ledger.c
local UNBANS_STAY = 60 * 60 * 1000 -- how long a node may have been away and still be told

local function text(n) return string.format("%.0f", n) end

local function tell(...)
  redis.call("PUBLISH", channel, table.concat({ ... }, " "))
end

-- A sorted set of what has an end: scores are when.
local function keep(key, member, till)
  redis.call("ZREMRANGEBYSCORE", key, "-inf", text(now))
  redis.call("ZADD", key, text(till), member)
  local last = redis.call("ZRANGE", key, -1, -1, "WITHSCORES")
  redis.call("PEXPIREAT", key, text(tonumber(last[2])))
end

-- Bans: KEYS = bans, those taken back -------------------------------------------------------------------------

-- `again`: a node that was away tells what it has; what was taken back meanwhile is over.
local function ban(whom, ttl, again)
  local taken = tonumber(redis.call("ZSCORE", KEYS[2], whom) or 0)
  if again and taken > now then
    tell("u", "-", whom)
    return
  end
  redis.call("ZREM", KEYS[2], whom)
  local till, old = now + ttl, tonumber(redis.call("ZSCORE", KEYS[1], whom) or 0)
  if old + (again and 1000 or 0) >= till then
    return
  end
  keep(KEYS[1], whom, till)
  tell("b", node, text(ttl), whom)
end

local function unban(whom)
  redis.call("ZREM", KEYS[1], whom)
  keep(KEYS[2], whom, now + UNBANS_STAY)
  tell("u", node, whom)
end

-- Some of the bans: "CURSOR ADDRESS,LEFT …".
local function page(cursor)
  local found, out = redis.call("ZSCAN", KEYS[1], cursor, "COUNT", 500), {}
  for i = 1, #found[2], 2 do
    local left = tonumber(found[2][i + 1]) - now
    if left > 0 then
      out[#out + 1] = found[2][i] .. "," .. text(left)
    end
  end
  return found[1] .. " " .. table.concat(out, " ")
end

-- Sessions: KEYS = one identity, a hash of "i ADDRESS NODE" and "o ADDRESS" → "SINCE TILL" -------------------------

local held, out = {}, {} -- ADDRESS → { since, till, fields }

local function load()
  local all = redis.call("HGETALL", KEYS[1])
  for i = 1, #all, 2 do
    local kind, address = string.match(all[i], "^(%a) (%S+)")
    local since, till = string.match(all[i + 1], "^(%d+) (%d+)$")
    since, till = tonumber(since), tonumber(till)
    if not till or till <= now then
      redis.call("HDEL", KEYS[1], all[i])
    else
      local list = kind == "o" and out or held
      local one = list[address] or { since = since, till = till, fields = {} }
      one.since, one.till = math.min(one.since, since), math.max(one.till, till)
      one.fields[all[i]] = till
      list[address] = one
    end
  end
end

local function oldest(list)
  local found, n = nil, 0
  for address, one in pairs(list) do
    n = n + 1
    if not found or one.since < list[found].since or (one.since == list[found].since and address < found) then
      found = address
    end
  end
  return found, n
end

local function drop(list, address)
  for field in pairs(list[address] and list[address].fields or {}) do
    redis.call("HDEL", KEYS[1], field)
  end
  list[address] = nil
end

local function put_out(address, timeout, fresh)
  drop(held, address)
  local first, n = oldest(out)
  if n >= OUTS_MAX then
    drop(out, first)
  end
  local field, till = "o " .. address, now + timeout
  redis.call("HSET", KEYS[1], field, text(now) .. " " .. text(till))
  out[address] = { since = now, till = till, fields = { [field] = till }, fresh = fresh }
end

-- That a node has the address. False: there was no place for it.
local function take_in(whom, lease, timeout, most, keep_last, age)
  local origin, n = oldest(held)
  if not held[whom] then
    while keep_last and n >= most and origin do
      put_out(origin, timeout, true)
      origin, n = oldest(held)
    end
    if n >= most then
      put_out(whom, timeout, true)
      return origin
    end
  end
  local field, one = "i " .. whom .. " " .. node, held[whom] or { since = now, till = 0, fields = {} }
  one.since = math.min(one.since, now - age)
  one.fields[field], one.till = now + lease, 0
  for _, till in pairs(one.fields) do
    one.till = math.max(one.till, till)
  end
  redis.call("HSET", KEYS[1], field, text(one.since) .. " " .. text(now + lease))
  held[whom] = one
  return whom
end

local function tell_all(name, origin, transport, identity, forgiven)
  local words, last = {}, now
  if forgiven then
    words[1] = "f," .. forgiven .. ",0,0"
  end
  for kind, list in pairs { i = held, o = out } do
    for address, one in pairs(list) do
      words[#words + 1] = table.concat({ one.fresh and "n" or kind, address, text(math.max(now - one.since, 0)),
        text(one.till - now) }, ",")
      last = math.max(last, one.till)
    end
  end
  if last > now then
    redis.call("PEXPIREAT", KEYS[1], text(last))
  end
  tell("s", node, transport, name, origin or "-", #words, #words > 0 and table.concat(words, " ") or "-", identity)
end

local function session(name, whom, lease, timeout, most, keep_last, age, transport, identity)
  local origin
  load()
  if verb == "in" then
    drop(out, whom)
  elseif verb == "out" then
    if not held[whom] and not out[whom] then
      put_out(whom, timeout)
    end
  elseif not out[whom] and (verb == "see" or held[whom]) then
    origin = take_in(whom, lease, timeout, most, keep_last, age)
  end
  tell_all(name, origin, transport, identity, verb == "in" and whom)
end

if verb == "beat" then
  tell("p", node)
elseif verb == "ban" or verb == "again" then
  ban(ARGV[4], tonumber(ARGV[5]), verb == "again")
elseif verb == "unban" then
  unban(ARGV[4])
elseif verb == "page" then
  return page(ARGV[4])
else
  session(ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9] == "last",
    tonumber(ARGV[10]), ARGV[11], ARGV[12])
end
return ""
