// SPDX-License-Identifier: MIT
// Enters: a letter for the format, then a config of a predecessor. Leaves: aborted when an import neither makes a
// config nor says why not, or makes one that is no Lua.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>

#include "script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// libconfig keeps the string it was reading when it meets a mistake.
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:strbuf_append";
}

static void check_lua(const char *text, size_t len)
{
    lua_State *L = luaL_newstate();
    if (L && luaL_loadbuffer(L, text, len, "=made")) {
        fprintf(stderr, "%s\n%s\n", lua_tostring(L, -1), text);
        abort();
    }
    if (L)
        lua_close(L);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const formats[] = { "refractium", "rpxy", "portmux", "sslh", "refract", NULL };
    char *in, *out = NULL, *why = NULL;
    size_t len = 0;
    if (!size || !(in = malloc(size)))
        return 0;
    memcpy(in, data + 1, size - 1);
    in[size - 1] = 0;
    FILE *f = open_memstream(&out, &len);
    if (f && !memmem(in, size, "include", 7)) { // other files are not for a fuzzer to open
        int code = rx_script_import("fuzz", in, size - 1, formats[data[0] % 6], f, &why);
        fflush(f);
        if (code ? !why : !len)
            abort();
        if (code && (strstr(why, ".lua:") || strchr(why, '\n'))) { // a mistake in the importer itself
            fprintf(stderr, "%s\n", why);
            abort();
        }
        if (!code)
            check_lua(out, len);
    }
    if (f)
        fclose(f);
    free(out);
    free(why);
    free(in);
    return 0;
}
