#!/bin/sh
# Makes the committed bindings anew from the installed DPDK headers.
#   ./regenerate.sh          writes src/generated/
#   ./regenerate.sh --check  compares only; exit status 1 and a diff when they differ
# Without libclang it says SKIPPED and changes nothing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# The build script prints where it wrote; --message-format=json gives the out_dir without guessing.
cargo build --quiet -p dpdk-sys --features dpdk-sys/regenerate --message-format=json >"$out/messages"
dir=$(sed -n 's/.*"reason":"build-script-executed","package_id":"[^"]*dpdk-sys[^"]*".*"out_dir":"\([^"]*\)".*/\1/p' "$out/messages" | tail -1)
if [ ! -f "$dir/bindings.rs" ]; then
    echo "SKIPPED: the bindings were not regenerated, libclang is absent (apt-get install libclang-dev)" >&2
    exit 0
fi
if [ "${1:-}" = --check ]; then
    diff -u src/generated/bindings.rs "$dir/bindings.rs"
    diff -u src/generated/wrappers.c "$dir/wrappers.c"
    echo "the committed bindings match the installed headers"
else
    cp "$dir/bindings.rs" "$dir/wrappers.c" src/generated/
fi
