// SPDX-License-Identifier: MIT
#include "proto/list.h"

#define FUZZ_PROTO rx_proto_vnc
#include "fuzz_ident.h"
