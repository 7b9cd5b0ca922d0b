//! Traffic: clients' connections, and what an owner's worker does to its table for each of their packets.
//!
//! It stands for the pipeline: looks a flow up, makes one with a mapping from the node's own ports, changes TCP state, windows,
//! marks and labels, ends flows. All is written through the shard's own methods, as the trackers do it.

use conntrack::proto::tcp;
use conntrack::{Shard, Slot, Status, event};
use fastrand::Rng;
use packet::{FlowKey, Tick};

use super::schedule::Shape;
use super::view::{Number, View};

/// Ports that nodes translate to, of all of them together: few, so that they are used again soon.
const PORTS: u16 = 240;
const FIRST_PORT: u16 = 20_000;
/// Changes of a flow that can be told apart.
const CHANGES: u8 = 250;

/// A client's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    pub(super) key: FlowKey,
    translated: bool,
}

/// What came of a packet.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// The flow as it is now.
    pub(super) view: Option<View>,
    /// These flows have ended.
    pub(super) ended: Vec<Number>,
    /// Its first packet has to wait.
    pub(super) deferred: Option<Slot>,
}

/// All clients.
pub(super) struct Workload {
    rng: Rng,
    connections: Vec<Connection>,
    made: u32,
    numbers: u32,
    room: usize,
    short_lived: bool,
    nodes: u16,
}

/// Which of `workers` a key belongs to; both directions alike, as with the symmetric hash of the NICs.
pub(super) fn owner(key: &FlowKey, secret: u64, workers: usize) -> usize {
    let mix = |address: &[u8; 16], port: [u8; 2]| {
        let mut hash = secret | 1;
        for byte in address.iter().chain(&port) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        hash
    };
    let both = mix(&key.src, key.sport) ^ mix(&key.dst, key.dport);
    (both.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) as usize % workers
}

fn back(key: &FlowKey) -> FlowKey {
    FlowKey { src: key.dst, dst: key.src, sport: key.dport, dport: key.sport, ..*key }
}

impl Workload {
    pub(super) fn new(shape: &Shape) -> Self {
        Self {
            rng: Rng::with_seed(shape.seed ^ 0x776f_726b),
            connections: Vec::new(),
            made: 0,
            numbers: 0,
            room: shape.connections,
            short_lived: shape.short_lived,
            nodes: shape.nodes.len() as u16,
        }
    }

    pub(super) fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// A connection that has something to send: a new one, or one of those that are.
    pub(super) fn next(&mut self) -> Connection {
        let room = self.room;
        if self.connections.len() < room && self.rng.u8(..3) == 0 || self.connections.is_empty() {
            // Few clients and ports: tuples come again.
            self.made = self.rng.u32(..(room as u32 * 3));
            let v6 = self.made.is_multiple_of(5);
            let mut key = FlowKey {
                protocol: if self.made.is_multiple_of(3) { 17 } else { 6 },
                family: if v6 { 6 } else { 4 },
                sport: (1024 + self.made as u16).to_be_bytes(),
                dport: 443u16.to_be_bytes(),
                zone: if self.made.is_multiple_of(7) { [0, 5] } else { [0, 0] },
                ..FlowKey::default()
            };
            key.src[..4].copy_from_slice(&[10, 0, (self.made >> 8) as u8, self.made as u8]);
            key.dst[..4].copy_from_slice(&[192, 0, 2, self.made as u8 % 4]);
            let connection = Connection { key, translated: !v6 && !self.made.is_multiple_of(4) };
            self.connections.push(connection);
            return connection;
        }
        self.connections[self.rng.usize(..self.connections.len())]
    }

    fn over(&mut self, key: &FlowKey) {
        self.connections.retain(|connection| connection.key != *key);
    }

    /// A packet of a connection at the worker of an owner: what the pipeline would make of it. `place`: node, worker, the
    /// node's secret and how many workers it has.
    pub(super) fn packet(
        &mut self,
        shard: &mut Shard,
        connection: Connection,
        (node, worker, secret, workers): (usize, usize, u64, usize),
        now: Tick,
    ) -> Done {
        let mut done = Done::default();
        match shard.find(&connection.key, shard.hash(&connection.key)) {
            Some((slot, _)) => self.goes_on(shard, slot, now, &mut done),
            None => {
                let place = (node, worker, secret, workers);
                self.begins(shard, connection, place, now, &mut done);
            }
        }
        done
    }

    fn begins(
        &mut self,
        shard: &mut Shard,
        connection: Connection,
        (node, worker, secret, workers): (usize, usize, u64, usize),
        now: Tick,
        done: &mut Done,
    ) {
        let key = connection.key;
        let Ok(slot) = shard.create(key, back(&key), now) else {
            return self.over(&key);
        };
        self.numbers += 1;
        shard.set_mark(slot, self.numbers << 8);
        if connection.translated {
            let from = self.rng.u16(..PORTS);
            let free = (0..PORTS).map(|n| (from + n) % PORTS).find_map(|port| {
                let mut reply = back(&key);
                reply.dst[..4].copy_from_slice(&[198, 51, 100, 1]);
                reply.dport = (FIRST_PORT + port).to_be_bytes();
                (port % self.nodes == node as u16
                    && owner(&reply, secret, workers) == worker
                    && !shard.is_taken(&reply, slot))
                .then_some(reply)
            });
            let Some(reply) = free else {
                shard.discard(slot);
                return self.over(&key);
            };
            shard.set_reply(slot, reply);
            shard.set_status(slot, Status::SRC_NAT | Status::SRC_NAT_DONE);
        }
        let seconds = if self.short_lived { self.rng.u32(1..3) } else { 600 };
        if self.rng.u8(..8) == 0 {
            let protocol = key.protocol;
            shard.set_policy(slot, protocol, &[seconds, seconds + 1], now);
        }
        if self.rng.u8(..3) == 0 {
            self.label(shard, slot);
        }
        if key.protocol == 6 {
            change_tcp(shard, slot, |tcp| {
                tcp.state = 1;
                tcp.peers[0] =
                    tcp::Peer { end: u32::MAX - 500, max_end: u32::MAX - 500, ..tcp.peers[0] };
                tcp.peers[1] =
                    tcp::Peer { end: u32::MAX - 9000, max_end: u32::MAX - 9000, ..tcp.peers[1] };
            });
        }
        shard.refresh(slot, seconds, now);
        if shard.confirm(slot, now).is_err() {
            shard.discard(slot);
            return;
        }
        shard.deliver(slot, now);
        done.view = shard.flow(slot).map(|flow| View::of(shard, slot, flow));
        if self.rng.u8(..6) == 0 {
            done.deferred = Some(slot);
        }
    }

    fn label(&mut self, shard: &mut Shard, slot: Slot) {
        let labels = self.rng.u128(..).to_ne_bytes();
        shard.set_labels(slot, labels, [0xff; 16]);
    }

    fn goes_on(&mut self, shard: &mut Shard, slot: Slot, now: Tick, done: &mut Done) {
        let Some(flow) = shard.flow(slot) else { return };
        let view = View::of(shard, slot, flow);
        if view.change() >= CHANGES || self.rng.u8(..12) == 0 {
            done.ended.push(view.number());
            self.over(&view.keys[0]);
            return shard.kill(slot, now);
        }
        let seconds = if self.short_lived { self.rng.u32(1..3) } else { 600 };
        if self.rng.u8(..4) == 0 {
            // It is put off, and nothing else.
            return shard.refresh(slot, seconds, now);
        }
        shard.set_mark(slot, view.mark + 1);
        if view.tcp.is_some() {
            let (bytes, window) = (self.rng.u32(..3000), self.rng.u32(1..65_536));
            let side = self.rng.usize(..2);
            let further = self.rng.u8(..4) == 0;
            change_tcp(shard, slot, |tcp| {
                if further && tcp.state < 9 {
                    tcp.state += 1;
                }
                let peer = &mut tcp.peers[side];
                peer.end = peer.end.wrapping_add(bytes);
                let max_end = peer.end.wrapping_add(window);
                if (max_end.wrapping_sub(peer.max_end) as i32) > 0 {
                    peer.max_end = max_end;
                }
                peer.max_window = peer.max_window.max(window);
                tcp.scale[side] = (bytes % 15) as u8;
                tcp.flags[side] |= 1 << (window % 3);
            });
        }
        match self.rng.u8(..6) {
            0 => shard.set_status(slot, Status::SEEN_REPLY),
            1 => shard.set_status(slot, Status::SEEN_REPLY | Status::ASSURED),
            2 => self.label(shard, slot),
            _ => {}
        }
        shard.refresh(slot, seconds, now);
        shard.deliver(slot, now);
        done.view = shard.flow(slot).map(|flow| View::of(shard, slot, flow));
    }
}

/// Changes a flow's TCP state as its tracker does.
fn change_tcp(shard: &mut Shard, slot: Slot, change: impl FnOnce(&mut tcp::Tcp)) {
    let Some(words) = shard.proto_mut(slot) else { return };
    change(zerocopy::transmute_mut!(words));
    shard.note(slot, event::PROTOINFO);
}
