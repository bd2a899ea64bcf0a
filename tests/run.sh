#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs the tests: sh tests/run.sh [unit|lua|e2e|asan|tsan|all]. Builds what it needs. Quiet about what passes; of what
# fails the whole output. The last line is "N passed, N failed"; the exit code is 1 if anything failed or nothing ran.
set -u
cd "$(dirname "$0")/.." || exit 1

python=/usr/bin/python3 # Debian's: its pytest is there
[ -x "$python" ] || python=python3
jobs=$(nproc 2>/dev/null || echo 2)
passed=0 failed=0
export PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# tally NAME PASSED FAILED SECONDS LOG: adds, says one line, and shows the log of what failed.
tally() {
    passed=$((passed + $2))
    failed=$((failed + $3))
    if [ "$3" = 0 ]; then
        printf '  %-34s %5d passed  %4ds\n' "$1" "$2" "$4"
    else
        printf '  %-34s %5d passed, %d FAILED  %4ds\n' "$1" "$2" "$3" "$4"
        sed 's/^/    | /' "$5"
    fi
}

# one NAME COMMAND…: passes when the command does.
one() {
    name=$1 since=$(date +%s)
    shift
    if "$@" >"$work/one.log" 2>&1; then
        tally "$name" 1 0 $(($(date +%s) - since)) "$work/one.log"
    else
        tally "$name" 0 1 $(($(date +%s) - since)) "$work/one.log"
        return 1
    fi
}

# build NAME ARGUMENTS…: says nothing when it works; a build that fails is one failure.
build() {
    name=$1 since=$(date +%s)
    shift
    if ! make -s -j "$jobs" "$@" >"$work/build.log" 2>&1; then
        tally "$name" 0 1 $(($(date +%s) - since)) "$work/build.log"
        return 1
    fi
}

# count FILE WORD: the number before a word in pytest's last lines, 0 when there is none.
count() {
    tail -n 1 "$1" | grep -o "[0-9][0-9]* $2" | awk '{ n += $1 } END { print n + 0 }'
}

unit() { # unit MODE: cmocka programs
    mode=$1
    build "build unit tests ($mode)" MODE="$mode" unit-bins || return
    for program in "build/$mode/tests"/test_*; do
        [ -x "$program" ] || continue
        [ -f "tests/unit/${program##*/}.c" ] || continue # of a test that is no more
        since=$(date +%s)
        CMOCKA_MESSAGE_OUTPUT=TAP timeout 300 "$program" >"$work/unit.log" 2>&1
        code=$?
        good=$(grep -c '^ok ' "$work/unit.log")
        bad=$(grep -c '^not ok ' "$work/unit.log")
        # It may have ended before its last test, or a sanitizer spoke after it.
        [ "$code" != 0 ] && [ "$bad" = 0 ] && bad=1 && echo "exit code $code" >>"$work/unit.log"
        grep -v '^ok ' "$work/unit.log" >"$work/unit.bad"
        tally "${program##*/} ($mode)" "$good" "$bad" $(($(date +%s) - since)) "$work/unit.bad"
    done
}

lua() {
    since=$(date +%s)
    timeout 300 busted --lua=/usr/bin/luajit --output=TAP >"$work/lua.log" 2>&1
    code=$?
    good=$(grep -c '^ok ' "$work/lua.log")
    bad=$(grep -c '^not ok ' "$work/lua.log")
    [ "$code" != 0 ] && [ "$bad" = 0 ] && bad=1
    grep -v '^ok ' "$work/lua.log" >"$work/lua.bad"
    tally "busted" "$good" "$bad" $(($(date +%s) - since)) "$work/lua.bad"
    # shellcheck disable=SC2046 # a list of words
    one "luacheck" luacheck --quiet $(lua_paths)
}

lua_paths() {
    for path in lua scripts tests/lua refractium.lua; do
        [ -d "$path" ] && [ -z "$(find "$path" -name '*.lua' | head -n 1)" ] && continue
        [ -e "$path" ] && printf '%s ' "$path"
    done
}

pytests() { # pytests NAME BINARY SANITIZER SCALE ARGUMENTS…
    name=$1 since=$(date +%s)
    binary=$2 sanitizer=$3 scale=$4
    shift 4
    # Most tests wait for something: with a few files at a time two thirds of the machine were idle.
    "$python" -c 'import xdist' 2>/dev/null && set -- -n $((jobs * 5 / 2)) --dist loadfile "$@"
    env RX_BIN="$binary" RX_SANITIZER="$sanitizer" RX_SCALE="$scale" timeout -k 20 "${E2E_SECONDS:-600}" \
        "$python" -m pytest -q -rs tests/e2e "$@" >"$work/e2e.log" 2>&1
    code=$?
    good=$(count "$work/e2e.log" passed)
    bad=$(($(count "$work/e2e.log" failed) + $(count "$work/e2e.log" error)))
    [ "$code" != 0 ] && [ "$bad" = 0 ] && bad=1 && echo "exit code $code" >>"$work/e2e.log"
    tally "$name" "$good" "$bad" $(($(date +%s) - since)) "$work/e2e.log"
    sed -n 's/^SKIPPED/    skipped/p' "$work/e2e.log"
}

e2e() {
    build "build" all || return
    pytests "end to end" build/refractium none "${RX_SCALE:-1}"
}

docs_are_fresh() {
    cp docs/reference/config.md "$work/config.md" && cp lua/refractium/meta/refractium.lua "$work/meta.lua" &&
        make -s docs && diff "$work/config.md" docs/reference/config.md &&
        diff "$work/meta.lua" lua/refractium/meta/refractium.lua
}

sources() {
    one "headers compile on their own" make -s check-headers
    one "generated documents are fresh" docs_are_fresh
}

asan() {
    export ASAN_OPTIONS=detect_leaks=1:exitcode=99:quarantine_size_mb=32
    export UBSAN_OPTIONS=print_stacktrace=1
    unit asan
    build "build (asan)" MODE=asan all || return
    # Most of their time is a browser's, or that of functions which may run for as long as they may.
    set --
    for name in dashboard doubt import quick_forwards runaways; do
        set -- "$@" "--ignore=tests/e2e/test_$name.py"
    done
    pytests "end to end (asan)" build/asan/refractium asan "${RX_SCALE:-0.02}" -m sanitize "$@"
}

tsan() {
    build "build (tsan)" MODE=tsan all || return
    # Not again what one thread does alone: there is nothing to race. The others' tests go through the same code.
    # systemd_sockets is out for another reason, a race that is known and open: a socket passed by systemd stays in a
    # worker's epoll after a reload has left it, under a number that another thread may have by then.
    set --
    for name in access_log actions clients_services clients_ssh clients_web commands corpus dashboard descriptors doubt \
        explain_functions first_bytes half_close import listen logs privileges proxy_protocol quick_forwards \
        regular_expressions runaways scripts service socket_options systemd_sockets; do
        set -- "$@" "--ignore=tests/e2e/test_$name.py"
    done
    pytests "end to end (tsan)" build/tsan/refractium tsan "${RX_SCALE:-0.02}" -m sanitize "$@"
}

case ${1:-all} in
unit) unit release ;;
lua) lua ;;
e2e) e2e ;;
asan) asan ;;
tsan) tsan ;;
all)
    sources
    unit release
    lua
    e2e
    asan
    tsan
    ;;
*)
    echo "usage: tests/run.sh [unit|lua|e2e|asan|tsan|all]" >&2
    exit 1
    ;;
esac

echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
