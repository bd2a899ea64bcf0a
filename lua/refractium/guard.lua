-- SPDX-License-Identifier: MIT
-- `refractium guard`: what a config with one rx.sessions, one rx.tail and no listener would say.
-- Enters: the strings that were typed. Leaves: the model with both in it. Findings name the flag.

local kinds = require "refractium.kinds"
local schema = require "refractium.schema"

local find, gmatch, ipairs, tonumber = string.find, string.gmatch, ipairs, tonumber

local M = {}

local FLAGS = {
  { flag = "proto" }, { flag = "window" }, { flag = "timeout" }, { flag = "block.log", name = "block_log" },
  { flag = "max-ips", name = "max_ips" }, { flag = "keep" },
}

local function ports(ctx, text)
  ctx:begin { title = "--dport" }
  if not text then
    ctx:fail "is missing: the ports to guard, as in 443 or 443,8000-8099"
    return nil
  end
  local list = {}
  for one in gmatch(text, "[^,%s]+") do
    list[#list + 1] = find(one, "^%d+$") and tonumber(one) or one
  end
  return kinds.texts(ctx, schema.sessions.by_name.dport, list)
end

---@param typed table proto, dport, window, timeout, access_log, block_log, max_ips, keep, dry_run: as they were typed
function M.apply(ctx, model, typed)
  local options = ctx:fields(schema.sessions, {})
  for _, f in ipairs(FLAGS) do
    local name = f.name or f.flag
    local text = typed[name]
    if text then
      local row = schema.sessions.by_name[name]
      ctx:begin { title = "--" .. f.flag }
      options[name] = kinds[row.type](ctx, row, row.type == "count" and tonumber(text) or text)
    end
  end
  options.dport = ports(ctx, typed.dport)
  options.dry_run = typed.dry_run or false
  options.enforce = { nftables = true, kill = options.proto ~= "udp" or nil, conntrack = options.proto ~= "tcp" or nil }
  local sessions = { name = "guard", options = options, is_used = true, declaration = { title = "guard" } }
  model.sessions = { sessions }
  model.tails = { { path = typed.access_log, options = { parse = { kind = 1 }, sessions = sessions } } }
end

return M
