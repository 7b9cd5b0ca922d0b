//! Matches and targets of ebtables.

use super::*;

mod among;
mod arp;
mod ethernet;
mod ip;
mod ip6;
mod limit;
mod log;
mod mark;
mod nat;
mod pkttype;
mod stp;
mod vlan;

/// Every extension, by file.
pub(super) static REGISTRY: &[&[Extension]] = &[
    among::ALL,
    arp::ALL,
    ethernet::ALL,
    ip::ALL,
    ip6::ALL,
    limit::ALL,
    log::ALL,
    mark::ALL,
    nat::ALL,
    pkttype::ALL,
    stp::ALL,
    vlan::ALL,
];

const MATCH: Extension = Extension { families: BRIDGE, ..Extension::MATCH };
const TARGET: Extension = Extension { families: BRIDGE, ..Extension::TARGET };

/// Bits that a verdict takes of a number (`EBT_VERDICT_BITS`).
const VERDICT: i32 = 0xf;

/// What is asked, and of that what must not be so.
#[derive(Clone, Copy)]
struct Bits {
    asked: u8,
    inverted: u8,
}

impl Bits {
    fn is(self, so: bool, bit: u8) -> bool {
        self.asked & bit == 0 || so != (self.inverted & bit != 0)
    }
}

fn masked<const N: usize>(bytes: [u8; N], mask: [u8; N]) -> [u8; N] {
    let mut bytes = bytes;
    bytes.iter_mut().zip(mask).for_each(|(byte, mask)| *byte &= mask);
    bytes
}

/// Whether the rule is for this EtherType alone.
fn is_ethertype(of: &Use<'_>, ethertype: u16) -> bool {
    of.protocol == ethertype.to_be() && !of.inverted
}

/// A verdict of ebtables.
fn verdict(number: i32) -> Result<Verdict> {
    match number {
        -1 => Ok(Verdict::Accept),
        -2 => Ok(Verdict::Drop),
        -3 => Ok(Verdict::Continue),
        -4 => Ok(Verdict::Return),
        _ => Err(Errno::EINVAL.into()),
    }
}
