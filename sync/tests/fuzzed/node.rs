//! What holds of a node whatever authentic nodes send it. For the fuzz target and for the tests that go through its seeds.
//!
//! An input is a row of datagrams, each eight bytes {who and role of the node under test, type, lane, flags, seq, milliseconds, epoch, bytes
//! of records} and its records.

use std::collections::BTreeMap;

use packet::{FlowKey, Tick};
use sync::hands::{Hands, Inbound, Outbound, RingFull, Saved, To};
use sync::ids::{Epoch, Group, Lane, NodeId, Seq, Term};
use sync::node::{Command, Config, Node, Takeover};
use sync::records::{Record, Role};
use sync::seal::{Keyring, Opener};
use sync::wire::{self, Flags, Header, MINOR, Type};

const CLUSTER: u16 = 7;
const MS: u64 = 1_000_000;
/// Datagrams that are looked at of one input.
const MOST: usize = 64;

/// Whoever runs the node: looks at all that it wants done.
struct World {
    peer: Opener,
    /// What workers were asked to answer.
    asked: Vec<(Lane, u64)>,
    /// Flows that workers were told of.
    applied: usize,
    sent: usize,
    room: usize,
}

impl Hands for World {
    fn send(&mut self, _: To, datagram: &[u8]) {
        let mut datagram = datagram.to_vec();
        let (_, records) = self.peer.open(&mut datagram).unwrap();
        assert_eq!(wire::check(records), Ok(()), "a node sends what cannot be read");
        assert!(records.len() <= wire::PAYLOAD);
        self.sent += 1;
    }

    fn owner_of(&self, original: &FlowKey) -> Lane {
        Lane::new(original.src[3] & 1).unwrap()
    }

    fn room(&self, _: Lane) -> usize {
        self.room
    }

    fn tell(&mut self, worker: Lane, message: &Inbound<'_>) -> Result<(), RingFull> {
        assert!(worker.get() < 2, "there is no such worker");
        match message {
            Inbound::Apply { bytes, .. } => {
                let record = wire::decode(bytes);
                let is_state = matches!(record, Ok(Record::Full(_) | Record::Update { .. }));
                assert!(is_state, "a worker is told {record:?}");
                self.applied += 1;
            }
            Inbound::Export { token, .. }
            | Inbound::Bulk { token, .. }
            | Inbound::Flush { token } => self.asked.push((worker, *token)),
            Inbound::Delete(_) | Inbound::Sweep { .. } | Inbound::Release { .. } => {}
        }
        Ok(())
    }

    fn applied(&self) -> bool {
        true
    }

    fn apply_elsewhere(&mut self, record: &[u8]) {
        assert!(matches!(wire::decode(record), Ok(Record::Set(_) | Record::Neighbour(_))));
    }

    fn become_role(&mut self, _: Group, _: Role, _: Term, _: Option<NodeId>) {}

    fn lease(&mut self, _: Tick) {}

    fn save(&mut self, _: Group, _: Saved) -> bool {
        true
    }

    fn alarm(&mut self, what: std::fmt::Arguments<'_>) {
        let _ = what.to_string();
    }
}

fn node(active: bool, world: &mut World) -> Node {
    let config = Config {
        node: NodeId::new(2).unwrap(),
        cluster: CLUSTER,
        nodes: 2,
        group: Group(0),
        lanes: 2,
        slots: 4096,
        passive: false,
        takeover: Takeover::Silence(100 * MS),
        lease: 80 * MS,
        flush: MS / 10,
        bytes_per_second: 0,
        unsynchronised_after: 0,
        acks: 1,
        ports: vec![(1, [2; 6])],
        window: 64,
    };
    let saved = Saved { epoch: Epoch(5), reserved: Term(3) };
    let mut node = Node::new(config, Keyring::unauthenticated(), saved, 1, Tick(0));
    if active {
        node.command(Command::Promote { force: true }, Tick(0), world).unwrap();
    }
    node
}

/// Holds for any input, or panics. Returns how many flows workers were told of, and how many datagrams were sent.
pub(crate) fn check(input: &[u8]) -> (usize, usize) {
    let from = NodeId::new(1).unwrap();
    let peer = Opener::new(Keyring::unauthenticated(), CLUSTER, from);
    let first = input.first().copied().unwrap_or(0);
    let mut world = World {
        peer,
        asked: Vec::new(),
        applied: 0,
        sent: 0,
        room: if first & 2 != 0 { 0 } else { 4096 },
    };
    let mut node = node(first & 1 != 0, &mut world);
    let mut now = Tick(0);
    let (mut rest, mut counters) = (input, BTreeMap::new());
    for _ in 0..MOST {
        let Some(([who, kind, lane, flags, seq, pause, epoch, length], behind)) =
            rest.split_first_chunk::<8>()
        else {
            break;
        };
        let (records, behind) = behind.split_at(behind.len().min(usize::from(*length) * 4));
        rest = behind;
        now.0 += u64::from(*pause) * MS;
        let from = NodeId::new(if who & 4 != 0 { 3 } else { 1 }).unwrap();
        let kind = Type::new(kind % Type::COUNT as u8 + 1).unwrap();
        // Some at the far end.
        let far = if who & 8 != 0 { u64::MAX - 255 } else { 0 };
        let header = Header {
            minor: MINOR,
            kind,
            cluster: CLUSTER,
            node: from,
            lane: Lane::new(lane & 63).unwrap(),
            key: 0,
            flags: Flags(*flags),
            length: records.len() as u16,
            ruleset: 0,
            epoch: Epoch(far + u64::from(*epoch)),
            seq: Seq(far + u64::from(*seq)),
        };
        let mut datagram = [&header.encode()[..], records].concat();
        if kind != Type::Data {
            let counter: &mut u64 = counters.entry((from, *epoch, *lane, kind)).or_default();
            *counter += 1;
            datagram.extend(counter.to_le_bytes());
        }
        datagram.extend(crc32c::crc32c(&datagram).to_le_bytes());
        node.received(&mut datagram, now, &mut world);
        node.poll(now, &mut world);
        for (lane, token) in std::mem::take(&mut world.asked) {
            let next = u32::MAX;
            node.outbound(lane, &Outbound::Mark { token, next }, now, &mut world);
        }
        node.poll(now, &mut world);
    }
    let _ = format!("{:?}", node.status(now));
    (world.applied, world.sent)
}
