//! What random rules are made of: conditions and changes, in nft's words.

use crate::bed::Kind;
use crate::packets::{PORTS, V4, V6};
use crate::rng::Rng;
use crate::rules::Fam;
use crate::sets;

fn address4(rng: &mut Rng) -> String {
    let [a, b, c, d] = rng.one(V4);
    format!("{a}.{b}.{c}.{d}")
}

fn address6(rng: &mut Rng) -> String {
    let [a, b] = rng.one(V6);
    format!("2001:db8::{:x}", u16::from_be_bytes([a, b]))
}

/// A condition.
pub(crate) fn condition(rng: &mut Rng, family: Fam, hook: &str) -> String {
    let port = rng.one(PORTS);
    let not = if rng.chance(20) { "!= " } else { "" };
    let sort = rng.below(100);
    match sort {
        0..=69 if family == Fam::Arp => arp(rng, not),
        0..=21 => ports(rng, not, port),
        22..=39 => metas(rng, family, not, hook),
        40..=57 if family.v4() => ip(rng, not),
        58..=72 if family.v6() => ip6(rng, not),
        73..=80 => options(rng),
        81..=86 => icmp(rng, family, not),
        87..=90 => raw(rng),
        91..=94 if family.link() => link(rng, not),
        95..=97 => numbers(rng, family),
        98 | 99 => sets::condition(rng, not, family.v4()),
        _ => ports(rng, not, port),
    }
}

fn ports(rng: &mut Rng, not: &str, port: u16) -> String {
    let side = rng.pick(&["sport", "dport"]);
    let flags = ["syn", "syn,ack", "ack", "fin", "rst", "ack,psh"];
    match rng.below(15) {
        0 => format!("tcp {side} {not}{port}"),
        1 => format!("udp {side} {not}{port}"),
        2 => format!("th {side} {not}{port}"),
        3 => format!("tcp {side} {not}{{ {port}, 7, 9 }}"),
        4 => format!("udp {side} {not}1000-{}", 1000 + rng.below(20000)),
        5 => format!("tcp {side} {not}{{ 20-25, {}, 30000-60000 }}", rng.one(&[53, 80, 443])),
        6 => format!("tcp {side} {} {port}", rng.pick(&["<", "<=", ">", ">="])),
        7 => format!("{} {side} {not}@ports", rng.pick(&["tcp", "udp", "th"])),
        8 => format!("tcp flags {}", rng.pick(&flags)),
        9 => format!(
            "tcp flags & (fin|syn|rst|ack) {} {}",
            rng.pick(&["==", "!="]),
            rng.pick(&["syn", "ack", "syn | ack"])
        ),
        10 => format!("tcp window {} {}", rng.pick(&["<", ">"]), rng.next() as u16),
        11 => format!("udp length {not}{}-{}", 50, 60 + rng.below(60)),
        12 => format!("sctp {side} {not}{port}"),
        13 => format!("tcp doff {not}{}", rng.one(&[5, 6, 8, 10])),
        _ => format!("tcp sequence > {}", rng.next() as u32),
    }
}

fn metas(rng: &mut Rng, family: Fam, not: &str, hook: &str) -> String {
    let protocol = rng.pick(&["tcp", "udp", "icmp", "ipv6-icmp", "sctp", "47", "51", "udplite"]);
    match rng.below(24) {
        0 => format!("meta l4proto {not}{protocol}"),
        1 => format!("meta l4proto {not}{{ tcp, udp, {} }}", rng.pick(&["icmp", "sctp", "ah"])),
        2 => format!("meta length {not}{}-{}", rng.below(100), 100 + rng.below(60)),
        3 => format!("meta length {} {}", rng.pick(&["<", ">"]), 60 + rng.below(100)),
        4 => format!("meta mark {not}{}", rng.below(9)),
        5 => format!("meta mark & 0x{:x} == 0x{:x}", rng.byte() | 1, rng.byte() & 3),
        6 => "meta mark != 0".to_owned(),
        7 => format!("iifname {not}\"{}\"", rng.pick(&["tap0", "tap1", "tap*", "eth0", "t*"])),
        8 => format!(
            "oifname {not}\"{}\"",
            rng.pick(&["tap0", "tap1", "tap*", ""]).replace("\"\"", "tap")
        ),
        9 => format!("iif {not}{}", rng.pick(&["tap0", "tap1", "lo"])),
        10 => format!("oif {not}{}", rng.pick(&["tap0", "tap1"])),
        11 => format!("iiftype {not}{}", rng.pick(&["ether", "loopback"])),
        12 => format!("oiftype {not}ether"),
        13 => format!("iifgroup {not}{}", rng.one(&[10, 11])),
        14 => format!("oifgroup {not}{}", rng.one(&[10, 11])),
        15 => {
            format!("meta pkttype {not}{}", rng.pick(&["host", "broadcast", "multicast", "other"]))
        }
        16 => {
            format!("meta priority {not}{}", rng.pick(&["none", "0:2", "0:6", "1:2", "bffff:ffff"]))
        }
        17 if !matches!(family, Fam::Ip | Fam::Ip6) => {
            format!("meta protocol {not}{}", rng.pick(&["ip", "ip6", "arp", "vlan"]))
        }
        18 if family == Fam::Inet => format!("meta nfproto {}", rng.pick(&["ipv4", "ipv6"])),
        // A TAP's frames belong to the socket of who wrote them until the IP families take them: at ingress, and in what
        // inet's ingress chains jump to.
        19 if !family.link()
            && !hook.contains("ingress")
            && (family != Fam::Inet || !hook.is_empty()) =>
        {
            rng.pick(&[
                "meta skuid 0",
                "meta skgid != 0",
                "meta cgroup 1",
                "rtclassid 0",
                "meta rtclassid != 0",
            ])
            .to_owned()
        }
        20 => format!("iifkind {not}{}", rng.pick(&["\"tun\"", "\"veth\""])),
        21 => format!("oifkind {not}\"tun\""),
        22 if hook.is_empty() => "meta secmark 0".to_owned(),
        22 if family != Fam::Netdev && !hook.contains("ingress") && family != Fam::Bridge => rng
            .pick(&["rt ip nexthop 10.0.1.2", "rt ipsec missing", "rt classid 0"])
            .replace("rt ip ", if family == Fam::Ip6 { "rt ip6 " } else { "rt ip " })
            .replace("ip6 nexthop 10.0.1.2", "ip6 nexthop fd00:1::2"),
        23 if hook.contains("prerouting") && family != Fam::Bridge => {
            format!(
                "fib {} {}",
                rng.pick(&["saddr", "daddr", "saddr . iif", "daddr . iif"]),
                rng.pick(&["type unicast", "type local", "oif tap1", "oifname \"tap0\"", "oif 0"])
            )
        }
        _ => format!("meta l4proto {not}{protocol}"),
    }
}

fn ip(rng: &mut Rng, not: &str) -> String {
    let side = rng.pick(&["saddr", "daddr"]);
    let address = address4(rng);
    let port = rng.one(PORTS);
    match rng.below(20) {
        0 | 1 => format!("ip {side} {not}{address}"),
        2 => format!("ip {side} {not}{}/{}", "10.1.0.0", rng.one(&[8, 13, 16, 24]) / 8 * 8)
            .replace("/8", "/16"),
        3 => format!("ip {side} {not}{{ {address}, 1.2.3.4 }}"),
        4 => format!("ip {side} {not}{{ 10.0.0.0/8, 192.168.5.0-192.168.5.9 }}"),
        5 => format!("ip {side} {not}10.1.1.0-172.20.0.0"),
        6 => format!("ip {side} {not}@nets"),
        7 => format!("ip {side} . tcp dport {not}{{ {address} . {port}, 10.1.1.1 . 443 }}"),
        8 => format!("ip {side} . th dport {not}@flows"),
        9 => format!(
            "ip saddr . ip daddr {not}{{ {address} . {}, 10.1.1.1 . 8.8.8.8 }}",
            address4(rng)
        ),
        10 => format!("ip ttl {} {}", rng.pick(&["<", ">", "==", "!="]), rng.one(&[2, 31, 63, 64])),
        11 => format!("ip protocol {not}{}", rng.pick(&["tcp", "udp", "icmp", "{ tcp, esp }"])),
        12 => format!("ip dscp {not}{}", rng.pick(&["cs2", "ef", "af11", "0x02", "0x3f"])),
        13 => format!("ip ecn {not}{}", rng.pick(&["ce", "ect0", "not-ect"])),
        14 => format!("ip length {not}{}-{}", rng.below(90), 90 + rng.below(60)),
        15 => format!("ip id > {}", rng.next() as u16),
        16 => format!(
            "ip frag-off & 0x{} {} 0",
            rng.pick(&["1fff", "2000", "4000", "3fff"]),
            rng.pick(&["==", "!="])
        ),
        17 => format!("ip hdrlength {not}{}", rng.one(&[5, 6, 7])),
        18 => format!(
            "ip option {}",
            rng.pick(&[
                "ra exists",
                "ra missing",
                "rr exists",
                "ra value 0",
                "rr ptr 8",
                "lsrr exists",
                "rr length 7"
            ])
        ),
        _ => format!(
            "ip {side} & 255.255.0.255 {} 10.1.0.{}",
            rng.pick(&["==", "!="]),
            rng.one(&[1, 3])
        ),
    }
}

fn ip6(rng: &mut Rng, not: &str) -> String {
    let side = rng.pick(&["saddr", "daddr"]);
    let address = address6(rng);
    match rng.below(18) {
        0..=2 => format!("ip6 {side} {not}{address}"),
        3 => format!("ip6 {side} {not}2001:db8::/{}", rng.one(&[32, 112, 120, 125])),
        4 => format!("ip6 {side} {not}{{ {address}, 2001:db8::77 }}"),
        5 => format!("ip6 {side} {not}@nets6"),
        6 => format!(
            "ip6 {side} . udp dport {not}{{ {address} . {}, 2001:db8::1 . 80 }}",
            rng.one(PORTS)
        ),
        7 => format!("ip6 hoplimit {} {}", rng.pick(&["<", ">", "=="]), rng.one(&[2, 63, 64])),
        8 => {
            format!("ip6 nexthdr {not}{}", rng.pick(&["tcp", "udp", "ipv6-icmp", "{ tcp, 0, 44 }"]))
        }
        9 => format!("ip6 dscp {not}{}", rng.pick(&["cs2", "ef", "0x3f"])),
        10 => format!("ip6 flowlabel {} {}", rng.pick(&["<", ">"]), rng.below(1 << 20)),
        11 => format!("ip6 length {not}{}-{}", 40, 90 + rng.below(60)),
        12 => format!(
            "exthdr {} {}",
            rng.pick(&["hbh", "frag", "rt", "dst", "mh"]),
            rng.pick(&["exists", "missing"])
        ),
        13 => format!(
            "frag {}",
            rng.pick(&[
                "frag-off 0",
                "more-fragments 1",
                "id > 16909055",
                "nexthdr 50",
                "frag-off 8"
            ])
        ),
        14 => {
            format!("{} nexthdr {not}{}", rng.pick(&["hbh", "dst"]), rng.pick(&["50", "89", "60"]))
        }
        15 => format!("rt {}", rng.pick(&["type 2", "seg-left 0", "nexthdr 50"])),
        16 => format!("ah {}", rng.pick(&["spi > 300", "nexthdr 50", "hdrlength 2"])),
        _ => format!("ip6 {side} & ::ff {} ::1", rng.pick(&["==", "!="])),
    }
}

fn options(rng: &mut Rng) -> String {
    match rng.below(8) {
        0 => format!(
            "tcp option maxseg size {} {}",
            rng.pick(&["<", ">", "=="]),
            rng.one(&[536, 1000, 1460])
        ),
        1 => format!(
            "tcp option {} {}",
            rng.pick(&["sack-perm", "timestamp", "window", "maxseg", "nop", "sack", "eol"]),
            rng.pick(&["exists", "missing"])
        ),
        2 => format!("tcp option window count {}", rng.one(&[7, 8])),
        3 => format!("tcp option timestamp tsval {} {}", rng.pick(&["<", ">"]), rng.one(&[8, 200])),
        4 => format!(
            "sctp chunk {} {}",
            rng.pick(&["data", "init", "sack", "shutdown-complete"]),
            rng.pick(&["exists", "missing"])
        ),
        5 => format!(
            "sctp chunk data {}",
            rng.pick(&["flags 1", "tsn > 100", "type 0", "length > 60"])
        ),
        6 => "tcp option maxseg length 4".to_owned(),
        _ => format!("tcp option @{},{},{} > 4", rng.one(&[2, 3, 8]), rng.one(&[8, 16]), 8),
    }
}

fn icmp(rng: &mut Rng, family: Fam, not: &str) -> String {
    match rng.below(6) {
        0 | 1 if family.v4() => format!(
            "icmp type {not}{}",
            rng.pick(&["echo-request", "{ echo-reply, time-exceeded }", "destination-unreachable"])
        ),
        2 if family.v4() => format!("icmp code {not}{}", rng.below(4)),
        3 | 4 if family.v6() => format!(
            "icmpv6 type {not}{}",
            rng.pick(&[
                "echo-request",
                "{ echo-reply, packet-too-big }",
                "destination-unreachable"
            ])
        ),
        5 if family.v6() => format!("icmpv6 code {not}{}", rng.below(4)),
        _ => "meta l4proto { icmp, ipv6-icmp }".to_owned(),
    }
}

/// Bytes by number, also such as lie behind the packet's end.
fn raw(rng: &mut Rng) -> String {
    let op = rng.pick(&["==", "!=", "<", ">"]);
    match rng.below(7) {
        0 => format!("@th,{},16 {op} {}", 16 * rng.below(8), rng.next() as u16),
        1 => format!("@nh,{},8 {op} {}", 8 * rng.below(20), rng.byte()),
        2 => format!("@nh,{},32 {op} 0x{:x}", 32 * rng.below(40), rng.next() as u32),
        3 => format!(
            "@th,{},8 & 0x{:x} {} 0",
            8 * rng.below(20),
            rng.byte() | 1,
            rng.pick(&["==", "!="])
        ),
        4 => format!("@ll,{},16 {op} {}", 16 * rng.below(7), rng.next() as u16),
        5 => format!("@th,{},{} {op} {}", rng.below(90), 3 + rng.below(5), rng.below(8)),
        _ => format!("@ih,{},32 {op} 0x{:x}", 32 * rng.below(8), rng.next() as u32),
    }
}

fn link(rng: &mut Rng, not: &str) -> String {
    match rng.below(6) {
        0 => format!("ether saddr {not}02:00:00:00:00:1{}", rng.below(4)),
        1 => format!(
            "ether daddr {not}{}",
            rng.pick(&[
                "ff:ff:ff:ff:ff:ff",
                "02:00:00:00:00:01",
                "{ 02:00:00:00:00:21, 02:00:00:00:09:09 }"
            ])
        ),
        2 => format!("ether type {not}{}", rng.pick(&["ip", "ip6", "vlan"])),
        3 => format!("vlan id {not}{}", 1 + rng.below(5)),
        4 => format!("vlan pcp {not}{}", rng.one(&[0, 1, 7])),
        _ => format!("vlan type {not}{}", rng.pick(&["ip", "ip6"])),
    }
}

fn numbers(rng: &mut Rng, family: Fam) -> String {
    let modulus = 2 + rng.below(6);
    let which = rng.below(modulus);
    match rng.below(4) {
        0 => format!("numgen inc mod {modulus} {which}"),
        1 => format!("numgen inc mod {modulus} offset 10 > {}", 10 + which),
        2 if family.v4() => format!(
            "jhash ip saddr . tcp dport mod {modulus} seed 0x{:x} {which}",
            rng.next() as u32
        ),
        3 if family.v6() => {
            format!("jhash ip6 saddr mod {modulus} seed 0x{:x} {which}", rng.next() as u32)
        }
        _ => format!("numgen inc mod {modulus} < {}", which + 1),
    }
}

fn arp(rng: &mut Rng, not: &str) -> String {
    let address = 2 + rng.below(32);
    match rng.below(12) {
        0 => {
            format!("arp operation {not}{}", rng.pick(&["request", "reply", "{ request, rreply }"]))
        }
        1 | 2 => format!("arp saddr ip {not}10.0.0.{address}"),
        3 => format!("arp saddr ip {not}10.0.0.0/{}", rng.one(&[24, 28, 30])),
        4 => format!("arp daddr ip {not}{}", rng.pick(&["10.0.0.1", "10.0.1.1", "10.0.0.77"])),
        5 => format!("arp saddr ether {not}02:00:00:00:00:1{}", rng.below(4)),
        6 => format!("arp daddr ether {not}00:00:00:00:00:00"),
        7 => "arp htype 1 arp ptype ip".to_owned(),
        8 => format!("arp hlen {not}6"),
        9 => format!("ether daddr {not}ff:ff:ff:ff:ff:ff"),
        10 => format!("ether type {not}arp"),
        _ => format!("arp saddr ip {not}{{ 10.0.0.{address}, 10.0.0.5-10.0.0.9 }}"),
    }
}

/// A change of the packet or of what is known of it.
pub(crate) fn change(rng: &mut Rng, family: Fam, hook: &str, kind: Kind) -> String {
    let port = rng.one(PORTS);
    let sort = rng.below(100);
    match sort {
        30..=99 if family == Fam::Arp => match rng.below(4) {
            0 => format!("arp saddr ip set 10.0.0.{}", 2 + rng.below(32)),
            1 => "arp saddr ether set 02:00:00:00:00:33".to_owned(),
            2 => format!("arp daddr ip set 10.0.0.{}", rng.one(&[1, 77])),
            _ => "arp operation set reply".to_owned(),
        },
        0..=21 => marks(rng, family),
        22..=29 => sets::change(rng, family.v4()),
        30..=34 => format!("meta priority set {}", rng.pick(&["1:2", "none", "0:6"])),
        35..=55 if family.v4() => change4(rng),
        56..=72 if family.v6() => change6(rng),
        73..=90 => format!(
            "{} {} set {port}",
            rng.pick(&["tcp", "udp", "sctp"]),
            rng.pick(&["sport", "dport"])
        ),
        91 => format!("tcp option maxseg size set {}", rng.one(&[536, 1000, 1440, 9000])),
        92 => format!(
            "reset tcp option {}",
            rng.pick(&["sack-perm", "timestamp", "maxseg", "window"])
        ),
        93 => format!("icmp code set {}", rng.below(3)),
        // In an authentication header this would break the chain, and such packets do not get so far here.
        94 => format!(
            "meta l4proto {{ tcp, udp }} @th,{},16 set {}",
            16 * rng.below(2),
            rng.next() as u16
        ),
        95 if family.link() && kind == Kind::Bridged => {
            format!("ether {} set 02:00:00:00:00:2{}", rng.pick(&["saddr", "daddr"]), rng.below(4))
        }
        96 if family.link() && kind == Kind::Bridged => format!("vlan id set {}", 1 + rng.below(9)),
        97 if hook.contains("prerouting") || family == Fam::Netdev && hook.contains("ingress") => {
            format!("meta pkttype set {}", rng.pick(&["host", "broadcast", "multicast", "other"]))
        }
        98 => format!("tcp window set {}", rng.next() as u16),
        _ => marks(rng, family),
    }
}

fn marks(rng: &mut Rng, family: Fam) -> String {
    let value = rng.below(9);
    match rng.below(9) {
        0..=2 => format!("meta mark set {value}"),
        3 => format!("meta mark set meta mark | 0x{value:x}0"),
        4 => format!("meta mark set meta mark & 0x{:x}", rng.byte()),
        5 => format!("meta mark set meta mark ^ 0x{:x}", rng.byte()),
        6 => {
            format!("meta mark set tcp dport map {{ 22 : 1, 80 : 2, 443-1005 : 3, {} : 4 }}", 5060)
        }
        7 => "meta mark set udp dport map @marks".to_owned(),
        _ if family.v4() => {
            format!("meta mark set jhash ip daddr mod {} seed 0x5eed offset 3", 2 + value)
        }
        _ => format!("meta mark set numgen inc mod {} offset 1", 2 + value),
    }
}

fn change4(rng: &mut Rng) -> String {
    let address = address4(rng);
    match rng.below(9) {
        0 => format!("ip ttl set {}", 2 + rng.below(250)),
        1 => format!("ip dscp set {}", rng.pick(&["cs1", "ef", "af42", "cs0"])),
        2 => format!("ip ecn set {}", rng.pick(&["ce", "ect1"])),
        3 | 4 => format!("ip saddr set {address}"),
        5 | 6 => format!("ip daddr set {address}"),
        7 => format!("ip id set {}", rng.next() as u16),
        _ => format!("ip daddr set tcp dport map {{ 80 : {address}, 443 : 10.1.1.1 }}"),
    }
}

fn change6(rng: &mut Rng) -> String {
    let address = address6(rng);
    match rng.below(6) {
        0 => format!("ip6 hoplimit set {}", 2 + rng.below(250)),
        1 => format!("ip6 dscp set {}", rng.pick(&["cs1", "ef"])),
        2 => format!("ip6 saddr set {address}"),
        3 => format!("ip6 daddr set {address}"),
        4 => format!("ip6 flowlabel set {}", rng.below(1 << 20)),
        _ => format!("icmpv6 code set {}", rng.below(3)),
    }
}
