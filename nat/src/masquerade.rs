//! Which flows were masqueraded, and behind what: their translation ends with the device or the address that it came from.
//!
//! # Overview
//!
//! As in Linux (nf_nat_masquerade.c): when a device goes down, or loses an address, the flows end that `masquerade` gave that
//! address; and one whose packets are routed out of another device ends at the first of them (nf_nat_oif_changed). Flows
//! that a rule gave the address by name stay.
//!
//! # Life cycle
//!
//! [`Masquerades`] is beside a worker's shard, and touched for flows that are masqueraded only. A place is believed while its
//! flow has the same generation, so nothing has to be taken out. A [`Sweep`] goes over the shard in steps, between bursts.

use arrayvec::ArrayVec;
use conntrack::{Direction, Flow, Shard, Slot};
use packet::Tick;

/// Flows looked at in one go of a sweep.
const CHUNK: usize = 64;

/// By slot, the device behind whose address a flow is.
pub struct Masquerades {
    /// The flow's generation, and the device's number plus one.
    places: Vec<[u32; 2]>,
}

impl Masquerades {
    /// For a shard of so many flows; none is masqueraded.
    pub fn new(capacity: u32) -> Self {
        // All zeros: the system gives pages when they are written to.
        Self { places: vec![[0; 2]; capacity as usize] }
    }

    /// Says that a flow got an address of this device.
    pub fn note(&mut self, shard: &Shard, slot: Slot, device: u32) {
        if let (Some(flow), Some(place)) = (shard.flow(slot), self.places.get_mut(slot.0 as usize))
        {
            *place = [flow.generation(), device.wrapping_add(1)];
        }
    }

    /// The device behind whose address a flow is.
    #[inline]
    pub fn device(&self, slot: Slot, flow: &Flow) -> Option<u32> {
        let [generation, device] = self.places.get(slot.0 as usize)?;
        (*generation == flow.generation() && *device != 0).then(|| device.wrapping_sub(1))
    }

    /// Whether a packet of a flow that is masqueraded leaves by another device: then flow and packet must end.
    #[inline]
    pub fn has_moved(&self, slot: Slot, flow: &Flow, out: u32) -> bool {
        self.device(slot, flow).is_some_and(|device| device != out)
    }
}

/// The end of all flows that were masqueraded behind a device, or behind one address of it.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    device: u32,
    /// As in a key, with its family.
    address: Option<(u8, [u8; 16])>,
    from: Slot,
}

impl Sweep {
    /// The device went down.
    pub fn device(device: u32) -> Self {
        Self { device, address: None, from: Slot(0) }
    }

    /// The device lost this address, of family 4 or 6.
    pub fn address(device: u32, family: u8, address: [u8; 16]) -> Self {
        Self { device, address: Some((family, address)), from: Slot(0) }
    }

    /// Goes on over about `slots` more places. False when all was seen.
    pub fn step(
        &mut self,
        shard: &mut Shard,
        masquerades: &Masquerades,
        slots: usize,
        now: Tick,
    ) -> bool {
        for _ in 0..slots.div_ceil(CHUNK) {
            let mut found = ArrayVec::<Slot, CHUNK>::new();
            let next = shard.walk(self.from, CHUNK, &mut |slot, flow| {
                if self.is_of(flow) && masquerades.device(slot, flow) == Some(self.device) {
                    let _ = found.try_push(slot);
                }
            });
            for slot in found {
                shard.kill(slot, now);
            }
            let Some(next) = next else { return false };
            self.from = next;
        }
        true
    }

    fn is_of(&self, flow: &Flow) -> bool {
        let reply = flow.key(Direction::Reply);
        self.address.is_none_or(|address| address == (reply.family, reply.dst))
    }
}

#[cfg(test)]
mod tests {
    use conntrack::Config;
    use packet::FlowKey;

    use super::*;

    const NOW: Tick = Tick(1_000_000_000);

    fn key(host: u8, port: u16) -> FlowKey {
        let mut key = FlowKey { protocol: 17, family: 4, ..FlowKey::default() };
        (key.src[0], key.src[3], key.dst[0]) = (10, host, 192);
        key.sport = port.to_be_bytes();
        key
    }

    /// A flow behind `address`, of `device` if it is masqueraded.
    fn flow(
        shard: &mut Shard,
        masquerades: &mut Masquerades,
        n: u16,
        (address, device): (u8, Option<u32>),
    ) -> Slot {
        let original = key(1, n);
        let mut reply = FlowKey { src: original.dst, dport: original.sport, ..original };
        (reply.dst, reply.sport) = ([0; 16], [0; 2]);
        (reply.dst[0], reply.dst[3]) = (203, address);
        let slot = shard.create(original, reply, NOW).unwrap();
        if let Some(device) = device {
            masquerades.note(shard, slot, device);
        }
        shard.confirm(slot, NOW).unwrap();
        slot
    }

    fn sweep(sweep: Sweep) -> Vec<usize> {
        let mut shard = Shard::new(Config { max: 4096, worker: 0 }).unwrap();
        let mut masquerades = Masquerades::new(shard.capacity());
        let kinds = [(1, Some(7)), (2, Some(7)), (1, Some(8)), (1, None)];
        let slots: Vec<_> = (0..1000u16)
            .map(|n| flow(&mut shard, &mut masquerades, n, kinds[usize::from(n) % 4]))
            .collect();
        let mut sweep = sweep;
        let mut steps = 0;
        while sweep.step(&mut shard, &masquerades, 100, NOW) {
            steps += 1;
        }
        assert!((7..=10).contains(&steps), "{steps}");
        let mut left = vec![0; 4];
        for (n, slot) in slots.iter().enumerate() {
            left[n % 4] += usize::from(shard.flow(*slot).is_some());
        }
        left
    }

    #[test]
    fn what_ends_with_a_device() {
        assert_eq!(sweep(Sweep::device(7)), [0, 0, 250, 250]);
        assert_eq!(sweep(Sweep::device(9)), [250; 4]);
    }

    #[test]
    fn what_ends_with_an_address() {
        let mut address = [0; 16];
        (address[0], address[3]) = (203, 1);
        assert_eq!(sweep(Sweep::address(7, 4, address)), [0, 250, 250, 250]);
        assert_eq!(sweep(Sweep::address(7, 6, address)), [250; 4]);
    }

    #[test]
    fn a_later_flow_in_the_same_slot_is_another() {
        let mut shard = Shard::new(Config { max: 16, worker: 0 }).unwrap();
        let mut masquerades = Masquerades::new(shard.capacity());
        let slot = flow(&mut shard, &mut masquerades, 1, (1, Some(0)));
        let is = |shard: &Shard, masquerades: &Masquerades, out| {
            masquerades.has_moved(slot, shard.flow(slot).unwrap(), out)
        };
        assert!(!is(&shard, &masquerades, 0));
        assert!(is(&shard, &masquerades, 1));
        shard.kill(slot, NOW);
        assert_eq!(flow(&mut shard, &mut masquerades, 2, (1, None)), slot);
        assert!(!is(&shard, &masquerades, 1));
    }
}
