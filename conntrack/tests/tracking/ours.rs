//! Our side: a shard, and a clock that is told.

use std::time::Duration;

use conntrack::proto::{sctp, tcp};
use conntrack::shard::{Config, Import, ImportState, Shard};
use conntrack::snapshot::Snapshot;
use conntrack::track::{self, Input, Place, Tracked};
use conntrack::{Direction, Slot, Status};
use packet::wire::ip;
use packet::{FlowKey, Tick, VecFrame};

use crate::packets::{Entry, Packet, Seen, address};

pub(crate) struct Ours {
    pub(crate) shard: Shard,
    now: Tick,
    /// Another node's, which hears of flows when it is told.
    standby: Shard,
    /// Where frames are split into segments.
    pub(crate) split: Vec<usize>,
}

impl Ours {
    pub(crate) fn new() -> Self {
        let shard = Shard::new(Config { max: 1000, worker: 0 }).unwrap();
        let mut standby = Shard::new(Config { max: 1000, worker: 0 }).unwrap();
        standby.hold();
        Self { shard, now: Tick::at(Duration::from_secs(100)), standby, split: Vec::new() }
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now = Tick(self.now.0 + time.as_nanos() as u64);
        self.shard.expire(self.now, 1000);
        self.standby.expire(self.now, 1000);
    }

    /// Tells the other node of all flows.
    pub(crate) fn say(&mut self) {
        let Self { shard, standby, now, .. } = self;
        shard.walk(Slot(0), 1000, &mut |slot, flow| {
            let mut proto = *flow.proto();
            if flow.key(Direction::Original).protocol == ip::TCP {
                let tcp: tcp::Tcp = zerocopy::transmute!(proto);
                let sides = [Direction::Original, Direction::Reply].map(|way| tcp.side(way));
                proto = zerocopy::transmute!(tcp::Tcp::imported(tcp.state, sides));
            }
            let state = ImportState {
                status: flow.status().0,
                mark: flow.mark(),
                remaining: shard.remaining(slot, *now),
                proto,
                labels: shard.labels(slot),
            };
            let keys = [Direction::Original, Direction::Reply].map(|way| *flow.key(way));
            let origin = u64::from(slot.0) << 22;
            let import = Import { origin, stamp: 1, order: 0, keys, state, timeouts: &[] };
            standby.import(&import, *now).unwrap().unwrap();
        });
    }

    /// Goes on at the other node, with what it was told.
    pub(crate) fn take_over(&mut self) {
        std::mem::swap(&mut self.shard, &mut self.standby);
        self.standby.hold();
        self.shard.release(self.now);
    }

    pub(crate) fn send(&mut self, packet: &Packet) -> Seen {
        let frame = VecFrame::from_split(&packet.frame(), &self.split);
        self.pass(&frame)
    }

    pub(crate) fn pass(&mut self, frame: &VecFrame) -> Seen {
        let Ok(layers) = packet::layers::parse(frame) else {
            return Seen { state: "dropped", table: self.table() };
        };
        let key = track::lookup_key(&layers, [0; 2]);
        let found = self.shard.find(&key, self.shard.hash(&key));
        let input = Input { frame, layers: &layers, place: Place::Prerouting, zone: [0; 2], found };
        let state = match track::packet(&mut self.shard, &input, self.now) {
            Tracked::Invalid => "invalid",
            Tracked::Untracked => "untracked",
            Tracked::Drop(_) => "dropped",
            Tracked::Flow { slot, info } => {
                if !self.shard.flow(slot).unwrap().status().has(Status::CONFIRMED) {
                    self.shard.confirm(slot, self.now).unwrap();
                }
                track::end(&mut self.shard, slot, self.now);
                match info.state_bit() {
                    2 => "established",
                    4 => "related",
                    _ => "new",
                }
            }
        };
        Seen { state, table: self.table() }
    }

    fn table(&self) -> Vec<Entry> {
        let mut table = Vec::new();
        self.shard.walk(Slot(0), 1000, &mut |slot, _| {
            table.push(entry(&self.shard.snapshot(slot, self.now).unwrap()));
        });
        table.sort();
        table
    }
}

fn entry(flow: &Snapshot) -> Entry {
    let [original, reply] = flow.keys;
    let protocol = original.protocol;
    let l3 = if original.family == 4 { "ipv4 2" } else { "ipv6 10" };
    let mut words = vec![l3.to_owned(), format!("{} {protocol}", name(protocol))];
    match protocol {
        ip::TCP => {
            let tcp: tcp::Tcp = zerocopy::transmute!(flow.proto);
            words.push(tcp::State::of(tcp.state).unwrap().name().to_owned());
        }
        ip::SCTP => {
            let sctp: sctp::Sctp = zerocopy::transmute!(flow.proto);
            words.push(sctp::State::of(sctp.state).unwrap().name().to_owned());
        }
        _ => {}
    }
    let account = |n: usize| {
        let account = flow.accounts.map(|accounts| accounts[n]);
        account.map(|a| format!("packets={} bytes={}", a.packets, a.bytes))
    };
    words.push(tuple(&original));
    words.extend(account(0));
    let mut flag = |bit, set, text: &str| {
        if flow.status.has(bit) == set {
            words.push(text.to_owned());
        }
    };
    flag(Status::SEEN_REPLY, false, "[UNREPLIED]");
    words.push(tuple(&reply));
    words.extend(account(1));
    let mut flag = |bit, text: &str| {
        if flow.status.has(bit) {
            words.push(text.to_owned());
        }
    };
    flag(Status::ASSURED, "[ASSURED]");
    Entry { text: words.join(" "), seconds: u64::from(flow.remaining / 1000) }
}

fn name(protocol: u8) -> &'static str {
    match protocol {
        ip::TCP => "tcp",
        ip::UDP => "udp",
        ip::UDP_LITE => "udplite",
        ip::ICMP => "icmp",
        ip::ICMP6 => "icmpv6",
        ip::SCTP => "sctp",
        ip::GRE => "gre",
        _ => "unknown",
    }
}

fn tuple(key: &FlowKey) -> String {
    let (src, dst) = (address(key.src, key.family), address(key.dst, key.family));
    let [sport, dport] = [key.sport, key.dport].map(u16::from_be_bytes);
    let [kind, code] = key.dport;
    let ports = match key.protocol {
        ip::TCP | ip::UDP | ip::UDP_LITE | ip::SCTP => format!(" sport={sport} dport={dport}"),
        ip::ICMP | ip::ICMP6 => format!(" type={kind} code={code} id={sport}"),
        ip::GRE => format!(" srckey={sport:#x} dstkey={dport:#x}"),
        _ => String::new(),
    };
    format!("src={src} dst={dst}{ports}")
}
