-- rlogin: an empty string, the client's user, the server's user, terminal type, slash, speed, each ended by NUL (RFC
-- 1282 section 2, "Connection Establishment").
local rx = require "refractium"

return rx.protocol "rlogin" {
  transport = "tcp",
  prefix = "\0",
  identify = function(buf)
    local field, slash, from = 1, nil, 1
    for at = 1, 160 do
      local b = buf[at]
      if b < 0 then return rx.more end
      if b == 0 then
        if field == 3 then return slash ~= nil and slash > from and at > slash + 1 end
        if field == 2 and at == from or at > from + 64 then return false end
        field, from = field + 1, at + 1
      elseif b <= 0x20 or b >= 0x7f then
        return false
      elseif field == 3 then
        if slash and (b < 0x30 or b > 0x39) then return false end
        if b == 0x2f then slash = at end
      end
    end
    return false
  end,
  samples = {
    yes = { "\0\0joe\0xterm/38400\0", "\0me\0root\0vt100/9600\0" },
    no = { "\0\0\0\8\4\210\22\47", "\0REQ\0\0\0\7", "\0me\0root\0vt100\0", "\0a\0b\0x/9y\0" },
  },
}
