//! Random rules of iptables, ip6tables and ebtables, for what nft has no words for: extensions without state, or whose state
//! follows from the packets alone.

use std::process::Command;

use crate::bed::{Bed, Kind, Side};
use crate::compare::{self, Difference, Tally};
use crate::packets::{self, PORTS, V4, V6};
use crate::rng::Rng;
use crate::run::setting;

#[test]
fn random_iptables_rules_on_routed_packets() {
    run(Kind::Routed, &["iptables", "ip6tables"]);
}

#[test]
fn random_ebtables_rules_on_bridged_packets() {
    run(Kind::Bridged, &["ebtables"]);
}

/// A rule: whose, in which table, and its words.
#[derive(Clone, Debug)]
struct Rule {
    tool: &'static str,
    table: &'static str,
    words: String,
}

fn run(kind: Kind, tools: &'static [&'static str]) {
    for tool in tools {
        if Command::new(format!("{tool}-nft-restore")).arg("--version").output().is_err() {
            eprintln!("\nSKIPPED, nothing was compared: no {tool}-nft-restore (make setup)\n");
            return;
        }
    }
    let Some(bed) = Bed::new(kind) else { return };
    let seed = setting("TWINWALL_SEED", u64::from(std::process::id()));
    println!("iptables, {kind:?}: TWINWALL_SEED={seed}");
    let mut tally = Tally::default();
    for n in 0..setting("TWINWALL_RULESETS", 40) {
        let mut rng = Rng::new(seed.wrapping_add(n << 32));
        let mut rules: Vec<Rule> = (0..20).map(|_| rule(&mut rng, kind, tools)).collect();
        rules.retain(|rule| {
            let taken = load(&bed, Side::Kernel, std::slice::from_ref(rule));
            if let Err(error) = &taken
                && setting("TWINWALL_VERBOSE", 0) > 0
            {
                eprintln!("{} {}: {error}", rule.tool, rule.words);
            }
            taken.is_ok()
        });
        let frames: Vec<_> = (0..setting("TWINWALL_PACKETS", 200) as usize)
            .map(|n| packets::frame(&mut rng, n, kind))
            .collect();
        if let Err(difference) = once(&bed, &rules, &frames, &mut tally) {
            let alone = rules.iter().find_map(|rule| {
                let rule = std::slice::from_ref(rule);
                once(&bed, rule, &frames, &mut tally).err().map(|found| (rule, found))
            });
            let (rules, difference) = alone.unwrap_or((&rules, difference));
            panic!("TWINWALL_SEED={seed}\n{}", tell(rules, &frames, &difference));
        }
        tally.rulesets += 1;
    }
    let Tally { rulesets, packets, passed, rewritten, counters, .. } = tally;
    println!(
        "iptables, {kind:?}: {rulesets} rulesets, {packets} packets ({passed} passed, {rewritten} rewritten), {counters} counters"
    );
    assert!(rewritten > 0 && counters > 0, "nothing was seen");
}

/// Loads rules in the place of those that there are.
fn load(bed: &Bed, side: Side, rules: &[Rule]) -> Result<(), String> {
    bed.nft(side, &["flush", "ruleset"], "")?;
    let mut places: Vec<_> = rules.iter().map(|rule| (rule.tool, rule.table)).collect();
    places.sort_unstable();
    places.dedup();
    for (tool, table) in places {
        let here = rules.iter().filter(|rule| (rule.tool, rule.table) == (tool, table));
        let lines: String = here.map(|rule| format!("{}\n", rule.words)).collect();
        let text = format!("*{table}\n{lines}COMMIT\n");
        bed.tool(side, &format!("{tool}-nft-restore"), &[], &text)?;
    }
    Ok(())
}

fn once(
    bed: &Bed,
    rules: &[Rule],
    frames: &[Vec<u8>],
    tally: &mut Tally,
) -> Result<(), Difference> {
    load(bed, Side::Kernel, rules).unwrap();
    load(bed, Side::Ours, rules).map_err(Difference::Refused)?;
    let text: String = rules.iter().map(|rule| format!("{}\n", rule.words)).collect();
    compare::packets(bed, &text, frames, tally)
}

fn tell(rules: &[Rule], frames: &[Vec<u8>], difference: &Difference) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let end = |end: &Option<Vec<u8>>| end.as_deref().map_or("dropped".to_owned(), hex);
    let mut text: String = rules
        .iter()
        .map(|rule| format!("{} -t {} {}\n", rule.tool, rule.table, rule.words))
        .collect();
    text += &match difference {
        Difference::Refused(error) => format!("the engine refuses it: {error}"),
        Difference::Packet { number, linux, ours } => {
            format!("packet {}\nLinux: {}\nours:  {}", hex(&frames[*number]), end(linux), end(ours))
        }
        Difference::Listing(lines) => {
            lines.iter().map(|(linux, ours)| format!("Linux: {linux}\nours:  {ours}\n")).collect()
        }
    };
    text
}

fn rule(rng: &mut Rng, kind: Kind, tools: &[&'static str]) -> Rule {
    if kind == Kind::Bridged {
        return frames_rule(rng);
    }
    let tool = rng.one(tools);
    let six = tool == "ip6tables";
    let chain = rng.pick(&["PREROUTING", "FORWARD", "POSTROUTING"]);
    let mut protocol = String::new();
    let mut words = String::new();
    for _ in 0..1 + rng.below(2) {
        let (of, more) = condition(rng, six);
        // Two conditions on transport headers must be of one protocol.
        if !of.is_empty() && !protocol.is_empty() && protocol != of {
            continue;
        }
        if !of.is_empty() {
            protocol = of.to_owned();
        }
        words += &more;
    }
    let (of, target) = target(rng, six);
    let target = if of.is_empty() || of == protocol { target } else { String::new() };
    if !protocol.is_empty() {
        protocol = format!(" -p {protocol}");
    }
    Rule { tool, table: "mangle", words: format!("-A {chain}{protocol}{words}{target}") }
}

fn port(rng: &mut Rng) -> u16 {
    rng.one(PORTS)
}

fn not(rng: &mut Rng) -> &'static str {
    if rng.chance(25) { "! " } else { "" }
}

fn ports(rng: &mut Rng) -> String {
    let (a, b) = (port(rng), port(rng));
    format!("{}:{}", a.min(b), a.max(b))
}

fn address(rng: &mut Rng, six: bool) -> String {
    if six {
        let [a, b] = rng.one(V6);
        return format!("2001:db8::{:x}", u16::from_be_bytes([a, b]));
    }
    let [a, b, c, d] = rng.one(V4);
    format!("{a}.{b}.{c}.{d}")
}

/// The protocol that it is about, if any, and its words.
fn condition(rng: &mut Rng, six: bool) -> (&'static str, String) {
    let n = not(rng);
    let byte = rng.byte();
    let (of, words) = match rng.below(38) {
        0 => (
            "tcp",
            format!("tcp {n}--tcp-option {} --dport {}", rng.one(&[2, 3, 5, 8]), ports(rng)),
        ),
        1 => ("udp", format!("udp {n}--sport {}", ports(rng))),
        2 | 3 => {
            let side = rng.pick(&["sports", "dports", "ports"]);
            let list = format!("{},{},{}", port(rng), ports(rng), port(rng));
            (rng.pick(&["tcp", "udp", "sctp"]), format!("multiport {n}--{side} {list}"))
        }
        4 => ("", format!("length {n}--length {}:{}", byte, 100 + usize::from(byte))),
        5 => ("", format!("mark {n}--mark {:#x}/{:#x}", byte & 7, rng.byte() & 7)),
        6 if !six => {
            ("", format!("ttl --ttl-{} {}", rng.pick(&["lt", "gt", "eq"]), rng.one(&[1, 63, 64])))
        }
        6 => ("", format!("hl --hl-{} {}", rng.pick(&["lt", "gt", "eq"]), rng.one(&[1, 63, 64]))),
        7 => ("", format!("tos {n}--tos {byte:#x}/{:#x}", rng.byte() | byte)),
        8 => ("", format!("dscp {n}--dscp {}", rng.one(&[0, 4, 46, 10]))),
        9 => ("tcp", format!("ecn {n}--ecn-tcp-{}", rng.pick(&["cwr", "ece"]))),
        10 => ("", format!("ecn {n}--ecn-ip-ect {}", byte & 3)),
        11 => ("tcp", format!("tcpmss {n}--mss {}", rng.pick(&["500:1000", "1000:1500", "0:500"]))),
        12 => {
            let range = format!("{}-{}", address(rng, six), address(rng, six));
            ("", format!("iprange {n}--{}-range {range}", rng.pick(&["src", "dst"])))
        }
        13 => (
            "",
            format!("pkttype {n}--pkt-type {}", rng.pick(&["unicast", "broadcast", "multicast"])),
        ),
        14 => ("", format!("mac {n}--mac-source 02:00:00:00:00:1{}", byte & 3)),
        15 => ("", format!("devgroup {n}--src-group {:#x}", rng.one(&[10, 11]))),
        16 => ("", format!("devgroup {n}--dst-group {:#x}", rng.one(&[10, 11]))),
        17 => (
            "",
            format!(
                "addrtype {n}--{}-type {}",
                rng.pick(&["src", "dst"]),
                rng.pick(&["UNICAST", "LOCAL", "MULTICAST"])
            ),
        ),
        18 => (
            "",
            format!(
                "string --algo {} {n}--hex-string |{:02x}| --from {} --to {}",
                rng.pick(&["bm", "kmp"]),
                byte,
                rng.below(40),
                40 + rng.below(100)
            ),
        ),
        19 => ("", "string --algo bm --hex-string |a75ec319d46b|".to_owned()),
        20 => ("", format!("u32 --u32 \"{}\"", u32_test(rng))),
        21 => ("", format!("statistic --mode nth {n}--every {} --packet 0", 1 + rng.below(5))),
        22 => ("", format!("quota --quota {}", rng.below(20_000))),
        23 => ("sctp", format!("sctp {n}--dport {}", ports(rng))),
        24 | 25 => (
            "sctp",
            format!(
                "sctp {n}--chunk-types {} {}",
                rng.pick(&["any", "all", "only"]),
                rng.pick(&[
                    "DATA",
                    "DATA,INIT",
                    "SACK",
                    "DATA:Be",
                    "DATA,INIT,INIT_ACK,COOKIE_ACK,SACK"
                ])
            ),
        ),
        26 if !six => {
            ("icmp", format!("icmp {n}--icmp-type {}", rng.pick(&["8", "0", "3/1", "3", "any"])))
        }
        26 => {
            ("icmpv6", format!("icmp6 {n}--icmpv6-type {}", rng.pick(&["128", "129", "1/1", "3"])))
        }
        27 => ("esp", format!("esp {n}--espspi 0:{}", u32::from(byte) << 24)),
        28 if six => ("", format!("ah {n}--ahspi 256:{}", 256 + u32::from(byte))),
        29 if six => (
            "",
            format!(
                "frag {}",
                rng.pick(&["--fragid 0:16909060", "--fragmore", "--fragfirst", "--fraglast"])
            ),
        ),
        30 if six => (
            "",
            format!("rt {n}--rt-type 4 {}", rng.pick(&["", "--rt-segsleft 0:1", "--rt-len 24"])),
        ),
        31 if six => ("", format!("{} {n}--{}-len 8", rng.pick(&["hbh", "dst"]), "X")),
        32 if six => (
            "",
            format!(
                "ipv6header {n}--header {} {}",
                rng.pick(&["prot", "hop-by-hop,prot", "frag", "auth,prot"]),
                rng.pick(&["", "--soft"])
            ),
        ),
        33 if six => ("", "eui64".to_owned()),
        34 if six => ("", format!("srh {n}--srh-next-hdr 6")),
        35 => {
            ("", format!("rpfilter {} {}", rng.pick(&["", "--loose"]), rng.pick(&["", "--invert"])))
        }
        36 => ("", format!("policy --dir in --pol {}", rng.pick(&["none", "ipsec"]))),
        37 => (
            "",
            rng.pick(&[
                "owner --uid-owner 0",
                "owner ! --uid-owner 0",
                "realm --realm 0",
                "cpu --cpu 99",
                "physdev --physdev-is-bridged",
                "osf --genre Linux",
            ])
            .to_owned(),
        ),
        _ => ("", format!("comment --comment {byte}")),
    };
    let words = if words.starts_with("hbh") {
        words.replace("--X", "--hbh")
    } else {
        words.replace("--X", "--dst")
    };
    (of, format!(" -m {words}"))
}

fn u32_test(rng: &mut Rng) -> String {
    match rng.below(5) {
        0 => format!("0>>22&0x3C@0>>16={}", port(rng)),
        1 => format!("6&0xFF={},17", rng.one(&[1, 6])),
        2 => format!("0&0xFFFF=0x{:x}:0x{:x}", 60, 90 + rng.below(60)),
        3 => format!("4&0x3FFF=0&&0>>22&0x3C@12>>26&0x3C@0=0:0x{:x}", rng.next() as u32),
        _ => format!("{}&0x{:x}=0:{}", rng.below(200), rng.next() as u32, rng.next() as u32 >> 1),
    }
}

/// The protocol that the rule must be about, if any, and the target's words.
fn target(rng: &mut Rng, six: bool) -> (&'static str, String) {
    let byte = rng.byte();
    let (of, words) = match rng.below(20) {
        0 | 1 => ("", format!("MARK --set-xmark {:#x}/{:#x}", byte & 7, rng.byte() & 7)),
        2 => ("", format!("TOS --set-tos {byte:#x}/{:#x}", rng.byte())),
        3 => ("", format!("DSCP --set-dscp {}", byte & 63)),
        4 if six => {
            ("", format!("HL --hl-{} {}", rng.pick(&["set", "inc", "dec"]), 1 + (byte & 127)))
        }
        4 => ("", format!("TTL --ttl-{} {}", rng.pick(&["set", "inc", "dec"]), 1 + (byte & 127))),
        5 if !six => ("", "ECN --ecn-ip-ect 1".to_owned()),
        6 if !six => ("tcp", "ECN --ecn-tcp-remove".to_owned()),
        7 => (
            "tcp",
            format!(
                "TCPOPTSTRIP --strip-options {}",
                rng.pick(&["mss", "wscale,sack-permitted", "timestamp,sack", "3,5,8"])
            ),
        ),
        8 => ("", format!("CLASSIFY --set-class 1:{byte:x}")),
        9 => ("", rng.pick(&["DROP", "RETURN", "ACCEPT"]).to_owned()),
        10 => ("", "CHECKSUM --checksum-fill".to_owned()),
        11 => ("", "AUDIT --type accept".to_owned()),
        12 if six => ("", "SNPT --src-pfx 2001:db8::/64 --dst-pfx 2001:db8:7:8::/64".to_owned()),
        13 if six => ("", "DNPT --src-pfx 2001:db8::/48 --dst-pfx 2001:db8:9::/48".to_owned()),
        14 => return ("tcp", " -m tcp --tcp-flags SYN SYN -j TCPMSS --set-mss 600".to_owned()),
        15 => {
            return ("tcp", " -m tcp --tcp-flags SYN SYN -j TCPMSS --clamp-mss-to-pmtu".to_owned());
        }
        _ => return ("", String::new()),
    };
    (of, format!(" -j {words}"))
}

fn frames_rule(rng: &mut Rng) -> Rule {
    let n = not(rng);
    let byte = rng.byte();
    let mut table = "filter";
    let mut chain = "FORWARD";
    let protocol = rng.pick(&["tcp", "udp", "sctp"]);
    let condition = match rng.below(13) {
        0 => format!("-p IPv4 --ip-src {n}{}/{}", address(rng, false), rng.one(&[8, 16, 24, 32])),
        1 => format!("-p IPv4 --ip-dst {n}{}", address(rng, false)),
        2 => format!("-p IPv4 --ip-tos {n}0x{:02x}", rng.one(&[0, 0x10, 0xb8])),
        3 => format!("-p IPv4 --ip-proto {protocol} --ip-dport {n}{}", ports(rng)),
        4 => format!("-p IPv4 --ip-proto {protocol} --ip-sport {n}{}", port(rng)),
        5 => format!(
            "-p IPv4 --ip-proto icmp --ip-icmp-type {n}{}",
            rng.pick(&["8", "0:3", "3/0:1"])
        ),
        6 => {
            format!("-p IPv6 --ip6-src {n}{}/{}", address(rng, true), rng.one(&[32, 64, 120, 128]))
        }
        7 => format!("-p IPv6 --ip6-tclass {n}0x{:02x}", rng.one(&[0, 0x10, 0xb8])),
        8 => format!("-p IPv6 --ip6-proto {protocol} --ip6-dport {n}{}", ports(rng)),
        9 => format!(
            "-p IPv6 --ip6-proto ipv6-icmp --ip6-icmp-type {n}{}",
            rng.pick(&["128", "1:4"])
        ),
        10 => format!(
            "--pkttype-type {n}{}",
            rng.pick(&["host", "broadcast", "multicast", "otherhost"])
        ),
        11 => format!("--mark {n}{:#x}/{:#x}", byte & 7, rng.byte() & 7),
        _ => format!(
            "-p 802_1Q {}",
            match rng.below(3) {
                0 => format!("--vlan-id {n}{}", 1 + (byte & 3)),
                1 => format!("--vlan-prio {n}{}", rng.one(&[0, 1, 7])),
                _ => format!("--vlan-encap {n}{}", rng.pick(&["IPv4", "IPv6"])),
            }
        ),
    };
    let target = match rng.below(8) {
        0 | 1 => format!(
            "mark --mark-{} {:#x} --mark-target CONTINUE",
            rng.pick(&["set", "or", "and", "xor"]),
            byte & 7
        ),
        2 => {
            (table, chain) = ("nat", "POSTROUTING");
            format!("snat --to-src 02:00:00:00:55:{byte:02x} --snat-target CONTINUE")
        }
        3 => {
            (table, chain) = ("nat", "PREROUTING");
            format!("dnat --to-dst 02:00:00:00:66:{byte:02x} --dnat-target CONTINUE")
        }
        4 => rng.pick(&["DROP", "ACCEPT", "RETURN"]).to_owned(),
        _ => "CONTINUE".to_owned(),
    };
    Rule { tool: "ebtables", table, words: format!("-A {chain} {condition} -j {target}") }
}
