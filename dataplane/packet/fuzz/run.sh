#!/usr/bin/env bash
# Runs each fuzz target for a bounded time: run.sh [SECONDS] (30 each unless told). Exits non-zero at a crash, whose input
# libFuzzer leaves in artifacts/; put it into seeds/<target>/ under a name that says what it is, and the crate's tests will
# run it for ever.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-30}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "usage: run.sh [SECONDS]" >&2; exit 2; }

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: installing cargo-fuzz"
    cargo install --locked --quiet cargo-fuzz
fi

# Sanitizers are unstable: a nightly toolchain where there is one, else the stable one told to behave like one.
if rustup toolchain list 2>/dev/null | grep -q '^nightly'; then
    cargo=(cargo +nightly)
else
    export RUSTC_BOOTSTRAP=1
    cargo=(cargo)
fi
# Named, because cargo-fuzz's own default may be a target whose standard library is not installed.
host=$("${cargo[@]}" --version --verbose | sed -n 's/^host: //p')

for target in parse frame_ops; do
    echo "fuzz: $target for $seconds s"
    mkdir -p "corpus/$target"
    # The first folder takes what is found, the second is only read. Inputs stay small: headers are.
    "${cargo[@]}" fuzz run --fuzz-dir . --target "$host" "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time="$seconds" -max_len=1024 -timeout=10 -print_final_stats=1 -verbosity=0
done
echo "fuzz: no crash"
