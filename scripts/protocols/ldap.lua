-- LDAP: a BER SEQUENCE of a message id and a bind, extended, search or unbind request (RFC 4511 sections 4.1.1, 4.2,
-- 4.3, 4.5, 4.12; BER lengths up to four bytes long). SNMP has an OCTET STRING where the operation stands.
local rx = require "refractium"

-- Where the contents of the element at `at` begin; nil: no definite length
local function contents(buf, at)
  local length = buf[at + 1]
  if length < 0x80 then return at + 2 end
  return length > 0x80 and length <= 0x84 and at + length - 0x80 + 2 or nil
end

return rx.protocol "ldap" {
  transport = "tcp",
  prefix = "\48",
  identify = function(buf)
    local id = contents(buf, 0)
    if not id or buf[id] >= 0 and buf[id] ~= 2 then return false end
    local width = buf[id + 1]
    if width < 0 then return rx.more end
    if width == 0 or width > 4 then return false end
    local at = id + 2 + width
    local op = buf[at]
    if op < 0 then return rx.more end
    if op == 0x42 then return buf[at + 1] == 0 or buf[at + 1] < 0 and rx.more end -- unbind: NULL
    local body = (op == 0x60 or op == 0x63 or op == 0x77) and contents(buf, at)
    if not body then return false end
    local tag, one, version = buf[body], buf[body + 1], buf[body + 2]
    if tag < 0 then return rx.more end
    if op == 0x63 then return tag == 4 end -- baseObject
    if op == 0x77 then return tag == 0x80 end -- requestName
    if tag ~= 2 or one >= 0 and one ~= 1 then return false end
    return version < 0 and rx.more or version == 3 or version == 2
  end,
  samples = {
    yes = {
      "0\12\2\1\1\96\7\2\1\3\4\0\128\0", "0\5\2\1\1\66\0", "0\132\0\0\0\12\2\1\1\96\132\0\0\0\7\2\1\3\4\0\128\0",
    },
    no = { "0\41\2\1\1\4\6public\160", "0 alpha 17\n", "0\128\2\1\1\96", "003egit-upload-pack /" },
  },
}
