//! Packets that wait for their next hop's address, and what is asked of the kernel about neighbours.
//!
//! The kernel resolves neighbours; a worker asks it (at most once a second and neighbour) and keeps a few packets
//! meanwhile. A packet that waits has been routed and has passed all rules but those of the device that it leaves by. When
//! new tables know the station it goes there; when that failed, or after [`PATIENCE`], it ends as
//! [`DropReason::NeighbourFailed`](packet::DropReason).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use ahash::RandomState;
use arrayvec::ArrayVec;

use crate::pipeline::Packet;
use crate::rib::IfIndex;
use crate::tables::Tables;
use packet::Tick;

/// How many packets wait for one neighbour.
pub const PACKETS: usize = 8;
/// For how many neighbours packets wait.
pub const NEIGHBOURS: usize = 256;
/// How long a packet waits: the kernel gives up after three probes, a second apart.
pub const PATIENCE: Duration = Duration::from_millis(3_500);
/// The kernel is asked about one neighbour this often at most.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A packet that waits: its hop is taken, its layer-2 header is still the old one, if it has one.
#[derive(Debug)]
pub struct Waiter<F> {
    packet: Packet,
    /// The interface of `packet` by the kernel's index, which stays when tables change.
    iface: Option<IfIndex>,
    /// The largest packet that its way takes, in bytes.
    mtu: u32,
    frame: F,
}

impl<F> Waiter<F> {
    /// A packet that waits, under these tables.
    pub fn new(tables: &Tables, packet: Packet, mtu: u32, frame: F) -> Self {
        let iface = tables.iface(packet.iface).map(|entry| entry.iface.index);
        Self { packet, iface, mtu, frame }
    }

    /// The frame, its packet and its MTU, under the tables that are there now.
    pub fn into_parts(self, tables: &Tables) -> (F, Packet, u32) {
        let Self { mut packet, iface, mtu, frame } = self;
        if let Some(slot) = iface.and_then(|index| tables.iface_by_index(index)) {
            packet.iface = slot;
        }
        (frame, packet, mtu)
    }

    /// The frame and its packet as it was.
    pub fn into_frame(self) -> (F, Packet) {
        (self.frame, self.packet)
    }
}

/// A neighbour on an interface.
pub type Key = (IfIndex, IpAddr);

#[derive(Debug)]
struct Entry<F> {
    waiters: ArrayVec<Waiter<F>, PACKETS>,
    since: Tick,
}

/// One worker's waiting packets.
#[derive(Debug)]
pub struct Waiting<F> {
    entries: HashMap<Key, Entry<F>, RandomState>,
    asked: HashMap<Key, Tick, RandomState>,
    packets: usize,
}

impl<F> Waiting<F> {
    /// None yet. All memory that it ever needs is taken now.
    pub fn new() -> Self {
        Self {
            entries: HashMap::with_capacity_and_hasher(NEIGHBOURS, RandomState::new()),
            asked: HashMap::with_capacity_and_hasher(4 * NEIGHBOURS, RandomState::new()),
            packets: 0,
        }
    }

    /// Keeps a packet for `key`; gives it back when too many wait.
    #[expect(clippy::result_large_err, reason = "it is moved once, and no memory is to be taken")]
    pub fn push(&mut self, key: Key, waiter: Waiter<F>, now: Tick) -> Result<(), Waiter<F>> {
        if self.entries.len() >= NEIGHBOURS && !self.entries.contains_key(&key) {
            return Err(waiter);
        }
        let entry = self
            .entries
            .entry(key)
            .or_insert_with(|| Entry { waiters: ArrayVec::new(), since: now });
        entry.waiters.try_push(waiter).map_err(|full| full.element())?;
        self.packets += 1;
        Ok(())
    }

    /// Whether the kernel should be asked about `key` at `now`; says so once a second.
    pub fn should_ask(&mut self, key: Key, now: Tick) -> bool {
        if let Some(last) = self.asked.get_mut(&key) {
            let due = now.since(*last) >= ASK_AGAIN;
            if due {
                *last = now;
            }
            return due;
        }
        if self.asked.len() >= 4 * NEIGHBOURS {
            // Rare: more neighbours in a second than are remembered. Forgetting costs a few questions too many.
            self.asked.clear();
        }
        self.asked.insert(key, now);
        true
    }

    /// A neighbour for which packets wait and of which the kernel should be asked again at `now`: a question asked just before
    /// the kernel forgot the neighbour was answered already, and the packet that came after would wait in vain.
    pub fn next_to_ask(&mut self, now: Tick) -> Option<Key> {
        let asked = &self.asked;
        let due = |key: &Key| asked.get(key).is_none_or(|last| now.since(*last) >= ASK_AGAIN);
        let key = *self.entries.keys().find(|key| due(key))?;
        self.should_ask(key, now).then_some(key)
    }

    /// Takes out one neighbour, with its packets, for which `ready` says yes; `None` when there is no such neighbour.
    pub fn take(
        &mut self,
        mut ready: impl FnMut(&Key) -> bool,
    ) -> Option<(Key, ArrayVec<Waiter<F>, PACKETS>)> {
        let key = *self.entries.keys().find(|key| ready(key))?;
        Some((key, self.remove(&key)?))
    }

    /// Takes out the packets of one neighbour that have waited long enough at `now`.
    pub fn take_expired(&mut self, now: Tick) -> Option<ArrayVec<Waiter<F>, PACKETS>> {
        let key = *self.entries.iter().find(|(_, entry)| now.since(entry.since) >= PATIENCE)?.0;
        self.remove(&key)
    }

    /// How many packets wait.
    pub fn len(&self) -> usize {
        self.packets
    }

    /// True when none waits.
    pub fn is_empty(&self) -> bool {
        self.packets == 0
    }

    fn remove(&mut self, key: &Key) -> Option<ArrayVec<Waiter<F>, PACKETS>> {
        let waiters = self.entries.remove(key)?.waiters;
        self.packets -= waiters.len();
        Some(waiters)
    }
}

impl<F> Default for Waiting<F> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use packet::PortIndex;

    use super::*;

    fn waiter<F>(frame: F) -> Waiter<F> {
        Waiter { packet: Packet::empty(PortIndex(0)), iface: None, mtu: 1500, frame }
    }

    fn key(last: u8) -> Key {
        (IfIndex(1), IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn queues_are_bounded_and_nothing_is_lost() {
        let mut waiting = Waiting::new();
        for n in 0..PACKETS {
            assert!(waiting.push(key(1), waiter(n), Tick(0)).is_ok());
        }
        assert!(matches!(waiting.push(key(1), waiter(99), Tick(0)), Err(Waiter { frame: 99, .. })));
        assert_eq!(waiting.len(), PACKETS);
        assert!(waiting.take(|known| *known == key(2)).is_none());
        assert_eq!(
            waiting.take(|known| *known == key(1)).map(|(_, waiters)| waiters.len()),
            Some(PACKETS)
        );
        assert!(waiting.is_empty());
        for n in 0..=NEIGHBOURS {
            let key = (IfIndex(1), IpAddr::from((n as u32).to_be_bytes()));
            assert_eq!(waiting.push(key, waiter(n), Tick(0)).is_ok(), n < NEIGHBOURS);
        }
    }

    #[test]
    fn patience_ends() {
        let mut waiting = Waiting::new();
        waiting.push(key(1), waiter(()), Tick(5)).unwrap();
        assert!(waiting.take_expired(Tick(PATIENCE.as_nanos() as u64)).is_none());
        assert!(waiting.take_expired(Tick(PATIENCE.as_nanos() as u64 + 5)).is_some());
    }

    #[test]
    fn the_kernel_is_asked_again_while_packets_wait() {
        let mut waiting = Waiting::<u8>::new();
        // Asked for a packet that went its way; the neighbour was forgotten, and another packet came.
        assert!(waiting.should_ask(key(1), Tick(0)));
        assert!(!waiting.should_ask(key(1), Tick(500_000_000)));
        waiting.push(key(1), waiter(1), Tick(500_000_000)).unwrap();
        assert_eq!(waiting.next_to_ask(Tick(900_000_000)), None);
        assert_eq!(waiting.next_to_ask(Tick(1_000_000_000)), Some(key(1)));
        assert_eq!(waiting.next_to_ask(Tick(1_000_000_001)), None);
        // Nobody waits any more: nobody asks.
        waiting.take(|_| true).unwrap();
        assert_eq!(waiting.next_to_ask(Tick(9_000_000_000)), None);
    }

    #[test]
    fn the_kernel_is_asked_once_a_second() {
        let mut waiting = Waiting::<()>::new();
        let asked = (0..40).filter(|n| waiting.should_ask(key(1), Tick(n * 100_000_000))).count();
        assert_eq!(asked, 4);
    }
}
