// SPDX-License-Identifier: MIT
// Where lines go that do not go to a standard stream: files that are opened anew when they were rotated, the journal,
// syslog. Nothing here waits: what cannot be taken now is refused.
#pragma once

#include "base.h"

// A file to append to, made if need be; its descriptor, or -errno. Closed by rx_log_file_close.
int rx_log_file_open(const char *path);
void rx_log_file_close(int fd);
// Opens those anew whose path names another file by now, or no file; with `must` all. The descriptors stay the same
// numbers, so that whoever writes just goes on. One thread at a time.
void rx_log_files_look(bool must);
bool rx_log_files_any(void);

// One field of a journal entry. The value may be anything.
struct rx_log_field {
    const char *key, *value;
};

// 0 or -errno: nobody is there, or he cannot take it now. From any thread. Priorities are those of syslog(3).
int rx_log_journal(const struct rx_log_field *fields, unsigned n);
int rx_log_syslog(int priority, const char *text);
