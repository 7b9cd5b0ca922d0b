#!/bin/bash
# Runs the tests of cli/tests/twin.rs and mirror.rs on Debian's own kernel, in QEMU: other kernels keep silent about other things,
# and not every kernel has VLAN devices. Needs qemu-system-x86, apt and a network; some minutes without KVM.
#
#   cli/tests/debian-kernel.sh [words for the test programs, as: vlans_on_a_twin]
set -euo pipefail
cd "$(dirname "$0")/../.."

need() { command -v "$1" >/dev/null || { echo "$1 is missing: apt install $2" >&2; exit 1; }; }
need qemu-system-x86_64 qemu-system-x86
need ip iproute2
need ping iputils-ping

work=$(mktemp -d "${TMPDIR:-/tmp}/debian-kernel.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "building the tests"
mapfile -t programs < <(cargo test -p cli --test twin --test mirror --no-run --message-format=json 2>"$work/cargo.log" |
    sed -n 's/.*"name":"\(twin\|mirror\)".*"executable":"\([^"]*\)".*/\2/p')
[ "${#programs[@]}" = 2 ] || { cat "$work/cargo.log" >&2; exit 1; }

echo "fetching Debian's kernel"
kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -1)
[ -n "$kernel" ] || { echo "apt knows no linux-image-amd64" >&2; exit 1; }
(cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$kernel" busybox-static)
for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/x"; done

root=$work/root
mkdir -p "$root"/{bin,tests,proc,sys,dev,run,tmp,lib64,mod}
busybox=$(find "$work/x" -name busybox -type f -perm -u+x | head -1)
cp "$busybox" "$root/bin/busybox"
for name in sh mount insmod poweroff mkdir uname; do ln -s busybox "$root/bin/$name"; done
cp "$(readlink -f "$(command -v ip)")" "$root/bin/ip"
cp "$(readlink -f "$(command -v ping)")" "$root/bin/ping"
cp "${programs[@]}" "$root/tests/"
strip "$root"/tests/*
for library in $(ldd "$root/bin/ip" "$root/bin/ping" "${programs[@]}" | grep -o '/lib[^ ]*' | sort -u); do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
for module in llc stp garp mrp 8021q veth tun; do
    find "$work/x" -name "$module.ko" -exec cp {} "$root/mod/" \;
done
cat >"$root/init" <<INIT
#!/bin/sh
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
mkdir -p /run/netns
for module in llc stp garp mrp 8021q veth tun; do insmod /mod/\$module.ko; done
echo "kernel \$(uname -r)"
status=0
for program in /tests/*; do
    \$program --nocapture --test-threads 1 ${*:---skip a_hundred_thousand} || status=1
done
echo "exit status \$status"
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | "$busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$work/initrd.gz"

echo "booting"
timeout 600 qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 -m 1024 -nographic -no-reboot \
    -kernel "$work"/x/boot/vmlinuz-* -initrd "$work/initrd.gz" -append "console=ttyS0 quiet panic=-1" |
    tee "$work/console.log"
grep -q '^exit status 0' "$work/console.log"
