-- MS SQL Server and Sybase: a TDS packet with PRELOGIN (MS-TDS sections 2.2.3.1 and 2.2.6.5: VERSION comes first),
-- LOGIN7 (2.2.6.4, its length in it), or a login of TDS 4.2 and 5.0 (FreeTDS "tds.html": a record of fixed fields).
local rx = require "refractium"

local function is_old_login(buf) -- host name, zeros up to 30 bytes, its length
  if buf[1] > 1 or buf:u16(2) >= 0 and buf:u16(2) ~= 512 or buf[4] > 0 or buf[5] > 0 or buf[7] > 0 then return false end
  local length, at = buf[38], 8
  while at < 38 and buf[at] > 0x20 and buf[at] < 0x7f do at = at + 1 end
  local host = at - 8
  while at < 38 and buf[at] == 0 do at = at + 1 end
  return buf[at] < 0 and rx.more or at == 38 and length == host
end

return rx.protocol "mssql" {
  transport = "tcp",
  prefix = { "\18\1", "\16\1", "\16\0", "\2\0", "\2\1" },
  identify = function(buf)
    local n, length = #buf, buf:u16(2)
    if buf[0] == 2 then return is_old_login(buf) end
    if length >= 0 and length < 26 or buf[4] > 0 or buf[5] > 0 or buf[6] > 1 or buf[7] > 0 then return false end
    if buf[0] == 18 then
      if buf[8] > 0 or buf[9] > 0 or buf[11] > 0 or buf[12] >= 0 and buf[12] ~= 6 then return false end
      return n > 12 or rx.more
    end
    local login, version = buf:u32le(8), buf[15]
    if login < 0 then return rx.more end
    if login < 86 or buf[1] == 1 and login ~= length - 8 or login > 0x20000 then return false end
    return version < 0 and rx.more or version >= 0x70 and version <= 0x75 or version == 0 and buf[12] == 0x70
  end,
  samples = {
    yes = {
      "\18\1\0\58\0\0\0\0\0\0\26\0\6\1", "\16\1\0\120\0\0\1\0\112\0\0\0\4\0\0\116",
      "\2\0\2\0\0\0\0\0vm" .. ("\0"):rep(28) .. "\2sa",
    },
    no = { "\18\1\0\58\0\0\0\0\1", "\16\16\0\4MQTT\4\2", "\2lp\n", "\2\0\2\0\0\0\0\0vm\0x", "\18\2index\0" },
  },
}
