// SPDX-License-Identifier: MIT
// What the process may no longer ask of the kernel once it serves, so that who takes it over has little of it.
#pragma once

#include "conf.h"

// Before there are threads and after `user` and the logs: system calls a multiplexer has no use for are gone (seccomp),
// and programs run only from where this one and the system's lie (landlock); with RX_SANDBOX_STRICT files can be written only in the
// directories that the config names, and read only there, where the config and followed logs are, and in the system's.
// What the kernel does not have is left out and said. Threads and programs started later have it, too.
void rx_sandbox_enter(const struct rx_conf *conf);
// A later config is served: what it wants to write where nothing can be written any more is said.
void rx_sandbox_advise(const struct rx_conf *conf);

// For sandbox.c: from now on, for this thread and those it starts. 0 or -errno.
int rx_sandbox_calls(void);
