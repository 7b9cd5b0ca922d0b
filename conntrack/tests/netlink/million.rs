//! A million flows: dumps stream, in little memory, and no job keeps a worker for long.

use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Instant;

use packet::FlowKey;

use crate::masked::lines;
use crate::rig::{On, Rig};

/// One at a time: memory is measured for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

const FLOWS: u32 = 1_000_000;

/// Reads a dump and counts its messages.
const READ: &str = "
import socket, struct, time
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.bind((0, 0))
start = time.time()
s.send(struct.pack('=IHHII', 20, 0x101, 0x301, 1, 0) + bytes(4))
count, kind, buffer = 0, 0, bytearray(65536)
while kind != 3:
    n, at = s.recv_into(buffer), 0
    while at < n and kind != 3:
        length, kind = struct.unpack_from('=IH', buffer, at)
        at += length + 3 & ~3
        count += kind == 0x100
print(count, 'messages in %.2f s' % (time.time() - start))
";

/// Resident kilobytes of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_million_flows_are_counted_listed_and_flushed() {
    let _alone = ALONE.lock();
    let Some(rig) = Rig::new(FLOWS) else { return };
    for n in 0..FLOWS {
        let [a, b, c, d] = n.to_be_bytes();
        let mut key = FlowKey { protocol: 6, family: 4, ..FlowKey::default() };
        key.src[..4].copy_from_slice(&[10 + a, b, c, d]);
        key.dst[..4].copy_from_slice(&[192, 0, 2, 1]);
        (key.sport, key.dport) = ([c, d], [0, 80]);
        let back =
            FlowKey { src: key.dst, dst: key.src, sport: key.dport, dport: key.sport, ..key };
        rig.workers.with(n as usize % 2, |shard, now| {
            let slot = shard.create(key, back, now).unwrap();
            shard.set_timeout(slot, 100_000, now);
            shard.set_mark(slot, n % 1000);
            shard.confirm(slot, now).unwrap();
        });
    }
    assert_eq!(rig.conntrack(On::Ours, "-C").out, "1000000\n");

    let (before, start) = (resident(), Instant::now());
    let counted = rig.shell(On::Ours, "conntrack -L 2>/dev/null | wc -l", "");
    let (took, grown) = (start.elapsed(), resident().saturating_sub(before));
    assert_eq!(counted.out.trim(), "1000000");
    let jobs = rig.workers.jobs.load(Ordering::Relaxed);
    let [longest, all] =
        [&rig.workers.longest, &rig.workers.spent].map(|n| n.load(Ordering::Relaxed));
    let (longest, mean) = (longest / 1000, all / 1000 / jobs as u64);
    println!(
        "conntrack -L of 1,000,000: {took:.2?}, {jobs} jobs of {mean} µs, the longest {longest}, {grown} KiB more resident"
    );
    assert!(grown < 16 * 1024, "a dump took {grown} KiB");

    // Who only reads shows what a dump takes without the tool's printing.
    let read = rig.tool(On::Ours, "python3", &["-c", READ], "");
    println!("read without printing: {}", read.out.trim());
    assert!(read.out.starts_with("1000000 "), "{}{}", read.out, read.err);

    let start = Instant::now();
    let marked = rig.shell(On::Ours, "conntrack -L -m 7 2>/dev/null | wc -l", "");
    println!("conntrack -L -m 7 (1,000 of them): {:.2?}", start.elapsed());
    assert_eq!(marked.out.trim(), "1000");

    let start = Instant::now();
    assert_eq!(rig.conntrack(On::Ours, "-F").code, 0);
    println!("conntrack -F: {:.2?}", start.elapsed());
    assert_eq!(rig.conntrack(On::Ours, "-C").out, "0\n");
}

#[test]
fn what_is_restored_by_the_thousand_is_listed_as_on_the_kernel() {
    let _alone = ALONE.lock();
    let Some(rig) = Rig::new(200_000) else { return };
    let mut saved = String::new();
    for n in 0..20_000u32 {
        let [_, b, c, d] = n.to_be_bytes();
        saved += &format!(
            "-A -t 5000 -u SEEN_REPLY,ASSURED -s 10.{b}.{c}.{d} -d 192.0.2.1 -r 192.0.2.1 -q 10.{b}.{c}.{d} \
             -p tcp --sport 1{d} --dport 80 --reply-port-src 80 --reply-port-dst 1{d} --state ESTABLISHED\n"
        );
    }
    let [kernel, ours] = [On::Kernel, On::Ours].map(|on| {
        let start = Instant::now();
        let done = rig.tool(on, "conntrack", &["-R", "-"], &saved);
        assert_eq!(done.code, 0, "{}", done.err);
        let restored = start.elapsed();
        let start = Instant::now();
        let listed = rig.conntrack(on, "-L").out;
        println!("{on:?}: 20,000 restored in {restored:.2?}, listed in {:.2?}", start.elapsed());
        lines(&listed)
    });
    assert_eq!(kernel.len(), 20_000);
    let different = kernel.iter().zip(&ours).find(|(kernel, ours)| kernel != ours);
    assert_eq!(different, None);
    assert_eq!(ours.len(), 20_000);
}
