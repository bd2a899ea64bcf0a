#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs what is missing from Debian 12 to build Refractium, and to test it. Says what it installs; asks nothing
# and does nothing when all is there.
#
#   packaging/deps.sh build     what compiling and running need
#   packaging/deps.sh [test]    that, and the programs the tests talk to
#
# Some of the test programs are daemons. They are installed without recommended packages and without being started
# (a temporary policy-rc.d says no, unless the machine has one of its own), and where systemd runs, the units that
# came with them are disabled again, so that no server stays behind on this machine.
set -eu

BUILD="gcc make pkg-config luajit libluajit-5.1-dev libev-dev libssl-dev libpcre2-dev libpcap-dev libjansson-dev libncurses-dev
       libyaml-dev libconfig-dev libmicrohttpd-dev libc-ares-dev libsystemd-dev libhiredis-dev libseccomp-dev"
TEST="libcmocka-dev lua-busted lua-cjson lua-check python3-pytest python3-pytest-xdist procps iproute2 ca-certificates
      curl openssl openssh-client openssh-server openssh-sftp-server nginx-light nghttp2-client nghttp2-server
      redis-server redis-tools postgresql-15 postgresql-client-15 bind9-dnsutils dnsmasq-base microsocks
      haproxy mosquitto mosquitto-clients swaks python3-aiosmtpd python3-prometheus-client
      dpkg-dev lintian mandoc gcovr
      ngtcp2-client ngtcp2-server wireguard-go wireguard-tools openvpn dnsperf"
POLICY=/usr/sbin/policy-rc.d
BUILD="$BUILD libnftables-dev libmnl-dev libnetfilter-conntrack-dev" # unless it is built with WITH_GUARD=0
UNITS="ssh nginx haproxy redis-server postgresql mosquitto microsocks openvpn"

missing() {
    for package in "$@"; do
        case $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) in
        installed) ;;
        *) printf '%s ' "$package" ;;
        esac
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# What is enabled before must stay so; prints those that are.
enabled_units() {
    [ -d /run/systemd/system ] || return 0
    for unit in $UNITS; do
        systemctl is-enabled --quiet "$unit" 2>/dev/null && printf '%s ' "$unit"
    done
    return 0
}

disable_new_units() {
    [ -d /run/systemd/system ] || return 0
    for unit in $UNITS; do
        case " $1" in
        *" $unit "*) continue ;;
        esac
        if systemctl is-enabled --quiet "$unit" 2>/dev/null; then
            echo "deps: disabling $unit: the tests start their own"
            as_root systemctl disable --quiet "$unit" || true
        fi
    done
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1
}

what=${1:-test}
case $what in
build) wanted=$BUILD ;;
test) wanted="$BUILD $TEST" ;;
*)
    echo "usage: deps.sh [build|test]" >&2
    exit 1
    ;;
esac

if ! command -v dpkg-query >/dev/null; then
    echo "deps: this is no Debian; needed are (by Debian's names):" $wanted >&2
    exit 0
fi
# shellcheck disable=SC2086 # lists of words
need=$(missing $wanted)
[ -n "$need" ] || exit 0

if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    echo "deps: missing, and neither root nor sudo is at hand. As root: apt-get install $need" >&2
    exit 1
fi

echo "deps: installing from Debian, without starting anything: $need"
before=$(enabled_units)
log=$(mktemp)
made_policy=
clean_up() {
    if [ -n "$made_policy" ]; then
        as_root rm -f "$POLICY"
    fi
    rm -f "$log"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM
if [ ! -e "$POLICY" ]; then
    made_policy=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
    as_root chmod 755 "$POLICY"
fi
# The package lists may be fresh enough; fetch them only when they are not.
# shellcheck disable=SC2086
if ! apt_install $need; then
    as_root apt-get update -qq >"$log" 2>&1 || true
    if ! apt_install $need; then
        cat "$log" >&2
        echo "deps: apt-get could not install: $need" >&2
        exit 1
    fi
fi
disable_new_units "$before"
