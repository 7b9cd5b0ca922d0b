#!/usr/bin/env bash
# Records seeds/nf_tables from rulesets/*.nft by the real nft, each in a network namespace of its own: record.sh [NAME]...
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p ruleset/fuzz/seeds/nf_tables
cargo build -q -p ruleset --example record -p twinwall_nfnl
library=$PWD/target/debug/libtwinwall_nfnl.so
[ -r "$library" ] || { echo "no $library" >&2; exit 1; }
for rules in ruleset/fuzz/rulesets/*.nft; do
    name=$(basename "$rules" .nft)
    [ $# = 0 ] || [[ " $* " = *" $name "* ]] || continue
    socket=$(mktemp -u) seed=ruleset/fuzz/seeds/nf_tables/$name
    target/debug/examples/record "$socket" "$seed.new" &
    server=$!
    trap 'kill $server 2>/dev/null || true' EXIT
    while [ ! -S "$socket" ]; do sleep 0.05; done
    if unshare -n env LD_PRELOAD="$library" TWINWALL_NFNL="$socket" nft -f "$rules"; then
        mv "$seed.new" "$seed"
        echo "$name: $(stat -c %s "$seed") bytes"
    else
        rm -f "$seed.new"
        echo "$name: refused" >&2
    fi
    kill $server
    wait $server 2>/dev/null || true
    rm -f "$socket"
done
