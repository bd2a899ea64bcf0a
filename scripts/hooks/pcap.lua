-- SPDX-License-Identifier: MIT
-- Writes what connections say as a packet capture that Wireshark and tshark open: each piece of data as a segment of a
-- TCP connection between the client and the listener, with headers made up to fit (sequence numbers are right, so that
-- streams are reassembled; checksums of TCP are left at 0).
-- Use: a route with hooks = { rx.include "scripts/hooks/pcap.lua" }. The file stops growing at its limit.

local rx = require "refractium"

local out = rx.file("traffic.pcap", { max = "100m" })

local char, byte, sub, find, rep = string.char, string.byte, string.sub, string.find, string.rep
local floor, min = math.floor, math.min
local FIN, SYN, PSH, ACK = 1, 2, 8, 16
local SEGMENT = 16384 -- bytes of data in one packet

local flows = {} -- by conn.id: from on_open to on_close

local function le32(n)
  return char(n % 256, floor(n / 256) % 256, floor(n / 65536) % 256, floor(n / 16777216) % 256)
end

local function be16(n)
  return char(floor(n / 256) % 256, n % 256)
end

local function be32(n)
  return be16(floor(n / 65536)) .. be16(n)
end

-- "192.0.2.1" → its four bytes; nil for an address that is none.
local function ipv4(text)
  local bytes, from = {}, 1
  for i = 1, 4 do
    local dot = i < 4 and find(text, ".", from, true) or #text + 1
    local n = dot and tonumber(sub(text, from, dot - 1))
    if not n or n > 255 then
      return nil
    end
    bytes[i], from = char(n), dot + 1
  end
  return table.concat(bytes)
end

-- One side of the "::" of an IPv6 address.
local function groups(text)
  local out_bytes, from = {}, 1
  while from <= #text do
    local colon = find(text, ":", from, true) or #text + 1
    local word = sub(text, from, colon - 1)
    local last = find(word, ".", 1, true) and ipv4(word)
    local n = not last and tonumber(word, 16)
    if not last and not n then
      return nil
    end
    out_bytes[#out_bytes + 1] = last or be16(n)
    from = colon + 1
  end
  return table.concat(out_bytes)
end

local function ipv6(text)
  local gap = find(text, "::", 1, true)
  local head = groups(gap and sub(text, 1, gap - 1) or text)
  local tail = gap and groups(sub(text, gap + 2)) or ""
  if not head or not tail or #head + #tail > 16 then
    return nil
  end
  return head .. rep("\0", 16 - #head - #tail) .. tail
end

local function checksum(header)
  local sum = 0
  for i = 1, #header, 2 do
    sum = sum + byte(header, i) * 256 + byte(header, i + 1)
  end
  while sum > 65535 do
    sum = sum % 65536 + floor(sum / 65536)
  end
  return be16(65535 - sum)
end

local function ip_header(flow, from, to, len)
  if flow.is_v6 then
    return "\96\0\0\0" .. be16(len) .. "\6\64" .. from .. to
  end
  local head, tail = "\69\0" .. be16(20 + len) .. "\0\0\64\0\64\6", from .. to
  return head .. checksum(head .. "\0\0" .. tail) .. tail
end

-- side: 1 the client, 2 the server
local function packet(flow, at, side, flags, data)
  local a, b = flow[side], flow[3 - side]
  local tcp = be16(a.port) .. be16(b.port) .. be32(a.seq) .. be32(b.seq) .. "\80" .. char(flags) .. "\255\255\0\0\0\0"
  local bytes = ip_header(flow, a.ip, b.ip, #tcp + #data) .. tcp .. data
  a.seq = (a.seq + #data + ((flags == SYN or flags == SYN + ACK or flags == FIN + ACK) and 1 or 0)) % 4294967296
  local s = floor(at)
  return le32(s) .. le32(floor((at - s) * 1e6)) .. le32(#bytes) .. le32(#bytes) .. bytes
end

local function write(text)
  if out:size() == 0 then -- new, or rotated: magic, version, zone, accuracy, longest packet, LINKTYPE_RAW
    text = "\212\195\178\161\2\0\4\0" .. le32(0) .. le32(0) .. le32(65535) .. le32(101) .. text
  end
  return out:write(text)
end

return rx.hook "pcap" {
  on_open = function(conn)
    local text = conn.client.ip
    local ip4 = ipv4(text)
    local ip = ip4 or ipv6(text)
    if not ip then
      return
    end
    local flow = {
      is_v6 = not ip4,
      { ip = ip, port = conn.client.port or 0, seq = 0 },
      { ip = ip4 and "\192\0\2\1" or ipv6 "2001:db8::1", port = conn.to_port or 0, seq = 0 },
    }
    local at = conn.time
    flows[conn.id] = write(packet(flow, at, 1, SYN, "") .. packet(flow, at, 2, SYN + ACK, "")
      .. packet(flow, at, 1, ACK, "")) and flow or nil
  end,

  on_data = function(conn, direction, buf)
    local flow = flows[conn.id]
    local side, at = direction == "to_server" and 1 or 2, conn.time
    for from = 0, flow and #buf - 1 or -1, SEGMENT do
      if not write(packet(flow, at, side, PSH + ACK, buf:sub(from, min(from + SEGMENT, #buf)))) then
        flows[conn.id] = nil -- the file is full
        return
      end
    end
  end,

  on_close = function(conn)
    local flow = flows[conn.id]
    if flow then
      write(packet(flow, conn.time, 1, FIN + ACK, "") .. packet(flow, conn.time, 2, FIN + ACK, "")
        .. packet(flow, conn.time, 1, ACK, ""))
      flows[conn.id] = nil
    end
  end,
}
