//! Which worker a flow belongs to, and how packets that came by another get there.
//!
//! # Overview
//!
//! A flow's owner is a function of its tuple, the same for both directions: the symmetric Toeplitz hash that NICs spread packets by
//! ([`Owners`]). Where the device does not hash so (none, fragments, ICMP errors), the worker that received a packet hands it to
//! the owner by a ring of their own.
//!
//! NAT picks reply tuples that have the same owner. Where it cannot (the port must stay), the tuple's owner learns of an
//! *alias*, the worker that really has the flow, before the first packet leaves: its answer cannot come earlier.
//!
//! # Who may touch what
//!
//! [`Owners`] never changes. A ring has one worker at each end; a full one drops packets, which is counted.

use std::collections::{HashMap, VecDeque};

use ahash::RandomState;
use conntrack::tuple::invert;
use packet::toeplitz::{Input, Inverse, RETA, spread};
use packet::wire::ip;
use packet::{FlowKey, FragmentPart, L4, Layers, PortIndex, SymmetricToeplitz};
use rtrb::{Consumer, Producer, PushError, RingBuffer};
use ruleset::ids::WorkerId;

/// Packets on their way from one worker to another.
const RING: usize = 512;
/// Aliases that a worker keeps.
const ALIASES: usize = 1 << 16;

/// The function from tuple to worker.
#[derive(Clone, Copy, Debug)]
pub struct Owners {
    toeplitz: SymmetricToeplitz,
    /// From hashes back to ports; a key of too few bits has none.
    inverse: Option<Inverse>,
    workers: u16,
}

impl Owners {
    /// Over so many workers; `word` is the key that NICs repeat.
    pub fn new(word: u16, workers: u16) -> Self {
        let toeplitz = SymmetricToeplitz::new(word);
        Self { toeplitz, inverse: toeplitz.inverse(), workers: workers.max(1) }
    }

    /// How many workers there are.
    pub fn workers(&self) -> u16 {
        self.workers
    }

    /// A port for this key (one that `port` may stand in) with which `worker` owns it: `port` itself where it does.
    pub fn port_for(&self, worker: WorkerId, key: &FlowKey, port: u16) -> u16 {
        let Some(inverse) = &self.inverse else { return port };
        if self.workers < 2 || self.input(key) != Input::Ports {
            return port;
        }
        let hash = self.toeplitz.hash(key, Input::Ports);
        let entry = hash as usize % RETA;
        if spread(entry, self.workers) == worker.0 {
            return port;
        }
        // The entry of that worker which is next to this one.
        let workers = usize::from(self.workers);
        let wanted = entry - entry % workers + usize::from(worker.0);
        let wanted = if wanted < RETA { wanted } else { wanted - workers };
        inverse.port(port, hash, (hash as usize - entry + wanted) as u32)
    }

    fn input(&self, key: &FlowKey) -> Input {
        match key.protocol {
            ip::TCP | ip::UDP | ip::SCTP => Input::Ports,
            _ => Input::Addresses,
        }
    }

    /// The owner of a hash.
    #[inline(always)]
    fn of_hash(&self, hash: u32) -> WorkerId {
        WorkerId(spread(hash as usize, self.workers))
    }

    /// The owner of the flow that has this key.
    #[inline(always)]
    pub fn of(&self, key: &FlowKey) -> WorkerId {
        self.of_hash(self.toeplitz.hash(key, self.input(key)))
    }

    /// The worker that a packet belongs to: its flow's owner, or, for fragments, which do not all have ports, the one that puts
    /// them together.
    #[inline(always)]
    pub fn of_packet(&self, layers: &Layers) -> WorkerId {
        if layers.fragment == FragmentPart::Whole {
            return self.of(&layers.key);
        }
        self.of_hash(self.toeplitz.hash(&layers.key, Input::Addresses))
    }
}

/// What one worker hands another.
pub enum Handed<F> {
    /// A frame that came by this port.
    Frame(PortIndex, F),
    /// A frame that the kernel sends by this port.
    Departing(PortIndex, F),
    /// Packets of this tuple belong to the sender's flow.
    Alias(FlowKey),
    /// They do no longer.
    NoAlias(FlowKey),
}

/// A frame that another worker handed over.
pub enum Handover<F> {
    /// It came by this port.
    Received(PortIndex, F),
    /// The kernel sends it by this port.
    Departing(PortIndex, F),
}

/// The rings between a worker and the others.
pub struct Peers<F> {
    me: WorkerId,
    owners: Owners,
    /// By worker; none to itself.
    to: Vec<Option<Producer<Handed<F>>>>,
    from: Vec<Option<Consumer<Handed<F>>>>,
    aliases: HashMap<FlowKey, WorkerId, RandomState>,
    /// Frames that were in front of aliases which could not wait.
    early: VecDeque<Handover<F>>,
    /// Aliases for which there was no place.
    pub refused: u64,
}

impl<F> Peers<F> {
    /// A worker alone.
    pub fn alone(me: WorkerId) -> Self {
        Self {
            me,
            owners: Owners::new(0, 1),
            to: Vec::new(),
            from: Vec::new(),
            aliases: HashMap::with_hasher(RandomState::new()),
            early: VecDeque::new(),
            refused: 0,
        }
    }

    /// All workers, with a ring from each to each.
    pub fn mesh(owners: Owners) -> Vec<Self> {
        let n = usize::from(owners.workers());
        let mut all: Vec<Self> = (0..owners.workers())
            .map(|me| Self {
                owners,
                aliases: HashMap::with_capacity_and_hasher(
                    if n > 1 { ALIASES } else { 0 },
                    RandomState::new(),
                ),
                early: VecDeque::with_capacity((n - 1) * RING),
                ..Self::alone(WorkerId(me))
            })
            .collect();
        for from in 0..n {
            for to in 0..n {
                let ring = (from != to).then(|| RingBuffer::new(RING));
                let (producer, consumer) = ring.unzip();
                if let Some(peer) = all.get_mut(from) {
                    peer.to.push(producer);
                }
                if let Some(peer) = all.get_mut(to) {
                    peer.from.push(consumer);
                }
            }
        }
        all
    }

    /// Whether there is nobody else.
    #[inline(always)]
    pub fn is_alone(&self) -> bool {
        self.to.len() < 2
    }

    /// The function.
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Which worker this is.
    pub fn me(&self) -> WorkerId {
        self.me
    }

    /// Who is to get a packet that this worker received from a device; none: itself.
    #[inline(always)]
    pub fn owner_of<B: packet::Frame>(&self, frame: &B, layers: &Layers) -> Option<WorkerId> {
        let owner = match quoted(frame, layers) {
            Some(key) => self.owners.of(&key),
            None => self.owners.of_packet(layers),
        };
        (owner != self.me).then_some(owner)
    }

    /// The worker that owns a key's flow; none: this one.
    pub fn owner_of_key(&self, key: &FlowKey) -> Option<WorkerId> {
        let owner = self.owners.of(key);
        (owner != self.me).then_some(owner)
    }

    /// The worker whose flow has this tuple, though it looks like one of this worker's. Asked where no flow was found: what other
    /// workers announced before this packet can have come is taken in first.
    pub fn alias(&mut self, key: &FlowKey) -> Option<WorkerId> {
        if self.is_alone() {
            return None;
        }
        while let Some(frame) = self.pop() {
            self.early.push_back(frame);
        }
        self.aliases.get(key).copied()
    }

    /// Hands something to another worker.
    ///
    /// # Errors
    ///
    /// Gives it back where the ring is full.
    pub fn hand(&mut self, to: WorkerId, what: Handed<F>) -> Result<(), Handed<F>> {
        match self.to.get_mut(usize::from(to.0)) {
            Some(Some(ring)) => ring.push(what).map_err(|PushError::Full(what)| what),
            _ => Err(what),
        }
    }

    /// Tells the worker that a flow's reply tuple looks like it belongs to that it is this worker's.
    ///
    /// # Errors
    ///
    /// The ring to it is full: then the flow must not begin.
    pub fn announce(&mut self, reply: &FlowKey) -> Result<(), AliasRefused> {
        let owner = self.owners.of(reply);
        self.hand(owner, Handed::Alias(*reply)).map_err(|_| AliasRefused)
    }

    /// The flow of [`Self::announce`] is gone.
    ///
    /// # Errors
    ///
    /// The ring is full: to be said again.
    pub fn revoke(&mut self, reply: &FlowKey) -> Result<(), AliasRefused> {
        let owner = self.owners.of(reply);
        self.hand(owner, Handed::NoAlias(*reply)).map_err(|_| AliasRefused)
    }

    /// How many tuples are known to be others'.
    pub fn aliases(&self) -> usize {
        self.aliases.len()
    }

    /// The next frame that another worker handed over.
    #[inline]
    pub fn take(&mut self) -> Option<Handover<F>> {
        if self.is_alone() {
            return None;
        }
        self.early.pop_front().or_else(|| self.pop())
    }

    /// The next frame in the rings; aliases in front of it are taken in.
    fn pop(&mut self) -> Option<Handover<F>> {
        for (ring, peer) in self.from.iter_mut().zip((0..).map(WorkerId)) {
            while let Some(Ok(handed)) = ring.as_mut().map(Consumer::pop) {
                match handed {
                    Handed::Frame(port, frame) => return Some(Handover::Received(port, frame)),
                    Handed::Departing(port, frame) => {
                        return Some(Handover::Departing(port, frame));
                    }
                    Handed::Alias(_) if self.aliases.len() >= ALIASES => self.refused += 1,
                    Handed::Alias(key) => {
                        self.aliases.insert(key, peer);
                    }
                    Handed::NoAlias(key) => {
                        if self.aliases.get(&key) == Some(&peer) {
                            self.aliases.remove(&key);
                        }
                    }
                }
            }
        }
        None
    }
}

/// The tuple that an ICMP error's flow is known by: that of the answers to the packet that it quotes.
#[inline(always)]
pub(crate) fn quoted<B: packet::Frame>(frame: &B, layers: &Layers) -> Option<FlowKey> {
    if !matches!(layers.l4, L4::Icmp | L4::Icmp6) || !nat::is_error(frame, layers) {
        return None;
    }
    invert(&conntrack::error::inner(frame, layers)?.key)
}

/// The ring to the worker that would have to know of an alias is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AliasRefused;
