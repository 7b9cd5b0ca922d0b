#!/bin/bash
# Proves that a bare machine needs two commands: makes a Debian 12 from nothing, clones this repository into it, and types
# `make demo` and `make test`. What is committed counts; uncommitted changes are not cloned.
#
#   docker/bare-check.sh [demo|test|all]      as root, with docker and debootstrap; takes a quarter of an hour or two
#
# The container has only git, make and the certificates that a clone needs. Its capabilities, and why:
#   NET_ADMIN, NET_RAW   interfaces, TAPs, packet sockets          SYS_ADMIN   making network namespaces; af_xdp
#   systempaths=unconfined: /proc/sys is writable, where some tests set what they need in their own namespaces
#   IPC_LOCK, SYS_NICE   DPDK's memory                             /dev/net/tun  the kernel twins
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-all}
image=twinwall-bare
name=twinwall-bare-$$
scratch=$(mktemp -d /tmp/twinwall-bare.XXXXXX)
trap 'docker rm -fv $name >/dev/null 2>&1; rm -rf "$scratch"' EXIT

[ "$(id -u)" = 0 ] || { echo "bare-check: needs root"; exit 1; }
for program in docker debootstrap git; do
    command -v $program >/dev/null || { echo "bare-check: needs $program (apt-get install $program)"; exit 1; }
done

if ! docker image inspect $image >/dev/null 2>&1; then
    echo "== making the image $image"
    sources=/etc/apt/sources.list.d/debian.sources
    mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' $sources 2>/dev/null | head -n1)
    debootstrap --variant=minbase bookworm "$scratch/root" ${mirror:+"$mirror"} >"$scratch/log" || { tail "$scratch/log"; exit 1; }
    # For bookworm-security, where the Rust that Debian keeps current is.
    if [ -e $sources ]; then
        cp $sources "$scratch/root/etc/apt/sources.list.d/"
        rm -f "$scratch/root/etc/apt/sources.list"
    else
        cp /etc/apt/sources.list "$scratch/root/etc/apt/"
    fi
    tar -C "$scratch/root" -c . | docker import - $image >/dev/null
    rm -rf "$scratch/root"
fi

git clone --quiet --bare . "$scratch/twinwall.git"
# The home is a volume: the container's own file system may be a slow one. Crates come over TLS: the host's certificates serve.
docker run -d --name $name -v /root -e HOME=/root -v "$scratch/twinwall.git:/twinwall.git:ro" \
    -v /etc/ssl/certs/ca-certificates.crt:/host-ca.crt:ro -e CARGO_HTTP_CAINFO=/host-ca.crt \
    --cap-add NET_ADMIN --cap-add NET_RAW --cap-add IPC_LOCK --cap-add SYS_NICE --cap-add SYS_ADMIN \
    --device /dev/net/tun --security-opt systempaths=unconfined $image sleep infinity >/dev/null

# typed COMMAND: runs it in the container as a person would type it.
typed() {
    local start=$SECONDS
    printf '\n# %s\n' "$1"
    docker exec -w "${2:-/root/twinwall}" $name bash -c "$1" || { echo "bare-check: \`$1\` failed after $((SECONDS - start)) s"; exit 1; }
    printf '# (%d s)\n' $((SECONDS - start))
}

typed 'apt-get update -qq && apt-get install -qq -y --no-install-recommends git make ca-certificates >/tmp/apt.log 2>&1 || { cat /tmp/apt.log; false; }' /
typed 'git clone --quiet /twinwall.git twinwall' /root
if [ "$what" != test ]; then
    typed 'make demo'
    typed 'make demo'
fi
if [ "$what" != demo ]; then typed 'make test'; fi
typed 'test -z "$(ip netns list)" && echo "no namespace is left"'
echo "bare-check: passed"
