//! Nexthop objects (`ip nexthop`), whose messages the message crate does not know: parsed here as far as they matter.
//!
//! Source: linux/nexthop.h. A message is a `struct nhmsg` of 8 bytes (family, scope, protocol, reserved, flags) and
//! attributes `NHA_…`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dataplane::rib::{IfIndex, NextHop};
use netlink_packet_core::{NlasIterator, parse_u32};

use super::translate::{Hop, TranslateError};

/// `RTM_NEWNEXTHOP`.
pub(crate) const RTM_NEWNEXTHOP: u16 = 104;
/// `RTM_DELNEXTHOP`.
pub(crate) const RTM_DELNEXTHOP: u16 = 105;
/// `RTM_GETNEXTHOP`.
pub(crate) const RTM_GETNEXTHOP: u16 = 106;
/// Bytes of `struct nhmsg`.
pub(crate) const HEADER: usize = 8;

const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_ENCAP: u16 = 8;
const NHA_FDB: u16 = 11;

const RTNH_F_DEAD: u32 = 1;

/// A nexthop object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nexthop {
    /// The number that routes refer to.
    pub(crate) id: u32,
    /// What it is.
    pub(crate) kind: NexthopKind,
}

/// What a nexthop object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NexthopKind {
    /// One way on.
    Hop(Hop),
    /// Packets are dropped.
    Blackhole,
    /// Several objects, each with a weight of at least 1.
    Group(Vec<(u32, u16)>),
    /// Only the kernel can follow it: an encapsulation, or a bridge's entry.
    KernelOnly,
}

/// Parses the payload of `RTM_NEWNEXTHOP` or `RTM_DELNEXTHOP`.
pub(crate) fn parse(payload: &[u8]) -> Result<Nexthop, TranslateError> {
    let malformed = |what: &str| TranslateError(format!("nexthop: {what}"));
    let (header, attributes) =
        payload.split_at_checked(HEADER).ok_or_else(|| malformed("truncated header"))?;
    let flags = header.last_chunk::<4>().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    let (mut id, mut iface, mut via, mut group) = (None, None, None, None);
    let (mut blackhole, mut kernel_only) = (false, false);
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute.map_err(|error| malformed(&error.to_string()))?;
        let value = attribute.value();
        let number = || parse_u32(value).map_err(|error| malformed(&error.to_string()));
        match attribute.kind() {
            NHA_ID => id = Some(number()?),
            NHA_OIF => iface = Some(IfIndex(number()?)),
            NHA_GATEWAY => {
                via = Some(address(value).ok_or_else(|| malformed("gateway of an odd length"))?)
            }
            NHA_GROUP => group = Some(members(value)),
            NHA_BLACKHOLE => blackhole = true,
            NHA_ENCAP | NHA_FDB => kernel_only = true,
            _ => {}
        }
    }
    let id = id.ok_or_else(|| malformed("no id"))?;
    let kind = match (group, blackhole, kernel_only, iface) {
        (_, true, _, _) => NexthopKind::Blackhole,
        (_, _, true, _) => NexthopKind::KernelOnly,
        (Some(group), _, _, _) => NexthopKind::Group(group),
        (None, _, _, Some(iface)) => NexthopKind::Hop(Hop {
            hop: NextHop { iface, via, weight: 1 },
            dead: flags & RTNH_F_DEAD != 0,
        }),
        // The kernel makes no such object; a deletion, though, may name nothing but the id.
        (None, _, _, None) => NexthopKind::KernelOnly,
    };
    Ok(Nexthop { id, kind })
}

/// `struct nexthop_grp`: id, weight - 1, its high byte (Linux 6.12; zero before), 2 reserved.
fn members(value: &[u8]) -> Vec<(u32, u16)> {
    let (members, _) = value.as_chunks::<8>();
    members
        .iter()
        .map(|&[a, b, c, d, low, high, _, _]| {
            (u32::from_ne_bytes([a, b, c, d]), u16::from_le_bytes([low, high]).saturating_add(1))
        })
        .collect()
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => value.first_chunk().map(|bytes: &[u8; 4]| IpAddr::V4(Ipv4Addr::from(*bytes))),
        16 => value.first_chunk().map(|bytes: &[u8; 16]| IpAddr::V6(Ipv6Addr::from(*bytes))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ip nexthop add id 7 via 10.0.0.2 dev 3`, as a dump shows it.
    const SINGLE: [u8; 8 + 24] = [
        2, 253, 3, 0, 0, 0, 0, 0, // family inet, scope link, protocol boot
        8, 0, 1, 0, 7, 0, 0, 0, // NHA_ID
        8, 0, 5, 0, 3, 0, 0, 0, // NHA_OIF
        8, 0, 6, 0, 10, 0, 0, 2, // NHA_GATEWAY
    ];

    #[test]
    fn a_single_hop() {
        let expected =
            NextHop { iface: IfIndex(3), via: Some("10.0.0.2".parse().unwrap()), weight: 1 };
        assert_eq!(
            parse(&SINGLE).unwrap(),
            Nexthop { id: 7, kind: NexthopKind::Hop(Hop { hop: expected, dead: false }) }
        );
        let mut dead = SINGLE;
        dead[4] = 1;
        assert!(matches!(parse(&dead).unwrap().kind, NexthopKind::Hop(Hop { dead: true, .. })));
    }

    #[test]
    fn a_group_with_weights() {
        let group = [
            0, 0, 0, 0, 0, 0, 0, 0, // AF_UNSPEC
            8, 0, 1, 0, 10, 0, 0, 0, // NHA_ID
            20, 0, 2, 0, 7, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 255, 1, 0,
            0, // NHA_GROUP: 7 weight 1, 8 weight 512
            6, 0, 3, 0, 0, 0, 0, 0, // NHA_GROUP_TYPE
        ];
        assert_eq!(
            parse(&group).unwrap(),
            Nexthop { id: 10, kind: NexthopKind::Group(vec![(7, 1), (8, 512)]) }
        );
    }

    #[test]
    fn a_blackhole_and_what_only_the_kernel_follows() {
        let blackhole = [2, 0, 0, 0, 0, 0, 0, 0, 8, 0, 1, 0, 9, 0, 0, 0, 4, 0, 4, 0];
        assert_eq!(parse(&blackhole).unwrap().kind, NexthopKind::Blackhole);
        let encap =
            [2, 0, 0, 0, 0, 0, 0, 0, 8, 0, 1, 0, 9, 0, 0, 0, 8, 0, 5, 0, 3, 0, 0, 0, 4, 0, 8, 128];
        assert_eq!(parse(&encap).unwrap().kind, NexthopKind::KernelOnly);
    }

    #[test]
    fn every_truncation_is_an_error_or_a_shorter_object() {
        for len in 0..SINGLE.len() {
            match parse(&SINGLE[..len]) {
                Ok(nexthop) => assert_eq!(nexthop.id, 7, "{len}"),
                Err(error) => assert!(error.to_string().starts_with("nexthop:"), "{len}: {error}"),
            }
        }
    }
}
