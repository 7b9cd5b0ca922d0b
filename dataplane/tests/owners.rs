//! Two workers share flows out among them: whoever receives a packet, its flow's owner decides, translated or not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs)]

mod common;

use std::sync::Arc;

use common::rules::*;
use common::*;
use conntrack::shard::{Config, Shard};
use conntrack::{Direction, Slot};
use dataplane::control::{self, Arrivals, ToWorker, WorkerHandle, WorkerLink};
use dataplane::owners::{Owners, Peers};
use dataplane::rib::{Change, NeighbourState, Rib};
use dataplane::worker::Worker;
use etherparse::PacketBuilder;
use packet::{FlowKey, PortIndex, Tick, VecFrame, VecIo, VecPool, checksum};
use ruleset::family::Family;
use ruleset::ids::WorkerId;
use ruleset::program::Program;

const WORKERS: u16 = 2;
const NOW: Tick = Tick(5_000_000_000);
/// The address that is forwarded to [`SERVER`].
const PUBLIC: [u8; 4] = [10, 0, 2, 1];
const SERVER: [u8; 4] = [10, 0, 1, 3];
const DPORT: u16 = 8080;

struct Pair {
    workers: Vec<Worker<VecIo>>,
    handles: Vec<WorkerHandle<VecFrame>>,
    owners: Owners,
    pool: VecPool,
    random: fastrand::Rng,
}

impl Pair {
    fn new(program: &Arc<Program>) -> Self {
        let mut rib = Rib::new(vec![UP; 3]);
        know(&mut rib);
        for n in 3..=40 {
            rib.apply(Change::Neighbour {
                iface: LAN_IF,
                addr: ip(&format!("10.0.1.{n}")),
                state: NeighbourState::Reachable(HOST_MAC),
            });
        }
        let tables = rib.publish().unwrap();
        let pool = VecPool::new(8192);
        let owners = Owners::new(0x6d5a, WORKERS);
        let (mut workers, mut handles) = (Vec::new(), Vec::new());
        for (n, peers) in (0..).zip(Peers::mesh(owners)) {
            let (link, handle) = control::link(WorkerId(n), 3, Arc::new(Wakes::default()));
            let link = WorkerLink { peers, ..link };
            let shard = Shard::new(Config { max: 1 << 14, worker: n }).unwrap();
            let io = VecIo::new(3, pool.clone());
            workers.push(Worker::new(io, link, tables.clone(), shard, 1000));
            let (_arrivals, each) = Arrivals::new(1);
            for arrival in each {
                handle.control.send(ToWorker::Program(program.clone(), arrival)).unwrap();
            }
            handles.push(handle);
        }
        Self { workers, handles, owners, pool, random: fastrand::Rng::with_seed(7) }
    }

    /// Any worker receives these frames, in bursts; what leaves by each port, whoever sends it.
    fn pass(&mut self, port: PortIndex, frames: &[Vec<u8>]) -> [Vec<Vec<u8>>; 3] {
        let mut sent: [Vec<Vec<u8>>; 3] = Default::default();
        for burst in frames.chunks(50) {
            for frame in burst {
                let n = self.random.usize(0..self.workers.len());
                let frame = self.pool.frame(frame).unwrap();
                self.workers[n].io().push_rx(port, frame);
            }
            while self.workers.iter_mut().map(|worker| worker.turn(NOW)).sum::<usize>() > 0 {}
            for worker in &mut self.workers {
                for (port, sent) in [LAN, WAN, DMZ].into_iter().zip(&mut sent) {
                    sent.extend(worker.io().drain_sent(port).map(|frame| frame.to_vec()));
                }
            }
        }
        sent
    }

    /// Each worker's flows.
    fn flows(&mut self) -> Vec<Vec<[FlowKey; 2]>> {
        let keys = |worker: &mut Worker<VecIo>| {
            let mut all = Vec::new();
            let mut from = Some(Slot(0));
            while let Some(at) = from {
                from = worker.flows().walk(at, 4096, &mut |_, flow| {
                    all.push([Direction::Original, Direction::Reply].map(|way| *flow.key(way)));
                });
            }
            all
        };
        self.workers.iter_mut().map(keys).collect()
    }

    fn drops(&self) -> Vec<(&'static str, u64)> {
        let reasons = packet::DropReason::ALL.iter();
        let each = |reason: &packet::DropReason| {
            let ports = self
                .handles
                .iter()
                .flat_map(|handle| (0..3).filter_map(|n| handle.stats.port(PortIndex(n))));
            (reason.name(), ports.map(|port| port.drops(*reason)).sum())
        };
        reasons.map(each).filter(|(_, n)| *n > 0).collect()
    }
}

/// Masquerades what leaves by the WAN, and forwards a port of its address to a server.
fn program() -> Arc<Program> {
    let mut ruleset = Ruleset::counted_by(WORKERS.into());
    let family = Family::Ipv4;
    ruleset.base(family, "leave", ("nat", 4), ACCEPT, &[]);
    ruleset.rule(family, "leave", &[meta(5), is(&WAN_IF.0.to_ne_bytes()), expr("masq", |_| {})]);
    ruleset.base(family, "arrive", ("nat", 0), ACCEPT, &[]);
    let to_server = expr("nat", |out| {
        out.u32(1, 1);
        out.u32(2, 2);
        out.u32(3, 1);
    });
    let forward = [
        load(NETWORK, 16, 4),
        is(&PUBLIC),
        load(TRANSPORT, 2, 2),
        is(&DPORT.to_be_bytes()),
        value(1, &SERVER),
        to_server,
    ];
    ruleset.rule(family, "arrive", &forward);
    ruleset.commit()
}

fn udp(from: [u8; 4], sport: u16, to: [u8; 4], dport: u16, macs: [[u8; 6]; 2]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ethernet2(macs[0], macs[1]).ipv4(from, to, 64);
    builder.udp(sport, dport).write(&mut bytes, b"twelve bytes").unwrap();
    bytes
}

/// What answers a frame that was sent.
fn answer(frame: &[u8]) -> Vec<u8> {
    let mut back = frame.to_vec();
    back[..12].rotate_left(6);
    back[26..34].rotate_left(4);
    back[34..38].rotate_left(2);
    back
}

/// A router on the way says that the host is unreachable.
fn unreachable(frame: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let macs = [[frame[6], frame[7], frame[8], frame[9], frame[10], frame[11]], GATEWAY_MAC];
    let to = [frame[26], frame[27], frame[28], frame[29]];
    let kind = etherparse::Icmpv4Type::DestinationUnreachable(
        etherparse::icmpv4::DestUnreachableHeader::Host,
    );
    let builder = PacketBuilder::ethernet2(macs[1], macs[0]).ipv4([192, 0, 2, 9], to, 64);
    builder.icmpv4(kind).write(&mut bytes, &frame[14..]).unwrap();
    bytes
}

fn ports(frame: &[u8]) -> [u16; 2] {
    [34, 36].map(|at| u16::from_be_bytes([frame[at], frame[at + 1]]))
}

fn is_whole(frame: &[u8]) -> bool {
    let pool = VecPool::new(1);
    let frame = pool.frame(frame).unwrap();
    let layers = packet::Layers::of(&frame);
    checksum::transport_sum(&frame, &layers).is_none_or(|sum| sum.is_valid())
}

#[test]
fn a_flow_is_its_owners_whoever_receives_it() {
    let mut pair = Pair::new(&program());
    // Masqueraded: the port is chosen so that the answers have the same owner.
    let there: Vec<_> = (0..1000u16)
        .map(|n| {
            let from = [10, 0, 1, 2 + (n % 30) as u8];
            udp(from, 20_000 + n, [8, 8, (n / 7) as u8, n as u8], 53, [HOST_MAC, LAN_MAC])
        })
        .collect();
    let [_, sent, _] = pair.pass(LAN, &there);
    assert_eq!((sent.len(), pair.drops()), (1000, vec![]));
    assert!(sent.iter().all(|frame| frame[26..30] == PUBLIC && is_whole(frame)));
    let owners = pair.owners;
    let flows = pair.flows();
    assert_eq!(flows.iter().map(Vec::len).sum::<usize>(), 1000);
    for (worker, flows) in (0..).map(WorkerId).zip(&flows) {
        assert!(flows.len() > 300, "{} of 1000 flows", flows.len());
        for [original, reply] in flows {
            assert_eq!((owners.of(original), owners.of(reply)), (worker, worker));
        }
    }
    let answers: Vec<_> = sent.iter().map(|frame| answer(frame)).collect();
    let [back, _, _] = pair.pass(WAN, &answers);
    assert_eq!((back.len(), pair.drops()), (1000, vec![]));
    let mut returned: Vec<_> = back.iter().map(|frame| ports(frame)[1]).collect();
    returned.sort_unstable();
    assert_eq!(returned, (20_000..21_000).collect::<Vec<_>>());
    assert!(back.iter().all(|frame| frame[30..33] == [10, 0, 1] && is_whole(frame)));
    // Errors about them come to their owner by what they quote, and go to the host.
    let errors: Vec<_> = sent.iter().map(|frame| unreachable(frame)).collect();
    let [told, _, _] = pair.pass(WAN, &errors);
    assert_eq!((told.len(), pair.drops()), (1000, vec![]));
    assert!(told.iter().all(|frame| frame[30..33] == [10, 0, 1] && frame[54..57] == [10, 0, 1]));
    // Both kinds found their flows: there are no others.
    assert_eq!(pair.flows().iter().map(Vec::len).sum::<usize>(), 1000);
    let handed: u64 = pair.handles.iter().map(|handle| handle.stats.handed_over.get()).sum();
    assert!((1000..2000).contains(&handed), "about half of 3000 frames: {handed}");
}

#[test]
fn an_alias_brings_answers_to_a_flow_that_does_not_look_like_its_owners() {
    let mut pair = Pair::new(&program());
    // Ports must stay, and the server's address differs from the public one by an odd part of the hash: all answers look like
    // the other worker's.
    let there: Vec<_> = (0..600u16)
        .map(|n| {
            let from = [8, 8, (n / 7) as u8, n as u8];
            udp(from, 30_000 + n, PUBLIC, DPORT, [GATEWAY_MAC, WAN_MAC])
        })
        .collect();
    let [sent, _, _] = pair.pass(WAN, &there);
    assert_eq!((sent.len(), pair.drops()), (600, vec![]));
    assert!(sent.iter().all(|frame| frame[30..34] == SERVER && is_whole(frame)));
    assert!(sent.iter().all(|frame| ports(frame)[0] >= 30_000 && ports(frame)[1] == DPORT));
    let owners = pair.owners;
    let flows = pair.flows();
    let aliens = (0..).map(WorkerId).zip(&flows).flat_map(|(worker, flows)| {
        flows.iter().filter(move |[_, reply]| owners.of(reply) != worker)
    });
    let aliens = aliens.count();
    assert_eq!(aliens, 600);
    let answers: Vec<_> = sent.iter().map(|frame| answer(frame)).collect();
    let [_, back, _] = pair.pass(LAN, &answers);
    assert_eq!((back.len(), pair.drops()), (600, vec![]));
    assert!(back.iter().all(|frame| frame[26..30] == PUBLIC && is_whole(frame)));
    assert_eq!(pair.flows().iter().map(Vec::len).sum::<usize>(), 600);
    assert_eq!(pair.workers.iter().map(Worker::aliases).sum::<usize>(), 600);
    // Once the flows have expired nobody holds on to their tuples.
    let later = Tick(NOW.0 + 400_000_000_000);
    for _ in 0..600 {
        for worker in &mut pair.workers {
            worker.turn(later);
        }
    }
    assert_eq!(pair.flows().iter().map(Vec::len).sum::<usize>(), 0);
    assert_eq!(pair.workers.iter().map(Worker::aliases).sum::<usize>(), 0);
}
