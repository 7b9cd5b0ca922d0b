//! Twinwall's side: a worker with two ports, tap0 and tap1, that knows of the bed what Linux knows of it.

use std::net::IpAddr;
use std::sync::Arc;

use conntrack::proto::{sctp, tcp};
use conntrack::shard::{Config, Shard};
use conntrack::snapshot::Snapshot;
use conntrack::{Slot, Status};
use dataplane::control::{self, Arrivals, ToWorker, Wake, WorkerHandle};
use dataplane::rib::Rib;
use dataplane::tables::{PortMode, PortState, Tables};
use dataplane::worker::Worker;
use packet::{FlowKey, Tick, VecFrame, VecIo, VecPool};
use ruleset::ids::WorkerId;

use crate::bed::{self, Bed, Kind};
use crate::kernel::NEIGHBOURS;
use crate::names::End;
use crate::node::{self, IN, NAMES, OUT};
use crate::play::{Left, Side};
use crate::script::Tap;
use crate::seen;
use crate::table::Entry;

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// A worker and its time.
pub(crate) struct Way {
    worker: Worker<VecIo>,
    handle: WorkerHandle<VecFrame>,
    pool: VecPool,
    tables: Arc<Tables>,
    now: Tick,
}

/// Between two packets.
const STEP: u64 = 1_000_000;
const SECOND: f64 = 1e9;

impl Way {
    /// With the interfaces of the namespace that this thread is in.
    pub(crate) fn new(_kind: Kind) -> Self {
        let mode = PortMode::Routed;
        let port = PortState { mode, up: true, max_frame: 1522, vlan_insert: false };
        let mut rib = Rib::new(vec![port, port]);
        rib.name_ports(NAMES);
        node::known(&mut rib);
        for (addr, mac, tap) in NEIGHBOURS {
            let bytes = mac.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap());
            let mac = *bytes.collect::<Vec<_>>().first_chunk().unwrap();
            node::neighbour(&mut rib, usize::from(*tap == NAMES[1]), addr, mac);
        }
        Self::with(rib.publish().unwrap())
    }

    /// A worker that has seen nothing.
    fn with(tables: Arc<Tables>) -> Self {
        let pool = VecPool::new(4096);
        let (link, handle) = control::link(WorkerId(0), 2, Arc::new(Nobody));
        let shard = Shard::new(Config { max: 1 << 12, worker: 0 }).unwrap();
        let io = VecIo::new(2, pool.clone());
        let worker = Worker::new(io, link, tables.clone(), shard, 1000);
        Self { worker, handle, pool, tables, now: Tick(1_000_000_000) }
    }

    /// Turns until nothing is left to do; what was for the node itself.
    fn work(&mut self) -> Vec<Vec<u8>> {
        let mut local = Vec::new();
        while self.worker.turn(self.now) > 0 {
            while let Some((_, frame)) = self.handle.to_twin.pop() {
                local.push(frame.to_vec());
            }
        }
        self.handle.up.try_iter().for_each(drop);
        local
    }
}

/// See the module.
pub(crate) struct Ours<'a>(pub(crate) &'a Bed);

impl Ours<'_> {
    fn load(&self) {
        let program = self.0.program();
        let mut way = self.0.way.borrow_mut();
        let (_arrivals, arrivals) = Arrivals::new(1);
        for arrival in arrivals {
            way.handle.control.send(ToWorker::Program(program.clone(), arrival)).unwrap();
        }
        way.work();
    }
}

impl Side for Ours<'_> {
    fn name(&self) -> &'static str {
        "twinwall"
    }

    fn begin(&mut self) {
        let tables = self.0.way.borrow().tables.clone();
        self.0.way.replace(Way::with(tables));
        let text = format!("flush ruleset\n{}", seen::rules(false));
        self.0.nft(bed::Side::Ours, &["-f", "-"], &text).unwrap();
        self.load();
    }

    fn nft(&mut self, text: &str) -> Result<(), String> {
        self.0.nft(bed::Side::Ours, &["-f", "-"], text)?;
        self.load();
        Ok(())
    }

    fn sysctl(&mut self, name: &str, value: &str) {
        let mut way = self.0.way.borrow_mut();
        let name = format!("net.netfilter.{name}");
        way.worker.flows().settings_mut().set(&name, value.parse().unwrap()).unwrap();
    }

    fn wait(&mut self, seconds: f64) {
        let mut way = self.0.way.borrow_mut();
        way.now = Tick(way.now.0 + (seconds * SECOND) as u64);
        way.work();
    }

    fn pass(&mut self, at: Tap, frame: &[u8]) -> Left {
        let mut way = self.0.way.borrow_mut();
        let way = &mut *way;
        way.now = Tick(way.now.0 + STEP);
        let frame = way.pool.frame(frame).unwrap();
        way.worker.io().push_rx(if at == Tap::In { IN } else { OUT }, frame);
        let local = way.work();
        let mut sent =
            |port| way.worker.io().drain_sent(port).map(|frame| frame.to_vec()).collect();
        Left { frames: [sent(IN), sent(OUT), local], ..Left::default() }
    }

    fn listing(&mut self, family: &str, table: &str) -> String {
        self.0.nft(bed::Side::Ours, &["list", "table", family, table], "").unwrap()
    }

    fn table(&mut self) -> Vec<Entry> {
        let mut way = self.0.way.borrow_mut();
        let now = way.now;
        let shard = way.worker.flows();
        let mut slots = Vec::new();
        let mut from = Some(Slot(0));
        while let Some(slot) = from {
            from = shard.walk(slot, 1024, &mut |slot, _| slots.push(slot));
        }
        let entry = |slot: &Slot| shard.snapshot(*slot, now).map(|flow| told(&flow));
        let mut entries: Vec<_> = slots.iter().filter_map(entry).collect();
        entries.sort_by_key(|entry| (entry.protocol, entry.ends));
        entries
    }
}

/// A flow as the kernel's listing has it.
fn told(flow: &Snapshot) -> Entry {
    let [original, reply] = &flow.keys;
    let protocol = original.protocol;
    let state = match protocol {
        6 => {
            let tcp: tcp::Tcp = zerocopy::transmute!(flow.proto);
            tcp::State::of(tcp.state).map(|state| state.name().to_owned())
        }
        132 => {
            let sctp: sctp::Sctp = zerocopy::transmute!(flow.proto);
            sctp::State::of(sctp.state).map(|state| state.name().to_owned())
        }
        _ => None,
    };
    let [there, back] = [original.zone, reply.zone].map(u16::from_be_bytes);
    let zones = if there == back { [there, 0, 0] } else { [0, there, back] };
    let kind = |key: &FlowKey| (key.dport[0], key.dport[1]);
    Entry {
        protocol,
        state,
        ends: [ends(original, false), ends(reply, true)],
        kinds: matches!(protocol, 1 | 58).then(|| [kind(original), kind(reply)]),
        unreplied: !flow.status.has(Status::SEEN_REPLY),
        assured: flow.status.has(Status::ASSURED),
        mark: flow.mark,
        zones,
        accounts: flow.accounts.map(|by| by.map(|account| [account.packets, account.bytes])),
        timeout: u64::from(flow.remaining / 1000),
    }
}

fn ends(key: &FlowKey, is_reply: bool) -> [End; 2] {
    let addr = |bytes: &[u8; 16]| match key.family {
        4 => IpAddr::from(*bytes.first_chunk::<4>().unwrap()),
        _ => IpAddr::from(*bytes),
    };
    let [sport, dport] = [key.sport, key.dport].map(|port| Some(u16::from_be_bytes(port)));
    let ports = match key.protocol {
        6 | 17 | 132 | 136 => [sport, dport],
        1 | 58 if is_reply => [None, sport],
        1 | 58 => [sport, None],
        _ => [None, None],
    };
    [End { addr: addr(&key.src), port: ports[0] }, End { addr: addr(&key.dst), port: ports[1] }]
}
