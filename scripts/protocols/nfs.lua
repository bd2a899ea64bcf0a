-- NFS and what belongs to it (MOUNT, NLM, NSM, portmapper): an ONC RPC call in one record (RFC 5531 sections 9 and 11)
-- to one of the programs 100000 to 100999, which RFC 5531's registry keeps for them.
local rx = require "refractium"

return rx.protocol "nfs" {
  transport = "tcp",
  prefix = "\128\0",
  identify = function(buf)
    local length, program, version = buf:u16(2), buf:u32(16), buf[23]
    if length >= 0 and (length < 40 or length % 4 ~= 0) then return false end
    for i = 8, 14 do -- a call, RPC version 2
      if buf[i] > 0 then return false end
    end
    if buf[15] >= 0 and buf[15] ~= 2 or buf[16] > 0 or buf[17] >= 0 and buf[17] ~= 1 then return false end
    if program >= 0 and (program < 100000 or program > 100999) then return false end
    if buf[20] > 0 or buf[21] > 0 or buf[22] > 0 then return false end
    return version < 0 and rx.more or version >= 1 and version <= 5
  end,
  samples = {
    yes = { "\128\0\0\68\60\66\24\217\0\0\0\0\0\0\0\2\0\1\134\165\0\0\0\3\0\0\0\0" },
    no = { "\128\0\0\3\0\0\0\0\0\0\0\3key", "\128\0\0\68\60\66\24\217\0\0\0\1", "\128\1\0\1\0\0\0\4ping" },
  },
}
