// SPDX-License-Identifier: MIT
// Every built-in identifier, one per protocol; core/proto.c puts them in order.
#pragma once

#include "proto.h"

extern const struct rx_proto rx_proto_tls;
extern const struct rx_proto rx_proto_http;
extern const struct rx_proto rx_proto_ssh;
extern const struct rx_proto rx_proto_sftp;
extern const struct rx_proto rx_proto_dns;
extern const struct rx_proto rx_proto_ftp;
extern const struct rx_proto rx_proto_socks4;
extern const struct rx_proto rx_proto_socks5;
extern const struct rx_proto rx_proto_openvpn;
extern const struct rx_proto rx_proto_xmpp;
extern const struct rx_proto rx_proto_postgres;
extern const struct rx_proto rx_proto_mysql;
extern const struct rx_proto rx_proto_redis;
extern const struct rx_proto rx_proto_mqtt;
extern const struct rx_proto rx_proto_rdp;
extern const struct rx_proto rx_proto_smtp;
extern const struct rx_proto rx_proto_imap;
extern const struct rx_proto rx_proto_pop3;
extern const struct rx_proto rx_proto_vnc;
extern const struct rx_proto rx_proto_quic;
extern const struct rx_proto rx_proto_wireguard;
extern const struct rx_proto rx_proto_dtls;
extern const struct rx_proto rx_proto_stun;
extern const struct rx_proto rx_proto_ntp;
extern const struct rx_proto rx_proto_rtp;
extern const struct rx_proto rx_proto_coap;
