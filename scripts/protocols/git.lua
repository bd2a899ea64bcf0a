-- git: the daemon's request, a pkt-line (four hex digits of length) with a service and a path (Git documentation,
-- gitprotocol-pack, "Git Transport").
local rx = require "refractium"

local function is_service(buf, name)
  local n = #buf
  for i = 4, 3 + #name do
    if i == n then return rx.more end
    if buf[i] ~= name:byte(i - 3) then return false end
  end
  return true
end

return rx.protocol "git" {
  transport = "tcp",
  prefix = "0", -- no path makes the line 4096 bytes long
  identify = function(buf)
    for i = 0, 3 do
      local b = buf[i]
      if b < 0 then return rx.more end
      if (b < 0x30 or b > 0x39) and (b < 0x61 or b > 0x66) and (b < 0x41 or b > 0x46) then return false end
    end
    return is_service(buf, "git-upload-pack /") or is_service(buf, "git-receive-pack /")
      or is_service(buf, "git-upload-archive /")
  end,
  samples = {
    yes = {
      "003egit-upload-pack /proj.git\0host=a\0", "0033git-receive-pack /p\0host=a\0", "0033git-upload-archive /p\0",
    },
    no = { "003egit-upload-pack proj", "000Chost:version", "003egit clone", "0 alpha 17\n" },
  },
}
