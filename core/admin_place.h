// SPDX-License-Identifier: MIT
// Where the admin socket is, and its file.
#pragma once

#include "status.h"

// An open admin socket.
struct rx_admin_place {
    struct rx_bind bind;
    char path[108];
    int fd; // -1: none; owned
};

// The path for this instance; 0, 1 when the config wants none, or negative errno.
int rx_admin_place_choose(struct rx_admin_place *p, const struct rx_instance *i);
// Makes the socket, readable by its owner alone; 0 or negative errno. A file nobody serves is replaced.
int rx_admin_place_open(struct rx_admin_place *p);
void rx_admin_place_close(struct rx_admin_place *p);
