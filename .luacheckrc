-- What luacheck is told: LuaJIT's globals everywhere, busted's in the specs.
std = "luajit"
max_line_length = 120
exclude_files = { "lua/refractium/meta/", "build/" }
files["tests/lua"] = { std = "luajit+busted" }
