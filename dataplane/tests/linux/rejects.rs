//! What refused packets are answered with: whatever leaves by either interface must be what Linux sends, but for the IPv4
//! identification, which each counts for itself.

use std::fs;

use packet::checksum;

use crate::bed::{Bed, Kind, Side};
use crate::packets;
use crate::rng::Rng;
use crate::run::setting;
use crate::way::Way;

/// The kernel answers as often as it is asked.
const SETTINGS: &[(&str, &str)] = &[
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv4/icmp_msgs_per_sec", "1000000"),
    ("ipv4/icmp_msgs_burst", "1000000"),
    ("ipv6/icmp/ratelimit", "0"),
    // By default, labels are random.
    ("ipv6/auto_flowlabels", "0"),
];

/// A family, with the place of its chain, and what it refuses packets with.
const REFUSALS: &[(&str, &str, &[&str])] = &[
    ("inet", "prerouting", ICMPX),
    ("inet", "forward", ICMPX),
    ("ip", "forward", ICMP),
    ("ip6", "forward", ICMP6),
    ("netdev", "ingress device tap0", ICMPX),
];
const ICMPX: &[&str] = &[
    "icmpx type no-route",
    "icmpx type port-unreachable",
    "icmpx type host-unreachable",
    "icmpx type admin-prohibited",
];
const ICMP: &[&str] = &[
    "icmp type net-unreachable",
    "icmp type prot-unreachable",
    "icmp type net-prohibited",
    "icmp type host-prohibited",
];
const ICMP6: &[&str] = &[
    "icmpv6 type no-route",
    "icmpv6 type addr-unreachable",
    "icmpv6 type port-unreachable",
    "icmpv6 type admin-prohibited",
];

#[test]
fn answers_to_refused_packets() {
    let Some(bed) = Bed::new(Kind::Routed) else { return };
    for (name, value) in SETTINGS {
        fs::write(format!("/proc/sys/net/{name}"), value)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let mut way = Way::new(Kind::Routed);
    let seed = setting("TWINWALL_SEED", u64::from(std::process::id()));
    let mut rng = Rng::new(seed);
    let (mut sent, mut answers, mut wrong) = (0, 0, Vec::new());
    for (family, hook, refusals) in REFUSALS {
        for with in *refusals {
            let text = format!(
                "flush ruleset\ntable {family} t {{\nchain c {{\ntype filter hook {hook} priority 0;\n\
                 meta l4proto tcp reject with tcp reset\nreject with {with}\n}}\n}}\n"
            );
            for side in [Side::Kernel, Side::Ours] {
                bed.nft(side, &["-f", "-"], &text).unwrap();
            }
            let program = bed.program();
            for n in 0..setting("TWINWALL_PACKETS", 500) as usize {
                let frame = packets::frame(&mut rng, n, Kind::Routed);
                if records_route(&frame) || *family == "netdev" && !is_plain(&frame) {
                    continue;
                }
                let linux = bed.through(&frame).map(without_ids);
                let ours = way.through(&program, &frame).map(without_ids);
                sent += 1;
                answers += linux.iter().flatten().count();
                if linux != ours {
                    wrong.push(format!(
                        "{text}{}\nLinux: {}\nours:  {}",
                        hex(&frame),
                        all(&linux),
                        all(&ours)
                    ));
                    break;
                }
            }
        }
    }
    println!(
        "TWINWALL_SEED={seed}: {sent} packets, {answers} answers, {} disagreements",
        wrong.len()
    );
    assert!(answers > 0, "nothing was answered");
    assert!(wrong.is_empty(), "TWINWALL_SEED={seed}\n{}", wrong.join("\n\n"));
}

/// Whether a frame asks for its route: Linux's answers do, too, and ours have no options.
fn records_route(frame: &[u8]) -> bool {
    frame[12..14] == [8, 0] && frame[14] & 15 > 5 && frame[34] == 7
}

/// Whether a frame has neither tag nor padding. At a device's ingress, Linux answers tagged frames without the tag, and takes
/// padding for a part of the packet that it sums up and quotes.
fn is_plain(frame: &[u8]) -> bool {
    frame[12..14] != [0x81, 0] && packets::number(&frame[frame.len() - 10..]).is_some()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn all(sent: &[Vec<Vec<u8>>; 2]) -> String {
    let port = |frames: &Vec<Vec<u8>>| frames.iter().map(|frame| hex(frame)).collect::<Vec<_>>();
    format!("{:?} {:?}", port(&sent[0]), port(&sent[1]))
}

/// Frames without IPv4's identification, and with the checksum of that, where the old one was right.
fn without_ids(mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    for frame in &mut frames {
        if frame[12..14] == [8, 0] {
            let id = u16::from_be_bytes([frame[18], frame[19]]);
            let sum = u16::from_be_bytes([frame[24], frame[25]]);
            frame[18..20].fill(0);
            frame[24..26].copy_from_slice(&checksum::update_u16(sum, id, 0).to_be_bytes());
        }
    }
    frames
}
