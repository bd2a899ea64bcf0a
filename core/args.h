// SPDX-License-Identifier: MIT
// The command line as typed. Values stay strings: lua/refractium/forward.lua checks them against the same schema
// as the config, so that both give the same errors.
#pragma once

#include "base.h"

enum rx_command { RX_CMD_RUN = 0, RX_CMD_INIT, RX_CMD_CHECK, RX_CMD_EXPLAIN, RX_CMD_IMPORT, RX_CMD_RECORD,
                  RX_CMD_REPLAY, RX_CMD_GUARD,
                  // to a running instance (ctl.h)
                  RX_CMD_STATUS, RX_CMD_TOP, RX_CMD_RELOAD, RX_CMD_UPGRADE, RX_CMD_KILL, RX_CMD_LOG,
                  RX_CMD_BAN, RX_CMD_UNBAN, RX_CMD_DRAIN, RX_CMD_UNDRAIN };

struct rx_args {
    enum rx_command command;
    char **argv;      // as main got it
    const char *word; // the command as typed; "" for none
    const char *only; // "tcp" or "udp": serve that transport alone; NULL: both
    const char *bind, *port, *config;
    bool is_bind_typed, is_port_typed, is_config_typed;
    const char **forward;
    unsigned n_forward;
    const char *workers, *peek_timeout, *peek_buffer, *max_connections, *log_format;
    bool no_hot_reload, is_debug, is_quiet, is_json;

    // explain
    const char **files;
    unsigned n_files;
    bool is_hex, is_pcap, is_udp, is_builtin;
    const char *segments, *from, *listener, *at;
    // to a running instance
    const char *admin;
    // init
    bool is_forced;
    // import
    const char *format;
    // record
    const char *record;
    struct {
        const char *proto, *dport, *window, *timeout, *access_log, *block_log, *max_ips, *keep;
        bool is_dry;
    } guard;
};

// Fills `a`. Returns -1 to go on, else the exit code (0 after --help or --version, 1 after a message on stderr).
int rx_args_parse(struct rx_args *a, int argc, char **argv);
void rx_args_free(struct rx_args *a);
