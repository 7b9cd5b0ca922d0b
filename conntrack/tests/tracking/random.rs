//! What no script says: packets by chance, through both, until they differ.
//!
//! `TWINWALL_SEED` begins with that seed, `TWINWALL_ROUNDS` says how many connections to try.

use std::fmt::Write;
use std::time::Instant;

use fastrand::Rng;

use crate::kernel::Kernel;
use crate::ours::Ours;
use crate::packets::Packet;

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// One of these.
fn one<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.usize(..of.len())]
}

/// Two sides of a TCP connection, which mostly do as they should.
struct Tcp {
    /// What each side sends next, by side.
    next: [u32; 2],
    /// What each side has acknowledged.
    acked: [u32; 2],
    v6: bool,
}

impl Tcp {
    fn new(rng: &mut Rng) -> Self {
        let base = |rng: &mut Rng| match rng.u8(..4) {
            0 => u32::MAX - rng.u32(..3000),
            1 => rng.u32(..3000),
            _ => rng.u32(..),
        };
        let next = [base(rng), base(rng)];
        Self { next, acked: [next[1], next[0]], v6: rng.u8(..4) == 0 }
    }

    fn odd(rng: &mut Rng) -> u32 {
        let near = rng.u32(..3);
        let distance = *rng
            .choice(&[0, 1, 10, 100, 1000, 8192, 65_535, 66_000, 70_000, 1 << 30, 1 << 31])
            .unwrap();
        let distance = distance + near;
        if rng.bool() { distance } else { distance.wrapping_neg() }
    }

    fn line(&mut self, rng: &mut Rng, step: usize) -> String {
        let mut side = usize::from(rng.bool());
        let mut flags = match step {
            0 => one(rng, &["S", "S", "S", "S", "S", "A", "PA"]),
            1 => one(rng, &["SA", "SA", "SA", "SA", "S", "A", "RA"]),
            2 => one(rng, &["A", "A", "A", "SA", "PA", "R"]),
            _ => one(
                rng,
                &["A", "A", "A", "PA", "PA", "PA", "PA", "FA", "S", "SA", "R", "RA", "A", "A"],
            ),
        };
        if step < 3 && rng.u8(..8) != 0 {
            side = step % 2;
        }
        if rng.u8(..60) == 0 {
            flags = one(rng, &["F", "SF", "U", "AU", "FAU", "SU", "P", "SAU", "SEC"]);
        }
        let syn = flags.contains('S');
        let len = if flags.contains('P') || rng.u8(..12) == 0 { rng.u32(..1400) } else { 0 };
        let mut seq = self.next[side];
        if syn && rng.u8(..3) != 0 {
            seq = seq.wrapping_sub(1);
        }
        if !flags.contains('S') && rng.u8(..2) == 0 {
            // It has seen all that the other side sent.
            self.acked[side] = self.next[1 - side];
        }
        let mut ack = self.acked[side];
        if rng.u8(..6) == 0 {
            seq = seq.wrapping_add(Self::odd(rng));
        }
        if rng.u8(..6) == 0 {
            ack = ack.wrapping_add(Self::odd(rng));
        }
        if flags == "R" || (flags == "RA" && rng.bool()) {
            // Often the number that is expected, or none.
            seq = *rng.choice(&[seq, self.acked[1 - side], 0]).unwrap();
        }
        let window = *rng.choice(&[0, 1, 100, 1000, 8192, 8192, 8192, 65_535]).unwrap();
        let moves = len + u32::from(syn) + u32::from(flags.contains('F'));
        if rng.u8(..8) != 0 {
            self.next[side] = seq.wrapping_add(moves);
        }
        let way = if side == 0 { ">" } else { "<" };
        let family = if self.v6 { "v6 " } else { "" };
        let mut line =
            format!("{way} {family}tcp {flags} seq={seq} ack={ack} win={window} len={len}");
        if syn && rng.u8(..3) != 0 {
            let scale = rng.u8(..16);
            let options =
                ["mss", "sack", &format!("ws{scale}"), "mss,sack,ts", &format!("sack,ws{scale}")];
            write!(line, " opt={}", rng.choice(options).unwrap()).unwrap();
        } else if !syn && rng.u8(..4) == 0 {
            let from = ack.wrapping_add(rng.u32(..3000));
            let to = from.wrapping_add(rng.u32(..3000));
            let sack = format!("{from}-{to}");
            let options = ["ts", &sack, &format!("ts,{sack}"), &format!("{sack},{to}-{from}")];
            write!(line, " opt={}", rng.choice(options).unwrap()).unwrap();
        }
        line
    }
}

/// A packet of SCTP, with tags that are mostly right.
fn sctp(rng: &mut Rng) -> String {
    let (way, tag) = if rng.bool() { (">", 22) } else { ("<", 11) };
    let chunks = [
        "init=11",
        "init=22",
        "initack=22",
        "initack=11",
        "echo",
        "cookieack",
        "data",
        "sack",
        "hb",
        "hback",
        "abort",
        "abort/1",
        "shutdown",
        "shutdownack",
        "complete",
        "complete/1",
        "error",
        "hb data",
        "echo data",
        "hb hback",
        "data data",
        "init=11 data",
        "shutdown hb",
    ];
    let chunks = rng.choice(chunks).unwrap();
    let tag = match rng.u8(..8) {
        0 => 0,
        1 => 33 - tag,
        2 => rng.u32(..50),
        _ if chunks.starts_with("init=") => 0,
        _ => tag,
    };
    format!("{way} sctp tag={tag} {chunks}")
}

/// Anything else.
fn other(rng: &mut Rng) -> String {
    let way = one(rng, &[">", "<"]);
    let back = one(rng, &[">", "<"]);
    let v6 = rng.u8(..3) == 0;
    let family = if v6 { "v6 " } else { "" };
    let plain = |rng: &mut Rng| {
        let kinds: &[u8] = if v6 { &[128, 129, 139, 140, 1, 135] } else { &[0, 8, 13, 14, 3, 9] };
        match rng.u8(..7) {
            0 | 1 => format!("{family}udp ports={},80", 1000 + rng.u16(..2)),
            2 | 3 => format!(
                "{family}icmp {} {} id={}",
                rng.choice(kinds).unwrap(),
                rng.u8(..2),
                rng.u16(..2)
            ),
            4 => format!("{family}gre"),
            5 => format!("{family}gre call={}", rng.u16(..3)),
            _ => format!("{family}other {}", rng.choice([50_u8, 89, 4]).unwrap()),
        }
    };
    if rng.u8(..3) != 0 {
        return format!("{way} {}", plain(rng));
    }
    let kinds: &[u8] = if v6 { &[1, 2, 3, 4] } else { &[3, 4, 5, 11, 12] };
    let keep = if rng.u8(..4) == 0 { rng.u32(..70) } else { 1000 };
    let kind = rng.choice(kinds).unwrap();
    format!("{way} {family}error {kind} 1 keep={keep} : {back} {}", plain(rng))
}

/// The lines of a round.
fn lines(rng: &mut Rng) -> Vec<String> {
    let mut tcp = Tcp::new(rng);
    let kind = rng.u8(..10);
    let packets = 8 + rng.usize(..30);
    let mut lines: Vec<String> = (0..packets)
        .map(|step| match kind {
            0 => other(rng),
            1 => sctp(rng),
            _ => tcp.line(rng, step),
        })
        .collect();
    if rng.bool() {
        lines.insert(0, "set nf_conntrack_acct 1".to_owned());
    }
    if rng.u8(..4) == 0 {
        let setting = one(
            rng,
            &[
                "tcp_loose 0",
                "tcp_be_liberal 1",
                "tcp_ignore_invalid_rst 1",
                "tcp_max_retrans 1",
                "tcp_max_retrans 0",
                "tcp_timeout_max_retrans 7",
                "tcp_timeout_unacknowledged 500000",
            ],
        );
        lines.insert(0, format!("set nf_conntrack_{setting}"));
    }
    lines
}

/// The same lines through both; what was seen up to where they differ.
fn round(kernel: &mut Kernel, lines: &[String], split: &[usize]) -> Result<usize, String> {
    kernel.reset();
    let mut ours = Ours::new();
    ours.split = split.to_vec();
    let mut said = String::new();
    let mut packets = 0;
    let mut before = Instant::now();
    for line in lines {
        if let Some(setting) = line.strip_prefix("set ") {
            let (name, value) = setting.split_once(' ').unwrap();
            kernel.set(name, value);
            ours.shard.settings_mut().set(name, value.parse().unwrap()).unwrap();
            writeln!(said, "{line}").unwrap();
            continue;
        }
        let packet = Packet::parse(line);
        let theirs = kernel.send(&packet);
        // The kernel's time goes on, on a busy machine by seconds.
        ours.wait(before.elapsed());
        before = Instant::now();
        let our = ours.send(&packet);
        packets += 1;
        writeln!(said, "{line} = {theirs}").unwrap();
        if !our.is(&theirs) {
            return Err(format!("{said}  here = {our}\n{:#?}\n{:#?}", theirs.table, our.table));
        }
    }
    Ok(packets)
}

#[test]
fn kernel() {
    let Some(mut kernel) = Kernel::new() else { return };
    let first = variable("TWINWALL_SEED", fastrand::u64(..1 << 40));
    let rounds = variable("TWINWALL_ROUNDS", 60);
    println!("TWINWALL_SEED={first}");
    let mut packets = 0;
    for seed in first..first + rounds {
        let mut rng = Rng::with_seed(seed);
        let lines = lines(&mut rng);
        let split: Vec<usize> = if rng.bool() { vec![rng.usize(..90)] } else { Vec::new() };
        match round(&mut kernel, &lines, &split) {
            Ok(count) => packets += count,
            Err(said) => panic!("TWINWALL_SEED={seed} TWINWALL_ROUNDS=1\n{said}"),
        }
    }
    println!("{rounds} connections, {packets} packets: the same");
}
