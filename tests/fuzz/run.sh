#!/bin/sh
# SPDX-License-Identifier: MIT
# Fuzzes: sh tests/fuzz/run.sh [SECONDS] [HARNESS…]. Every tests/fuzz/fuzz_*.c (or those named) is built with clang, given
# the findings of former times again (tests/fuzz/regress/HARNESS/), then fuzzed for so many seconds. Corpora grow in
# build/fuzz-corpus/HARNESS, seeded from tests/corpus. A finding is kept in build/fuzz-findings and makes the exit code 1.
set -u
cd "$(dirname "$0")/../.." || exit 1

seconds=${1:-60}
[ $# -gt 0 ] && shift
case $seconds in *[!0-9]* | '') echo "usage: tests/fuzz/run.sh [SECONDS] [HARNESS...]" >&2 && exit 1 ;; esac
if [ $# = 0 ]; then
    for file in tests/fuzz/fuzz_*.c; do
        name=${file##*/}
        set -- "$@" "${name%.c}"
    done
fi
limit=-max_total_time=$seconds
[ "$seconds" -gt 0 ] || limit=-runs=0 # the corpora alone
found=0
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
trap 'exit 1' HUP INT TERM
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1

# Captures of one protocol, as they are.
seed_protocol() { # seed_protocol HARNESS CORPUS
    for dir in tests/corpus/"${1#fuzz_}" tests/corpus/"${1#fuzz_}"2; do
        [ -d "$dir" ] && cp -n "$dir"/*.bin "$2" 2>/dev/null
    done
}

# Captures of everything, behind a config each: its length, then its bytes (see fuzz_decide.c).
seed_decide() {
    k=0
    for file in tests/corpus/*/*.bin; do
        k=$((k + 1))
        name=$2/$(echo "$file" | tr '/' '-')
        [ -e "$name" ] && continue
        # shellcheck disable=SC2059 # the octal numbers are meant to be read by printf
        {
            case $((k % 4)) in
            0) printf '\010\001\000\003\001\000\000\001\000' ;;
            1) printf '\014\000\001\004\001\050\000\001\000\001\002\000\000' ;;
            2) printf '\020\001\001\007\001\061\000\002\003\000\000\001\052\000\001\002\001' ;;
            3) printf '\030\002\000\007\001\057\002\001\003\005\001\060\001\001\002\000\001\055\000\001\000\000\001\001\002' ;;
            esac
            cat "$file"
        } >"$name"
    done
}

seed() { # seed HARNESS CORPUS
    case $1 in
    fuzz_proxyproto) cp -n tests/corpus/haproxy-proxy/*.bin "$2" 2>/dev/null ;;
    fuzz_datagram) cp -n tests/corpus/*/*.d? "$2" 2>/dev/null ;;
    fuzz_quic)
        # An Initial that holds a hello's CRYPTO frame, then its two halves in two datagrams.
        printf '\040\000\007\000\006\000\003\001\000\000' >"$2/seed-1"
        printf '\040\000\007\001\006\002\003\001\000\000\000\007\000\006\000\002\001\000\000' >"$2/seed-2"
        ;;
    fuzz_decide) seed_decide "$1" "$2" ;;
    fuzz_addr)
        printf '*:80-90' >"$2/seed-1"
        printf '[2001:db8::1]:443' >"$2/seed-2"
        printf 'unix:/run/x' >"$2/seed-3"
        printf '10.0.0.0/8' >"$2/seed-4"
        printf 'name.test:80' >"$2/seed-5"
        printf '2001:db8::/32' >"$2/seed-6"
        ;;
    fuzz_import)
        for pair in 0refractium.toml 1rpxy.toml 2portmux.yaml 3sslh.cfg 4refract.service; do
            name=${pair#?}
            { printf '%s' "${pair%"$name"}" && cat "tests/import/$name"; } >"$2/seed-$name"
        done
        ;;
    fuzz_admin)
        printf '{"cmd":"top","sort":"rate","filter":"ssh","limit":50}' >"$2/seed-1"
        printf '{"cmd":"kill","conn":"1a00"}' >"$2/seed-2"
        printf '{"cmd":"log","level":"debug"}' >"$2/seed-3"
        printf '{"cmd":"ban","ip":"2001:db8::/32","ttl_ms":60000}' >"$2/seed-4"
        ;;
    fuzz_record)
        printf '%s' '{"ms":1,"port":80,"len":9,"from":"192.0.2.1","ended":"open","protocol":"tls","route":null,"to":"web","listen":"a:1","bytes":"1603"}' >"$2/seed-1"
        ;;
    fuzz_gate)
        printf '[::1]:9180\na.test,b.test\nBearer secret\nsecret' >"$2/seed-1"
        printf 'localhost:1\n\nBasic eDpzZWNyZXQ=\nsecret' >"$2/seed-2"
        printf '<script>a</script><style>b</style>' >"$2/seed-3"
        ;;
    fuzz_roam) for kind in quic wireguard openvpn; do seed_protocol "fuzz_$kind" "$2"; done ;;
    fuzz_names) printf 'a.test\n*.test\n*.b.A.test.\n\na.test\nx.TEST.\ny.b.a.test\n' >"$2/seed-1" ;;
    *) seed_protocol "$1" "$2" ;;
    esac
}

report() { # report HARNESS: shows what was found
    found=$((found + 1))
    echo "  $1: FOUND"
    grep -v '^#[0-9]*' "$log" | tail -n 60 | sed 's/^/    | /'
}

mkdir -p build/fuzz-findings
objects=
for harness; do objects="$objects build/fuzz/$harness"; done
# shellcheck disable=SC2086 # a list of words
make -s -j "$(nproc 2>/dev/null || echo 2)" MODE=fuzz $objects >"$log" 2>&1 || {
    cat "$log"
    exit 1
}

for harness; do
    corpus=build/fuzz-corpus/$harness
    mkdir -p "$corpus"
    seed "$harness" "$corpus"
    for file in tests/fuzz/regress/"$harness"/*; do
        [ -f "$file" ] || continue
        build/fuzz/"$harness" -timeout=10 "$file" >"$log" 2>&1 || report "$harness $file"
    done
    if build/fuzz/"$harness" "$limit" -timeout=10 -rss_limit_mb=2048 -max_len=8192 \
        -print_final_stats=1 -artifact_prefix=build/fuzz-findings/"$harness"- "$corpus" >"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        echo "  $harness: ${runs:-0} runs in ${seconds} s, nothing found"
    else
        report "$harness"
    fi
done
[ "$found" = 0 ]
