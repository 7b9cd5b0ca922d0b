//! What a node that only watches compares: what it sees with what the owner has.
//!
//! # Overview
//!
//! ```text
//! passive node                                                       owner
//! its addresses ---------------- SEEN (see `exchange`) ------------> leaves out flows that end at either node
//! leaves out the same <--------- its addresses, sums of 1,024 parts
//! takes its own sums at once; the same again after GAP; compares (`compare`)
//! ```
//!
//! Both take sums over their tables themselves ([`conntrack::shard::Seen`]), and neither was told of flows by the other. What ends at a
//! node is its own business. In the owner's table such flows are marked as that; to who watches they look like all others, so both go by
//! the addresses.
//!
//! # The image
//!
//! ```text
//! addresses 2  each: family 1  address 16  parts, 1,024 times: flows 8  sum 8
//! ```

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use conntrack::shard::{Content, PARTS, Seen};
use dataplane::rib::Prefix;
use packet::FlowKey;

use super::super::control::Control;
use super::super::flows::{self, Flows};
use crate::api::ha::HaVerify;

/// Bytes of an address.
const END: usize = 1 + 16;
/// Bytes of a part.
const PART: usize = 8 + 8;
/// Addresses that a question has room for.
pub(super) const ASKED: usize = 64;

/// An address as a flow has it: its family, and its bytes from the left.
type End = (u8, [u8; 16]);

fn end(addr: IpAddr) -> End {
    let mut bytes = [0; 16];
    match addr {
        IpAddr::V4(addr) => {
            bytes.iter_mut().zip(addr.octets()).for_each(|(to, from)| *to = from);
            (4, bytes)
        }
        IpAddr::V6(addr) => (6, addr.octets()),
    }
}

/// What is sent to an address of an interface, or to all on its network, ends at the node.
fn ends(prefix: &Prefix) -> impl Iterator<Item = End> {
    let broadcast = match prefix.addr {
        IpAddr::V4(addr) if prefix.len < 31 => {
            let hosts = u32::MAX.checked_shr(prefix.len.into()).unwrap_or(0);
            Some(end(Ipv4Addr::from_bits(addr.to_bits() | hosts).into()))
        }
        _ => None,
    };
    [end(prefix.addr)].into_iter().chain(broadcast)
}

/// Addresses as they travel.
fn put_ends<'e>(ends: impl Iterator<Item = &'e End>, out: &mut Vec<u8>) {
    for (family, addr) in ends {
        out.push(*family);
        out.extend(addr);
    }
}

fn take_ends(bytes: &[u8]) -> BTreeSet<End> {
    let each = bytes.chunks_exact(END).filter_map(|bytes| {
        let (family, addr) = bytes.split_first()?;
        Some((*family, *addr.first_chunk()?))
    });
    each.collect()
}

/// How this node looks at its flows.
#[derive(Clone)]
pub(super) struct Eyes {
    control: Arc<Control>,
    flows: Arc<Flows>,
}

impl Eyes {
    pub(super) fn new(control: Arc<Control>, flows: Arc<Flows>) -> Self {
        Self { control, flows }
    }

    /// The addresses of this node.
    fn own(&self) -> BTreeSet<End> {
        self.control
            .read(|rib| rib.ifaces().flat_map(|entry| &entry.addresses).flat_map(ends).collect())
    }

    /// They, as a question has them.
    pub(super) fn question(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_ends(self.own().iter().take(ASKED), &mut out);
        out
    }

    fn look(&self, but: BTreeSet<End>) -> Option<Seen> {
        let but: Arc<dyn Fn(&FlowKey) -> bool + Send + Sync> = Arc::new(move |key: &FlowKey| {
            but.contains(&(key.family, key.src)) || but.contains(&(key.family, key.dst))
        });
        flows::seen(&self.flows, &but)
    }

    /// What this node has, for one that watches and whose addresses these are. Empty, so that nothing is answered, where a worker does not
    /// answer.
    pub(super) fn image(&self, theirs: &[u8]) -> Vec<u8> {
        let own = self.own();
        let but = own.iter().copied().chain(take_ends(theirs)).collect();
        self.look(but).map_or_else(Vec::new, |seen| image(&own, &seen))
    }

    /// What the owner has by this image, and what this node has beside it.
    pub(super) fn beside(&self, image: &[u8]) -> Result<Look, String> {
        let (ends, theirs) = read(image).ok_or("what it sent is damaged")?;
        let but = self.own().into_iter().take(ASKED).chain(ends).collect();
        let ours = self.look(but).ok_or("a worker does not answer")?;
        Ok(Look { theirs, ours })
    }
}

fn image(own: &BTreeSet<End>, seen: &Seen) -> Vec<u8> {
    let own = own.iter().take(u16::MAX.into());
    let mut out = (own.len() as u16).to_le_bytes().to_vec();
    put_ends(own, &mut out);
    for Content { flows, sum } in seen.parts() {
        out.extend(flows.to_le_bytes());
        out.extend(sum.to_le_bytes());
    }
    out
}

fn read(image: &[u8]) -> Option<(BTreeSet<End>, Seen)> {
    let (count, rest) = image.split_first_chunk()?;
    let (ends, parts) = rest.split_at_checked(usize::from(u16::from_le_bytes(*count)) * END)?;
    if parts.len() != PARTS * PART {
        return None;
    }
    let part = |bytes: &[u8]| {
        let (flows, sum) = bytes.split_first_chunk()?;
        let (flows, sum) = (u64::from_le_bytes(*flows), u64::from_le_bytes(*sum.first_chunk()?));
        Some(Content { flows, sum })
    };
    let parts = parts.chunks_exact(PART).map(part).collect::<Option<_>>()?;
    Some((take_ends(ends), Seen::of(parts)?))
}

/// Both nodes at about the same time.
pub(super) struct Look {
    theirs: Seen,
    ours: Seen,
}

/// Compares what was the same in two looks, one a while after the other. What changed meanwhile, at either node, may have been on its
/// way from one to the other.
pub(super) fn compare(first: &Look, second: &Look) -> HaVerify {
    let mut found = HaVerify { flows: Some(0), ..HaVerify::default() };
    let theirs = first.theirs.parts().iter().zip(second.theirs.parts());
    let ours = first.ours.parts().iter().zip(second.ours.parts());
    for ((theirs, theirs_now), (ours, ours_now)) in theirs.zip(ours) {
        if theirs != theirs_now || ours != ours_now {
            found.skipped += 1;
            continue;
        }
        found.compared += 1;
        found.differ += u64::from(theirs != ours);
        found.flows = found.flows.map(|flows| flows.saturating_add(theirs.flows));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(parts: &[(usize, u64, u64)]) -> Seen {
        let mut all = vec![Content::default(); PARTS];
        for (at, flows, sum) in parts {
            all[*at] = Content { flows: *flows, sum: *sum };
        }
        Seen::of(all).unwrap()
    }

    fn look(theirs: &[(usize, u64, u64)], ours: &[(usize, u64, u64)]) -> Look {
        Look { theirs: seen(theirs), ours: seen(ours) }
    }

    fn ends_of(text: &str, len: u8) -> Vec<End> {
        ends(&Prefix { addr: text.parse().unwrap(), len }).collect()
    }

    #[test]
    fn an_image_is_read_as_it_was_written() {
        let own: BTreeSet<End> = [("192.0.2.1", 24), ("2001:db8::1", 64)]
            .iter()
            .flat_map(|(a, len)| ends_of(a, *len))
            .collect();
        assert_eq!(own.len(), 3, "one of them for all on the network");
        let seen = seen(&[(0, 1, 7), (PARTS - 1, u64::MAX, u64::MAX)]);
        let image = image(&own, &seen);
        assert_eq!(read(&image), Some((own.clone(), seen)));
        for len in 0..image.len() {
            assert_eq!(read(&image[..len]), None);
        }
        let mut out = Vec::new();
        put_ends(own.iter(), &mut out);
        assert_eq!(take_ends(&out), own);
        assert!(take_ends(&out[..END - 1]).is_empty());
    }

    #[test]
    fn an_address_ends_flows_and_so_does_its_networks_broadcast() {
        let of = |addr: &str| end(addr.parse().unwrap());
        assert_eq!(ends_of("192.0.2.1", 24), [of("192.0.2.1"), of("192.0.2.255")]);
        assert_eq!(ends_of("10.1.2.3", 8), [of("10.1.2.3"), of("10.255.255.255")]);
        assert_eq!(ends_of("192.0.2.1", 32), [of("192.0.2.1")]);
        assert_eq!(ends_of("192.0.2.1", 31), [of("192.0.2.1")]);
        assert_eq!(ends_of("2001:db8::1", 64), [of("2001:db8::1")]);
    }

    #[test]
    fn only_what_did_not_change_is_compared() {
        let all = PARTS as u64;
        let same = look(&[(3, 2, 9)], &[(3, 2, 9)]);
        let found = compare(&same, &same);
        assert_eq!((found.compared, found.differ, found.skipped), (all, 0, 0));
        assert_eq!((found.flows, found.running), (Some(2), false));
        // Missing here, missing there, another one.
        for other in [
            look(&[(3, 2, 9)], &[]),
            look(&[], &[(3, 2, 9)]),
            look(&[(3, 2, 9)], &[(3, 2, 8)]),
            look(&[(3, 2, 9)], &[(3, 1, 9)]),
        ] {
            let found = compare(&other, &other);
            assert_eq!((found.compared, found.differ, found.skipped), (all, 1, 0));
            // It came, or went, between the looks.
            let (came, went) = (compare(&look(&[], &[]), &other), compare(&other, &same));
            assert_eq!((came.compared, came.differ, came.skipped), (all - 1, 0, 1));
            assert_eq!((went.differ, went.skipped), (0, 1));
            assert_eq!(came.flows, Some(0));
        }
    }
}
