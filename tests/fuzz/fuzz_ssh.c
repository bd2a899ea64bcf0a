// SPDX-License-Identifier: MIT
#include "proto/list.h"

#define FUZZ_PROTOS &rx_proto_ssh, &rx_proto_sftp
#include "fuzz_ident.h"
