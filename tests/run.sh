#!/usr/bin/env bash
# Builds everything once and runs every test.
#
#   bash tests/run.sh [TARGET]...
#
# Without arguments: all of them; else only the named ones, "lib" or the name of a file in tests/. Tests that need what the
# machine lacks (/dev/kvm, a package) say "skipped: …"; with CI=true they fail instead. Each target runs with its own
# folders for HOME, XDG and TMPDIR, the application's own tests on a display and a session bus of their own; each script of ui_atspi
# makes those for itself. What a test leaves behind (a process, a file) counts as a failure.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

minutes_per_target=20
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lodge-test
venv=$cache/venv
scratch=$(mktemp -d /tmp/lodge-test.XXXXXX)             # short: names of Unix sockets have at most 107 bytes
passed=0 failed=0 ignored=0 troubles=()

trouble() { failed=$((failed + 1)); troubles+=("$*"); printf '%s\n' "$*"; }

# The processes that this run has started and that still live: they carry its mark in their environment.
left_over() {
    local environment
    for environment in /proc/[0-9]*/environ; do
        grep -qsz "^LODGE_TEST_RUN=$scratch$" "$environment" && basename "$(dirname "$environment")"
    done
}

end() {
    local process
    for process in $(left_over); do kill -KILL "$process" 2>/dev/null; done
    rm -rf "$scratch"
}
trap end EXIT
trap 'exit 130' INT TERM

# One line a test program: its kind ("lib", "bin", "test"), its name, its path; separated by tabs.
test_programs() {
    cargo test --locked --no-run --message-format=json-render-diagnostics </dev/null >"$scratch/build.json" || return 1
    /usr/bin/python3 - "$scratch/build.json" <<'PYTHON'
import json, sys
for line in open(sys.argv[1]):
    message = json.loads(line)
    if message.get("reason") == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
        print(message["target"]["kind"][0], message["target"]["name"], message["executable"], sep="\t")
PYTHON
}

# Runs one test program: run_target LABEL KIND PROGRAM
run_target() {
    local label=$1 kind=$2 program=$3 home=$scratch/$1 log=$scratch/$1.log threads display=() status counts good bad left
    mkdir -p "$home"/{home,config,data,cache,state,run,tmp}
    chmod 700 "$home/run"
    threads=$(nproc)
    case $kind:$label in
        bin:lodge)
            threads=1
            display=(dbus-run-session -- xvfb-run -a -s "-screen 0 1600x1000x24") ;;
        lib:*) ;;
        *) [ "$threads" -le 2 ] || threads=2 ;;         # each may run a guest, and a guest's firmware keeps a core busy
    esac
    printf '\n== %s\n' "$label"
    env HOME="$home/home" XDG_CONFIG_HOME="$home/config" XDG_DATA_HOME="$home/data" XDG_CACHE_HOME="$home/cache" \
        XDG_STATE_HOME="$home/state" XDG_RUNTIME_DIR="$home/run" TMPDIR="$home/tmp" \
        LODGE_TEST_RUN="$scratch" LODGE_TEST_VENV="$venv" LODGE_TEST_CACHE="$cache" LANG=C.UTF-8 LC_ALL=C.UTF-8 \
        GSK_RENDERER=cairo GSETTINGS_BACKEND=memory GTK_A11Y=atspi RUST_BACKTRACE=1 \
        timeout --kill-after=10 "${minutes_per_target}m" "${display[@]}" "$program" --show-output --test-threads="$threads" \
        </dev/null 2>&1 | tee "$log" | grep --line-buffered -E '^test |skipped: '
    status=${PIPESTATUS[0]}
    counts=$(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed; \([0-9]*\) ignored.*/\1 \2 \3/p' "$log" | tail -n 1)
    if [ -n "$counts" ]; then
        read -r good bad left <<<"$counts"
        passed=$((passed + good)) failed=$((failed + bad)) ignored=$((ignored + left))
        [ "$bad" = 0 ] || { troubles+=("$label: $bad failed"); sed -n '/^failures:$/,$p' "$log"; }
    fi
    if [ -z "$counts" ] || { [ "$status" != 0 ] && [ "$bad" = 0 ]; }; then
        tail -n 40 "$log"
        trouble "$label: ended with status $status (124: after $minutes_per_target minutes)"
    fi
    clean_behind "$label"
}

# A process or a file that a target leaves behind is a failure of its own.
clean_behind() {
    local label=$1 deadline=$((SECONDS + 10)) process left
    while left=$(left_over); [ -n "$left" ] && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.2; done
    for process in $left; do
        trouble "$label left a process behind: $process $(tr '\0' ' ' <"/proc/$process/cmdline" 2>/dev/null)"
        kill -KILL "$process" 2>/dev/null
    done
    left=$(find "$scratch/$label"/tmp "$scratch/$label"/run -mindepth 1 \
        -not -path '*/run/dconf*' -not -path '*/run/at-spi*' -not -path '*/run/dbus-1*' -not -path '*/run/doc*' \
        -not -path '*/run/gvfs*' 2>/dev/null | head -n 5)
    [ -z "$left" ] || trouble "$label left files behind: $left"
}

wanted() {
    local name
    [ ${#targets[@]} -gt 0 ] || return 0
    for name in "${targets[@]}"; do [ "$name" != "$1" ] || return 0; done
    return 1
}

# Builds the Linuxes that tests run as guests, if they are not in the cache yet: 10 to 20 minutes on 2 cores, once. One that
# cannot be built does not keep the other from being built.
build_guests() {
    [ -e /dev/kvm ] || return 0
    [ ${#targets[@]} -eq 0 ] || grep -qE '(^| )(linux|processors|stock|cli|bridge|saved_state)' <<<"${targets[*]}" || return 0
    printf '\n== the test guests\n'
    build_native_guest "$cache/guest-kernel" || trouble "the native test guest could not be built"
    if wanted processors || wanted saved_state || wanted stock_kernel; then
        bash tests/guest/stock/build.sh "$cache/stock-kernel" || trouble "the stock kernel could not be built"
    fi
}

# The native kernel and its root file system: build_native_guest FOLDER
build_native_guest() {
    local folder=$1 key
    bash tests/guest/build.sh "$folder" || return 1
    key=$(cat tests/guest/root.sh <(dpkg-query -W busybox-static fio iperf3 libc6) | sha256sum)
    [ -s "$folder/root.ext4" ] && [ "$key" = "$(cat "$folder/root.key" 2>/dev/null)" ] && return 0
    bash tests/guest/root.sh "$folder/root.ext4" && printf '%s\n' "$key" >"$folder/root.key"
}

targets=("$@")
build_guests
programs=$(test_programs) || { echo "the build failed"; echo "0 passed, 1 failed"; exit 1; }
while IFS=$'\t' read -r kind name program; do
    label=$name
    [ "$kind" != lib ] || label=lib
    wanted "$label" || continue
    run_target "$label" "$kind" "$program"
done <<<"$programs"

if wanted doc; then
    printf '\n== doc\n'
    if cargo test --locked --doc -q </dev/null >"$scratch/doc.log" 2>&1; then
        good=$(sed -n 's/^test result: .* \([0-9]*\) passed.*/\1/p' "$scratch/doc.log" | tail -n 1)
        passed=$((passed + ${good:-0}))
    else
        cat "$scratch/doc.log"
        trouble "doc: failed"
    fi
fi

printf '\n'
grep -hE 'skipped: ' "$scratch"/*.log 2>/dev/null | sed 's/.*skipped: /skipped: /' | sort | uniq -c
[ "$ignored" = 0 ] || printf '%s ignored\n' "$ignored"
[ ${#troubles[@]} -eq 0 ] || printf '%s\n' "${troubles[@]}"
printf '%s passed, %s failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
