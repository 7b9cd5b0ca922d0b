//! Nodes that are joined by lossless or cut links in virtual time, each with one worker as plain as can be.

use std::collections::{BTreeMap, VecDeque};

use arrayvec::ArrayVec;
use packet::{FlowKey, Tick};

use crate::hands::{Cause, Hands, Inbound, Outbound, RingFull, Saved, To};
use crate::ids::{Epoch, FlowId, Generation, Group, Lane, NodeId, Term, Version};
use crate::node::config::{MS, after};
use crate::node::{Command, Config, Node, Refused, Status, Takeover};
use crate::records::{FlowFull, FlowState, Record, Role};
use crate::seal::Keyring;
use crate::wire;

pub(super) const SLOTS: u32 = 64;
/// How long a datagram travels, and how long a pass takes.
const TRAVEL: u64 = 50_000;
const PASS: u64 = 100_000;

/// A flow is its number, and what was last said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    value: u32,
    id: FlowId,
    stamp: Option<u32>,
    deferred: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    generation: u32,
    version: u32,
    flow: Option<u32>,
    announced: bool,
    dirty: bool,
}

pub(super) fn node_id(number: u8) -> NodeId {
    NodeId::new(number).unwrap()
}

pub(super) fn lane() -> Lane {
    Lane::new(0).unwrap()
}

fn key(flow: u32) -> FlowKey {
    let mut key = FlowKey { protocol: 17, family: 4, ..FlowKey::default() };
    key.src[..4].copy_from_slice(&flow.to_be_bytes());
    key
}

/// What stands outside of a node: its worker, its disk, and its end of the links.
pub(super) struct Outside {
    node: NodeId,
    slots: Vec<Slot>,
    flows: BTreeMap<u32, Entry>,
    inbound: VecDeque<Inbound<'static>>,
    records: VecDeque<Vec<u8>>,
    pub(super) ring: usize,
    pub(super) sent: Vec<(To, Vec<u8>)>,
    pub(super) role: Role,
    pub(super) term: Term,
    pub(super) lease: Tick,
    /// What it was when it was told that the old owner had handed over.
    pub(super) handed_over: Option<Role>,
    pub(super) saved: Saved,
    pub(super) disk_works: bool,
    pub(super) saves: u32,
    pub(super) released: Vec<FlowId>,
    pub(super) alarms: Vec<String>,
    pub(super) elsewhere: Vec<Vec<u8>>,
    pub(super) wishes: u32,
    pub(super) capacity: usize,
    applies: bool,
}

impl Hands for Outside {
    fn send(&mut self, to: To, datagram: &[u8]) {
        self.sent.push((to, datagram.to_vec()));
    }

    fn owner_of(&self, _original: &FlowKey) -> Lane {
        lane()
    }

    fn room(&self, _worker: Lane) -> usize {
        self.ring.saturating_sub(self.inbound.len())
    }

    fn tell(&mut self, worker: Lane, message: &Inbound<'_>) -> Result<(), RingFull> {
        if self.room(worker) == 0 {
            return Err(RingFull);
        }
        self.inbound.push_back(match message.clone() {
            Inbound::Apply { stamp, order, acknowledge, bytes } => {
                self.records.push_back(bytes.to_vec());
                Inbound::Apply { stamp, order, acknowledge, bytes: &[] }
            }
            Inbound::Delete(id) => Inbound::Delete(id),
            Inbound::Export { token, slots } => Inbound::Export { token, slots },
            Inbound::Bulk { token, from, count } => Inbound::Bulk { token, from, count },
            Inbound::Flush { token } => Inbound::Flush { token },
            Inbound::Sweep { stamp } => Inbound::Sweep { stamp },
            Inbound::Release { id } => Inbound::Release { id },
        });
        Ok(())
    }

    fn applied(&self) -> bool {
        self.inbound.is_empty()
    }

    fn apply_elsewhere(&mut self, record: &[u8]) {
        self.elsewhere.push(record.to_vec());
    }

    fn say_elsewhere(&mut self) {
        self.wishes += 1;
    }

    fn become_role(&mut self, _group: Group, role: Role, term: Term, _owner: Option<NodeId>) {
        (self.role, self.term) = (role, term);
        if role != Role::Active {
            self.handed_over = None;
        }
        if role == Role::Active {
            // All flows are this node's: each gets a slot here, if it has none, and a new name.
            for flow in self.flows.keys().copied().collect::<Vec<_>>() {
                let entry = self.flows[&flow];
                if entry.stamp.is_some() && entry.id.node() != self.node {
                    self.settle(flow);
                } else if let Some(entry) = self.flows.get_mut(&flow) {
                    entry.stamp = None;
                }
            }
        }
    }

    fn handed_over(&mut self) {
        assert_eq!(self.handed_over, None);
        self.handed_over = Some(self.role);
    }

    fn lease(&mut self, until: Tick) {
        assert!(until >= self.lease);
        self.lease = until;
    }

    fn save(&mut self, _group: Group, saved: Saved) -> bool {
        if self.disk_works {
            self.saves += 1;
            assert!(saved.reserved >= self.saved.reserved);
            self.saved = saved;
        }
        self.disk_works
    }

    fn alarm(&mut self, what: std::fmt::Arguments<'_>) {
        self.alarms.push(what.to_string());
    }
}

impl Outside {
    fn new(node: NodeId, saved: Saved) -> Self {
        Self {
            node,
            slots: vec![Slot::default(); SLOTS as usize],
            flows: BTreeMap::new(),
            inbound: VecDeque::new(),
            records: VecDeque::new(),
            ring: 4096,
            sent: Vec::new(),
            role: Role::Standby,
            term: Term(0),
            lease: Tick(0),
            handed_over: None,
            saved,
            disk_works: true,
            saves: 0,
            released: Vec::new(),
            alarms: Vec::new(),
            elsewhere: Vec::new(),
            wishes: 0,
            capacity: usize::MAX,
            applies: true,
        }
    }

    fn settle(&mut self, flow: u32) {
        let index = self.slots.iter().position(|slot| slot.flow.is_none() && !slot.dirty).unwrap();
        let slot = &mut self.slots[index];
        slot.generation += 1;
        (slot.flow, slot.announced, slot.dirty) = (Some(flow), false, true);
        let id = FlowId::new(self.node, lane(), index as u32, Generation::new(slot.generation));
        let entry = Entry { value: 0, id, stamp: None, deferred: false };
        let entry = self.flows.entry(flow).or_insert(entry);
        (entry.id, entry.stamp) = (id, None);
    }

    /// A packet of this flow came.
    pub(super) fn packet(&mut self, flow: u32) {
        assert_eq!(self.role, Role::Active);
        if !self.flows.contains_key(&flow) {
            self.settle(flow);
        }
        let entry = self.flows.get_mut(&flow).unwrap();
        entry.value += 1;
        self.slots[entry.id.slot() as usize].dirty = true;
    }

    /// A packet of a new flow came that waits.
    pub(super) fn deferred(&mut self, flow: u32) -> FlowId {
        self.packet(flow);
        let entry = self.flows.get_mut(&flow).unwrap();
        entry.deferred = true;
        entry.id
    }

    pub(super) fn end(&mut self, flow: u32) {
        let entry = self.flows.remove(&flow).unwrap();
        let slot = &mut self.slots[entry.id.slot() as usize];
        (slot.flow, slot.dirty) = (None, true);
    }

    /// What is in the table: flows and their values.
    pub(super) fn table(&self) -> BTreeMap<u32, u32> {
        self.flows.iter().map(|(flow, entry)| (*flow, entry.value)).collect()
    }

    /// This flow is not in the table any more, and nobody was told.
    pub(super) fn forget(&mut self, id: FlowId) {
        self.flows.retain(|_, entry| entry.id != id);
    }

    /// The worker applies nothing for the time being.
    pub(super) fn pause(&mut self, paused: bool) {
        self.applies = !paused;
    }

    fn unbind(&mut self, flow: u32) {
        if let Some(entry) = self.flows.get(&flow)
            && entry.id.node() == self.node
        {
            let slot = &mut self.slots[entry.id.slot() as usize];
            (slot.flow, slot.dirty, slot.announced) = (None, false, false);
        }
    }

    fn apply(&mut self, stamp: u32, out: &mut Vec<Said>, acknowledge: bool) {
        let bytes = self.records.pop_front().unwrap();
        match wire::decode(&bytes).unwrap() {
            Record::Full(full) => {
                let flow = u32::from_be_bytes(full.keys[0].src[..4].try_into().unwrap());
                if !self.flows.contains_key(&flow) && self.flows.len() >= self.capacity {
                    out.push(Said::Refused(full.id));
                    return;
                }
                self.unbind(flow);
                let value = full.state.mark;
                let entry = Entry { value, id: full.id, stamp: Some(stamp), deferred: false };
                self.flows.insert(flow, entry);
                if matches!(self.role, Role::Active | Role::Held) {
                    // It lay in the ring when this node was promoted.
                    self.settle(flow);
                }
                if acknowledge {
                    out.push(Said::Applied(full.id, full.version.0));
                }
            }
            Record::Update { id, state, .. } => {
                if let Some(entry) = self.flows.values_mut().find(|entry| entry.id == id) {
                    (entry.value, entry.stamp) = (state.mark, Some(stamp));
                }
            }
            other => panic!("{other:?} is not a worker's"),
        }
    }

    fn export(&mut self, index: usize, asked: bool, cause: Cause, out: &mut Vec<Said>) {
        let slot = &mut self.slots[index];
        if !asked && !slot.dirty {
            return;
        }
        slot.dirty = false;
        let id = FlowId::new(self.node, lane(), index as u32, Generation::new(slot.generation));
        let mut bytes = [0; 256];
        let (record, cause) = match slot.flow {
            Some(flow) => {
                slot.version += 1;
                let entry = self.flows.get_mut(&flow).unwrap();
                let state =
                    FlowState { mark: entry.value, remaining: 30_000, ..FlowState::default() };
                let version = Version(slot.version);
                let full = asked || !slot.announced;
                slot.announced = true;
                let deferred = std::mem::take(&mut entry.deferred);
                let cause = if deferred { Cause::Deferred } else { cause };
                let record = if full {
                    let keys = [key(flow), key(flow)];
                    let timeouts = ArrayVec::new();
                    let group = Group(0);
                    Record::Full(FlowFull {
                        id,
                        version,
                        group,
                        keys,
                        state,
                        rules: 0,
                        behind: 0,
                        timeouts,
                    })
                } else {
                    Record::Update { id, version, state }
                };
                (record, cause)
            }
            None if slot.announced || asked && slot.generation > 0 => {
                slot.version += 1;
                slot.announced = false;
                (Record::Delete { id, version: Version(slot.version) }, Cause::End)
            }
            None => return,
        };
        let length = wire::encode(&record, &mut bytes).unwrap();
        out.push(Said::Record(cause, index as u32, bytes[..length].to_vec()));
    }

    /// A turn of the worker.
    fn turn(&mut self) -> Vec<Said> {
        let mut out = Vec::new();
        while self.applies
            && let Some(message) = self.inbound.pop_front()
        {
            match message {
                Inbound::Apply { stamp, acknowledge, .. } => {
                    self.apply(stamp, &mut out, acknowledge)
                }
                Inbound::Delete(id) => self.flows.retain(|_, entry| entry.id != id),
                Inbound::Export { token, slots } => {
                    for slot in slots {
                        self.export(slot as usize, true, Cause::Repair, &mut out);
                    }
                    out.push(Said::Mark(token, u32::MAX));
                }
                Inbound::Bulk { token, from, count } => {
                    let to = (from + count).min(SLOTS);
                    for slot in from..to {
                        if self.slots[slot as usize].flow.is_some() {
                            self.export(slot as usize, true, Cause::Bulk, &mut out);
                        }
                    }
                    out.push(Said::Mark(token, if to == SLOTS { u32::MAX } else { to }));
                }
                Inbound::Flush { token } => {
                    self.changes(&mut out);
                    out.push(Said::Mark(token, u32::MAX));
                }
                Inbound::Sweep { .. } if matches!(self.role, Role::Active | Role::Held) => {}
                Inbound::Sweep { stamp } => {
                    let gone: Vec<u32> = self
                        .flows
                        .iter()
                        .filter(|(_, entry)| entry.stamp != Some(stamp))
                        .map(|(flow, _)| *flow)
                        .collect();
                    for flow in gone {
                        self.unbind(flow);
                        self.flows.remove(&flow);
                    }
                }
                Inbound::Release { id } => self.released.push(id),
            }
        }
        if self.role == Role::Active {
            self.changes(&mut out);
        }
        out
    }

    fn changes(&mut self, out: &mut Vec<Said>) {
        for slot in 0..self.slots.len() {
            self.export(slot, false, Cause::Change, out);
        }
    }
}

enum Said {
    Record(Cause, u32, Vec<u8>),
    Mark(u64, u32),
    Applied(FlowId, u32),
    Refused(FlowId),
}

/// A node and what is around it.
pub(super) struct Machine {
    pub(super) node: Node,
    pub(super) outside: Outside,
    pub(super) inbox: VecDeque<(Tick, Vec<u8>)>,
    /// Its process is stopped.
    pub(super) stopped: bool,
}

/// All of them; `None`: crashed, or not started.
pub(super) struct Net {
    pub(super) now: Tick,
    pub(super) machines: Vec<Option<Machine>>,
    /// From, to.
    cut: Vec<(u8, u8)>,
    disks: Vec<Saved>,
    config: fn(u8) -> Config,
    /// Sees, and may drop, each datagram.
    pub(super) filter: Box<dyn FnMut(&wire::Header) -> bool>,
    /// Between passes.
    pub(super) step: u64,
    /// All that was sent: who, when, what.
    pub(super) seen: Vec<(u8, Tick, wire::Header)>,
}

pub(super) fn config(number: u8) -> Config {
    Config {
        node: node_id(number),
        cluster: 7,
        nodes: 2,
        group: Group(0),
        lanes: 1,
        slots: SLOTS,
        passive: false,
        takeover: Takeover::External,
        lease: 80 * MS,
        flush: 100_000,
        bytes_per_second: 125_000_000,
        unsynchronised_after: 10_000 * MS,
        acks: 1,
        ports: vec![(0xeca4_8000 + u32::from(number), [2, 0, 0, 0, 0, number])],
        window: 4096,
    }
}

pub(super) fn by_silence(number: u8) -> Config {
    Config { takeover: Takeover::Silence(100 * MS), ..config(number) }
}

pub(super) fn keys() -> Keyring {
    Keyring::parse("1 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f").unwrap()
}

impl Net {
    /// So many nodes, all started a second ago.
    pub(super) fn new(count: u8, config: fn(u8) -> Config) -> Self {
        let mut net = Self::dark(count, config);
        for number in 0..count {
            net.start(number);
        }
        net.run(1_000);
        net
    }

    /// Nodes that are not started.
    pub(super) fn dark(count: u8, config: fn(u8) -> Config) -> Self {
        Self {
            now: Tick(0),
            machines: (0..count).map(|_| None).collect(),
            cut: Vec::new(),
            disks: vec![Saved::default(); count.into()],
            config,
            filter: Box::new(|_| true),
            step: PASS,
            seen: Vec::new(),
        }
    }

    pub(super) fn start(&mut self, number: u8) {
        let saved = &mut self.disks[usize::from(number)];
        saved.epoch = Epoch(saved.epoch.0 + 1);
        let config = (self.config)(number);
        let outside = Outside::new(config.node, *saved);
        let node = Node::new(config, keys(), *saved, 42 + u64::from(number), self.now);
        let machine = Machine { node, outside, inbox: VecDeque::new(), stopped: false };
        self.machines[usize::from(number)] = Some(machine);
    }

    pub(super) fn crash(&mut self, number: u8) {
        let machine = self.machines[usize::from(number)].take().unwrap();
        self.disks[usize::from(number)] = machine.outside.saved;
    }

    pub(super) fn cut(&mut self, from: u8, to: u8) {
        self.cut.push((from, to));
    }

    pub(super) fn mend(&mut self) {
        self.cut.clear();
    }

    pub(super) fn machine(&mut self, number: u8) -> &mut Machine {
        self.machines[usize::from(number)].as_mut().unwrap()
    }

    pub(super) fn outside(&mut self, number: u8) -> &mut Outside {
        &mut self.machine(number).outside
    }

    pub(super) fn status(&mut self, number: u8) -> Status {
        let now = self.now;
        self.machine(number).node.status(now)
    }

    pub(super) fn counter(&mut self, number: u8, name: &str) -> u64 {
        let status = self.status(number);
        status.counters.iter().find(|(known, _)| *known == name).unwrap().1
    }

    pub(super) fn command(&mut self, number: u8, command: Command) -> Result<(), Refused> {
        let now = self.now;
        let Machine { node, outside, .. } = self.machine(number);
        let done = node.command(command, now, outside);
        self.deliver();
        done
    }

    pub(super) fn promote(&mut self, number: u8) -> Result<(), Refused> {
        self.command(number, Command::Promote { force: false })
    }

    /// Lets milliseconds pass.
    pub(super) fn run(&mut self, milliseconds: u64) {
        let until = after(self.now, milliseconds * MS);
        while self.now < until {
            self.pass();
        }
    }

    /// Until something holds, but not for longer than that; how long it took, in nanoseconds.
    pub(super) fn until(
        &mut self,
        milliseconds: u64,
        mut holds: impl FnMut(&mut Self) -> bool,
    ) -> u64 {
        let since = self.now;
        while !holds(self) {
            assert!(self.now < after(since, milliseconds * MS), "it does not come");
            self.pass();
        }
        self.now.0 - since.0
    }

    /// A pass of all sync threads and workers.
    pub(super) fn pass(&mut self) {
        self.now = after(self.now, self.step);
        let now = self.now;
        for machine in self.machines.iter_mut().flatten().filter(|machine| !machine.stopped) {
            let Machine { node, outside, inbox, .. } = machine;
            while inbox.front().is_some_and(|(due, _)| *due <= now) {
                let (_, mut datagram) = inbox.pop_front().unwrap();
                node.received(&mut datagram, now, outside);
            }
            for said in outside.turn() {
                let message = match &said {
                    Said::Record(cause, slot, bytes) => {
                        Outbound::Record { cause: *cause, slot: *slot, bytes }
                    }
                    Said::Mark(token, next) => Outbound::Mark { token: *token, next: *next },
                    Said::Applied(id, version) => Outbound::Applied { id: *id, version: *version },
                    Said::Refused(id) => Outbound::Refused { id: *id },
                };
                node.outbound(lane(), &message, now, outside);
            }
            let next = node.poll(now, outside);
            assert!(next >= now);
        }
        self.deliver();
    }

    fn deliver(&mut self) {
        let due = after(self.now, TRAVEL);
        for from in 0..self.machines.len() as u8 {
            let Some(machine) = &mut self.machines[usize::from(from)] else { continue };
            for (to, datagram) in std::mem::take(&mut machine.outside.sent) {
                let header = wire::Header::decode(&datagram).unwrap();
                self.seen.push((from, self.now, header));
                if !(self.filter)(&header) {
                    continue;
                }
                for number in 0..self.machines.len() as u8 {
                    let meant = to == To::All || to == To::Node(node_id(number));
                    if number == from || !meant || self.cut.contains(&(from, number)) {
                        continue;
                    }
                    if let Some(machine) = &mut self.machines[usize::from(number)] {
                        machine.inbox.push_back((due, datagram.clone()));
                    }
                }
            }
        }
    }
}
