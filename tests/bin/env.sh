# Sourced by the scripts beside it: finds the Rust toolchain, prints progress, knows what a step took.
# Sets CARGO (empty when none is recent enough) and RUST_MIN (the workspace's rust-version).

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
RUST_MIN=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

if [ -t 1 ]; then BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' PLAIN=$'\e[0m'; else BOLD='' DIM='' RED='' GREEN='' PLAIN=''; fi

say() { printf '%s\n' "$*"; }
die() { printf '%s%s%s\n' "$RED" "$*" "$PLAIN" >&2; exit 1; }

# at_least 1.96.0 1.95: is the first version the second or a later one?
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n1)" = "$2" ]; }

# usable CARGO: does this cargo run, with a rustc beside it, and are both recent enough?
usable() {
    local version
    version=$("$1" --version 2>/dev/null | awk '{print $2}') || return 1
    [ -n "$version" ] && at_least "$version" "$RUST_MIN" || return 1
    version=$("$(dirname "$1")/rustc" --version 2>/dev/null | awk '{print $2}') || return 1
    [ -n "$version" ] && at_least "$version" "$RUST_MIN"
}

# Under sudo the caller's own toolchain is used, but nothing is written into the caller's home.
find_cargo() {
    CARGO=
    local owner candidate
    owner=$(getent passwd "${SUDO_USER:-root}" 2>/dev/null | cut -d: -f6)
    for candidate in "$(command -v cargo)" "$HOME/.cargo/bin/cargo" "${owner:-/root}/.cargo/bin/cargo" /usr/bin/cargo; do
        [ -x "$candidate" ] || continue
        if [ "$candidate" = "$owner/.cargo/bin/cargo" ] && [ -d "$owner/.rustup" ] && [ ! -d "$HOME/.rustup" ]; then
            export RUSTUP_HOME="$owner/.rustup" CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}"
        fi
        if usable "$candidate"; then
            CARGO=$candidate
            PATH="$(dirname "$candidate"):$HOME/.cargo/bin:$PATH"
            return 0
        fi
    done
    return 1
}

# step TEXT COMMAND...: runs a quiet command; says what runs once it has taken two seconds, and how long it took; shows its
# output only when it fails.
step() {
    local text=$1 log pid start=$SECONDS status=0 waited=0
    shift
    log=$(mktemp "${TMPDIR:-/tmp}/twinwall-step.XXXXXX")
    "$@" </dev/null >"$log" 2>&1 &
    pid=$!
    trap 'kill $pid 2>/dev/null; rm -f "$log"; exit 130' INT TERM
    while kill -0 $pid 2>/dev/null; do
        sleep 0.1
        waited=$((waited + 1))
        if [ $waited -eq 20 ]; then printf '  %s ...' "$text"; fi
        if [ $waited -gt 20 ] && [ $((waited % 100)) -eq 0 ]; then printf ' %ds' $((SECONDS - start)); fi
    done
    wait $pid || status=$?
    trap - INT TERM
    if [ $status -ne 0 ]; then
        [ $waited -ge 20 ] && printf ' %sfailed%s\n' "$RED" "$PLAIN"
        tail -n 40 "$log" >&2
        rm -f "$log"
        return $status
    fi
    if [ $waited -ge 20 ]; then printf ' done in %d s\n' $((SECONDS - start)); fi
    rm -f "$log"
}
