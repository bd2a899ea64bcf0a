-- SPDX-License-Identifier: MIT
-- rx.ban and rx.unban: who may not come in for a while.
-- Enters: an address or a block as text. Leaves: an entry of the process's list (core/ban.h).

local duration = require "refractium.duration"

local type = type
local format = string.format

local M = {}

local UNNAMED = "unix" -- what conn.client.ip is for a client of a unix socket: nobody can tell those apart

local function must_run(session, view, verb)
  if view.call.is_open ~= 1 then
    session:complain(format("rx.%s can only be used in functions that run while connections are served", verb))
    return false
  end
  return true
end

local function check_address(session, verb, whom)
  if type(whom) ~= "string" then
    session:complain(format('rx.%s: needs an address or a block, as in conn.client.ip or "10.0.0.0/8", not %s', verb,
      whom == nil and "nil" or "a " .. type(whom)))
  end
end

local function no_address(session, verb, whom)
  session:complain(format('rx.%s: "%s" is no address or block', verb, whom))
end

---@return function ban
---@return function unban
function M.new(session, view)
  local function ban(whom, ttl)
    if not must_run(session, view, "ban") then
      return false
    end
    check_address(session, "ban", whom)
    if ttl == nil then
      session:complain 'rx.ban: needs how long, as in rx.ban(conn.client.ip, "10m")'
    end
    local ms, wrong = duration(ttl)
    if not ms then
      session:complain("rx.ban: the time " .. wrong)
    elseif whom == UNNAMED then
      return false
    end
    local result = view.state.ban(view.call, whom, #whom, ms)
    if result < 0 then
      no_address(session, "ban", whom)
    end
    return result == 1
  end
  local function unban(whom)
    if not must_run(session, view, "unban") then
      return false
    end
    check_address(session, "unban", whom)
    if whom == UNNAMED then
      return false
    end
    local result = view.state.unban(view.call, whom, #whom)
    if result < 0 then
      no_address(session, "unban", whom)
    end
    return result == 1
  end
  return ban, unban
end

return M
