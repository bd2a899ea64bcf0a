// SPDX-License-Identifier: MIT
// Enters: identification strings. Leaves: that core/proto/ssh.c tells them, their software, and the clients
// that only move files, and keeps the contract at every prefix of all of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "identcheck.h"
#include "proto/list.h"

static struct ident_result ask_n(const struct rx_proto *proto, const char *p, size_t n)
{
    struct ident_result r;
    const char *broken = ident_law(proto, p, (uint32_t)n, UINT32_MAX, &r);
    if (broken)
        fail_msg("'%s': %s", p, broken);
    return r;
}

static struct ident_result ask(const struct rx_proto *proto, const char *p)
{
    return ask_n(proto, p, strlen(p));
}

// NULL: absent, for good
static void expect(const char *line, const char *software, uint16_t version)
{
    struct ident_result r = ask(&rx_proto_ssh, line);
    if (r.verdict != RX_MATCH || r.f.version != version)
        fail_msg("'%s': verdict %d, version %04x", line, (int)r.verdict, r.f.version);
    assert_int_equal(r.f.pending, 0);
    if (software ? !ident_is(&r, RX_FACT_SOFTWARE, software) : r.f.have & RX_FACT_SOFTWARE)
        fail_msg("'%s': software is not '%s'", line, software ? software : "absent");
}

static void reads_versions_and_software(void **state)
{
    (void)state;
    expect("SSH-2.0-OpenSSH_9.2p1\r\n", "OpenSSH_9.2p1", 0x0200);
    expect("SSH-2.0-Foo_1.0\n", "Foo_1.0", 0x0200);
    expect("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\0\0\1", "OpenSSH_9.2p1 Debian-2", 0x0200);
    expect("SSH-1.99-OpenSSH_3.4p1\r\n", "OpenSSH_3.4p1", 0x0163);
    expect("SSH-1.5-OpenSSH_1.2.3\n", "OpenSSH_1.2.3", 0x0105);
    expect("SSH-10.123-x\n", "x", 0x0a7b);
    expect("SSH-999.999-x\n", "x", 0xffff);
    expect("SSH-2.0--\n", "-", 0x0200);
}

static void matches_as_soon_as_the_version_is_there(void **state)
{
    (void)state;
    struct ident_result r = ask(&rx_proto_ssh, "SSH-2.0-");
    assert_int_equal(r.verdict, RX_MATCH);
    assert_int_equal(r.f.pending, RX_FACT_SOFTWARE);
    r = ident_ask(&rx_proto_ssh, "SSH-2.0-", 8, 0);
    assert_int_equal(r.verdict, RX_MATCH);
    assert_int_equal(r.f.pending, 0);
    static const char *const prefixes[] = { "", "S", "SSH", "SSH-", "SSH-2", "SSH-2.", "SSH-1.99" };
    for (unsigned i = 0; i < RX_COUNT(prefixes); i++) {
        assert_int_equal(ask(&rx_proto_ssh, prefixes[i]).verdict, RX_MORE);
        assert_int_equal(ask(&rx_proto_sftp, prefixes[i]).verdict, RX_MORE);
    }
}

static void has_no_software_in_a_broken_line(void **state)
{
    (void)state;
    expect("SSH-2.0-\r\n", NULL, 0x0200);
    expect("SSH-2.0-\n", NULL, 0x0200);
    expect("SSH-2.0-a\tb\r\n", NULL, 0x0200);
    expect("SSH-2.0-a\rb\r\n", NULL, 0x0200);
    expect("SSH-2.0-a\x7f\r\n", NULL, 0x0200);
    expect("SSH-2.0-a\xc3\xbc\r\n", NULL, 0x0200);
    struct ident_result r = ask_n(&rx_proto_ssh, "SSH-2.0-Foo\0Bar\r\n", 17);
    assert_int_equal(r.verdict, RX_MATCH);
    assert_int_equal(r.f.have & RX_FACT_SOFTWARE, 0);
    assert_int_equal(r.f.pending, 0);
}

static void ends_the_line_at_255_bytes(void **state)
{
    (void)state;
    for (size_t n = 250; n <= 260; n++) {
        char line[300] = "SSH-2.0-";
        memset(line + 8, 'x', n - 8);
        line[n - 2] = '\r';
        line[n - 1] = '\n';
        struct ident_result r = ask_n(&rx_proto_ssh, line, n);
        assert_int_equal(r.verdict, RX_MATCH);
        assert_int_equal(r.f.have & RX_FACT_SOFTWARE, n <= 255 ? RX_FACT_SOFTWARE : 0);
        assert_int_equal(r.f.pending, 0);
        memcpy(line + 8, "WinSCP_", 7);
        assert_int_equal(ask_n(&rx_proto_sftp, line, n).verdict, n <= 255 ? RX_MATCH : RX_NO);
    }
}

static void refuses_what_is_not_ssh(void **state)
{
    (void)state;
    static const char *const others[] = { "ssh-2.0-x\r\n", "SSh-2.0-x", "STAT\r\n", "X", "SSH 2.0" };
    for (unsigned i = 0; i < RX_COUNT(others); i++) {
        struct ident_result r = ask(&rx_proto_ssh, others[i]);
        assert_int_equal(r.verdict, RX_NO);
        assert_int_equal(r.f.note, RX_NOTE_NONE);
        assert_int_equal(ask(&rx_proto_sftp, others[i]).verdict, RX_NO);
    }
    static const char *const broken[] = { "SSH--",     "SSH-2-x",      "SSH-2.-x",   "SSH-.0-x",
                                          "SSH-2.0 x", "SSH-1234.0-x", "SSH-2.0000", "SSH-a" };
    for (unsigned i = 0; i < RX_COUNT(broken); i++) {
        struct ident_result r = ask(&rx_proto_ssh, broken[i]);
        assert_int_equal(r.verdict, RX_NO);
        assert_int_equal(r.f.note, RX_NOTE_PROTO_INVALID);
    }
}

static void tells_file_transfer_clients(void **state)
{
    (void)state;
    static const char *const moves_files[] = {
        "FileZilla_3.68.1",
        "PuTTYFileZilla_1.0.0",
        "WinSCP_release_5.19",
        "Cyberduck/6.7.1.28683 (Mac OS X/10.13.6)",
        "WS_FTP-12.9.0-0",
        "SecureFX_8.1.0",
        "rclone/v1.69.0",
        "filezilla_3",
        "8.49 FlowSsh: Bitvise sftpc",
        "JSCAPE",
        "CuteFTP 9",
        "Transmit5",
        "SFTPPlus_4",
        "x_sftp",
    };
    static const char *const others[] = {
        "OpenSSH_9.2p1 Debian-2+deb12u10",
        "PuTTY_Release_0.78",
        "libssh2_1.10.0",
        "paramiko_2.12.0",
        "Go",
        "x-sft",
        "dropbear_2022.83",
        "AsyncSSH_2.13",
        "JSCH-0.1.54",
        "xWinSCP",
        "FileZ",
        "SecureCRT_9.1",
        "S",
    };
    for (unsigned i = 0; i < RX_COUNT(moves_files) + RX_COUNT(others); i++) {
        bool is_other = i >= RX_COUNT(moves_files);
        const char *software = is_other ? others[i - RX_COUNT(moves_files)] : moves_files[i];
        char line[256];
        snprintf(line, sizeof line, "SSH-2.0-%s\r\n", software);
        expect(line, software, 0x0200);
        struct ident_result r = ask(&rx_proto_sftp, line);
        if (r.verdict != (is_other ? RX_NO : RX_MATCH))
            fail_msg("'%s': verdict %d", line, (int)r.verdict);
        if (!is_other)
            assert_true(ident_is(&r, RX_FACT_SOFTWARE, software));
        line[strlen(line) - 1] = 0;
        assert_int_equal(ask(&rx_proto_sftp, line).verdict, RX_MORE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_versions_and_software),      cmocka_unit_test(matches_as_soon_as_the_version_is_there),
        cmocka_unit_test(has_no_software_in_a_broken_line), cmocka_unit_test(ends_the_line_at_255_bytes),
        cmocka_unit_test(refuses_what_is_not_ssh),          cmocka_unit_test(tells_file_transfer_clients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
