//! `conntrack -E`: what it shows of changes made by `conntrack`, and that who is too slow is told so.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::masked::line;
use crate::rig::{On, Rig};

/// The first event that all listeners are there for, and the last one, which they end with.
const FIRST: &str = "-s 250.0.0.1 -d 250.0.0.2 -p udp --sport 1 --dport 2";
const LAST: &str = "-s 250.0.0.1 -d 250.0.0.9 -p udp --sport 1 --dport 2";

/// What listeners with these options print while `SCRIPT` runs on their side.
fn heard(rig: &Rig, on: On, options: &[&str]) -> Vec<Vec<String>> {
    let listen = |options: &&str| {
        let mut command = rig.command(on, "stdbuf");
        command.args(["-oL", "conntrack", "-E"]).args(options.split_whitespace());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let lines = thread::spawn(move || {
            let mut all = Vec::new();
            for text in out.lines().map(Result::unwrap) {
                // The tool looks the port id up among the kernel's own sockets, if the program still has it.
                all.push(line(text.trim_end()).replace(" progname=conntrack", ""));
                if text.contains("250.0.0.9") {
                    break;
                }
            }
            all
        });
        (child, lines)
    };
    let listeners: Vec<_> = options.iter().map(listen).collect();
    thread::sleep(Duration::from_millis(1000));
    rig.conntrack(on, &format!("-I {FIRST} -t 5000"));
    for line in SCRIPT {
        rig.conntrack(on, line);
    }
    // Heard of by listeners of each kind.
    for line in [format!("-I {LAST} -t 5000"), format!("-U {LAST} -m 1"), format!("-D {LAST}")] {
        rig.conntrack(on, &line);
    }
    let end = |(mut child, lines): (_, thread::JoinHandle<Vec<String>>)| {
        let lines = lines.join().unwrap();
        Rig::end(&mut child);
        lines
    };
    listeners.into_iter().map(end).collect()
}

const SCRIPT: [&str; 10] = [
    "-I -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 10 --dport 20 --state ESTABLISHED -u SEEN_REPLY,ASSURED -t 5000",
    "-U -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 10 --dport 20 -m 5",
    "-U -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 10 --dport 20 --state CLOSE -u FIXED_TIMEOUT",
    "-I -s 1.1.1.1 -d 2.2.2.2 -p udp --sport 10 --dport 20 -t 5000 --src-nat 3.3.3.3 --zone 3",
    "-I -s 1.1.1.1 -d 2.2.2.2 -p udp --sport 10 --dport 20 -t 5000 --orig-zone 4 -m 1",
    "-I -s ::1 -d ::2 -p icmpv6 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 5 -t 5000",
    "-I -s 1.1.1.1 -d 2.2.2.2 -p sctp --sport 1 --dport 2 --state ESTABLISHED --orig-vtag 1 --reply-vtag 2 -t 5000",
    "-D -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 10 --dport 20",
    "-D -p udp --orig-zone 4",
    "-F",
];

#[test]
fn events_are_the_kernels_in_order_and_content() {
    let Some(rig) = Rig::new(1000) else { return };
    for accounting in [0, 1] {
        rig.set("nf_conntrack_acct", accounting);
        rig.set("nf_conntrack_timestamp", accounting);
        let options = [
            "",
            "-o extended,id",
            "-o xml",
            "-e NEW",
            "-e UPDATES",
            "-e DESTROY",
            "-p udp",
            "-e ALL -o labels",
        ];
        let [kernel, ours] = [On::Kernel, On::Ours].map(|on| heard(&rig, on, &options));
        for ((options, mut kernel), mut ours) in options.iter().zip(kernel).zip(ours) {
            // The last command but one for `LAST` is a flush, which goes through the table as it lies: ours, or the kernel's.
            let flushed = kernel.len().saturating_sub(7);
            kernel[flushed..].sort();
            ours.get_mut(flushed..).unwrap_or_default().sort();
            assert_eq!(kernel.join("\n"), ours.join("\n"), "conntrack -E {options}");
            assert!(!ours.is_empty());
        }
    }
}

#[test]
fn who_does_not_read_is_told_what_it_missed() {
    let Some(rig) = Rig::new(1 << 20) else { return };
    let mut command = rig.command(On::Ours, "conntrack");
    command.args(["-E", "--buffer-size", "20000"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    thread::sleep(Duration::from_millis(500));
    // Nobody reads what it prints: its pipe fills, then its socket.
    for n in 0..100_000u32 {
        let [_, b, c, d] = n.to_be_bytes();
        let mut key = packet::FlowKey { protocol: 17, family: 4, ..packet::FlowKey::default() };
        key.src[..4].copy_from_slice(&[10, b, c, d]);
        key.dst[0] = 1;
        let back = packet::FlowKey { src: key.dst, dst: key.src, ..key };
        rig.workers.with(0, |shard, now| {
            let slot = shard.create(key, back, now).unwrap();
            shard.set_timeout(slot, 100, now);
            shard.confirm(slot, now).unwrap();
            shard.deliver(slot, now);
        });
    }
    let err = child.stderr.take().unwrap();
    let mut said = BufReader::new(err).lines().map(Result::unwrap);
    let mut out = child.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        text
    });
    assert!(said.any(|line| line.contains("We have hit ENOBUFS!")), "it was not told");
    Rig::end(&mut child);
    let out = reader.join().unwrap();
    let told = out.lines().filter(|line| line.contains("[NEW]")).count();
    println!("{told} of 100,000 events were told before ENOBUFS");
    assert!(told > 100 && told < 100_000, "{told}");
}
