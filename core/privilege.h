// SPDX-License-Identifier: MIT
// Becoming an unprivileged user.
#pragma once

#include "conf.h"

// Becomes the `user` and `group` of the config for good, before any thread is there and anything is opened or bound.
// CAP_NET_BIND_SERVICE stays, so that this and later configs may have ports below 1024; the directory of the admin
// socket is made and given to the user. 0 or -1, and said.
int rx_privilege_drop(const struct rx_conf *conf);
