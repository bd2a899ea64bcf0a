// SPDX-License-Identifier: MIT
// Files carried inside the binary: the Lua runtime, the text of abi.h, the default refractium.lua.
#pragma once

#include "base.h"

struct rx_embed {
    const char *name; // "refractium/load.lua", "abi.h", "refractium.lua"
    const char *text, *end; // a NUL stands at `end`
};

extern const struct rx_embed rx_embeds[];
extern const unsigned rx_n_embeds;

const struct rx_embed *rx_embed_find(const char *name);
