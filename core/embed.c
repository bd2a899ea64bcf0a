// SPDX-License-Identifier: MIT
// The list comes from the Makefile (embed_list.h: one X(symbol, name, path) per file), so that a new Lua module is
// embedded by existing. Source is embedded, not bytecode: tracebacks keep their lines and no compiler and library
// versions have to agree.
#include "embed.h"

#include <string.h>

#define X(symbol, name, path)                                                                                \
    __asm__(".section .rodata\n"                                                                             \
            ".balign 8\n"                                                                                    \
            "rx_embed_" #symbol ":\n"                                                                        \
            ".incbin \"" path "\"\n"                                                                         \
            "rx_embed_" #symbol "_end:\n"                                                                    \
            ".byte 0\n"                                                                                      \
            ".previous\n");                                                                                  \
    extern const char rx_embed_##symbol[], rx_embed_##symbol##_end[];
#include "embed_list.h"
#undef X

#define X(symbol, name, path) { name, rx_embed_##symbol, rx_embed_##symbol##_end },
const struct rx_embed rx_embeds[] = {
#include "embed_list.h"
};
#undef X

const unsigned rx_n_embeds = RX_COUNT(rx_embeds);

const struct rx_embed *rx_embed_find(const char *name)
{
    for (unsigned i = 0; i < rx_n_embeds; i++)
        if (!strcmp(rx_embeds[i].name, name))
            return &rx_embeds[i];
    return NULL;
}
