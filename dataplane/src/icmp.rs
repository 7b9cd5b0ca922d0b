//! ICMP and ICMPv6 errors: when a refused packet is answered, with what, how often.
//!
//! Sources: RFC 792, RFC 1812 4.3.2, RFC 4443, RFC 1191; the quote lengths and the DSCP are Linux's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use arrayvec::ArrayVec;
use packet::{DropReason, FragmentPart, Frame, L2Kind, L3, L4, checksum};

use crate::pipeline::Packet;
use packet::Tick;

/// The longest ICMP error for IPv4 (RFC 1812, 4.3.2.3).
const LONGEST4: usize = 576;
/// The longest ICMPv6 error: IPv6's minimum MTU (RFC 4443, 2.4 c).
const LONGEST6: usize = 1280;
/// TTL and hop limit of what this node sends.
const TTL: u8 = 64;
/// ICMP errors that may go out at once, beyond the rate (Linux: `icmp_msgs_burst`).
const BURST: u32 = 50;

/// An error message's type, code and parameter (the MTU).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    kind: u8,
    code: u8,
    parameter: u32,
}

impl Error {
    /// Destination unreachable with this code, of the family's own.
    pub fn unreachable(family: L3, code: u8) -> Self {
        Self { kind: if family == L3::Ipv4 { 3 } else { 1 }, code, parameter: 0 }
    }
}

/// The error that answers a packet refused for `reason`; `None` where the sender hears nothing.
pub fn answer(reason: DropReason, family: L3, mtu: u32) -> Option<Error> {
    let (v4, v6) = match reason {
        DropReason::TtlExpired => ((11, 0), (3, 0)),
        DropReason::NoRoute | DropReason::InterfaceDown => ((3, 0), (1, 0)),
        DropReason::Unreachable | DropReason::NeighbourFailed => ((3, 1), (1, 3)),
        DropReason::Prohibited => ((3, 13), (1, 1)),
        DropReason::TooBig => ((3, 4), (2, 0)),
        DropReason::Ip6Scope => ((3, 0), (1, 2)),
        _ => return None,
    };
    match family {
        L3::Ipv4 => Some(Error { kind: v4.0, code: v4.1, parameter: mtu.min(0xffff) }),
        L3::Ipv6 => {
            Some(Error { kind: v6.0, code: v6.1, parameter: mtu.max(1280) * u32::from(mtu > 0) })
        }
        L3::Arp | L3::Other => None,
    }
}

/// Whether a packet may be answered by an error at all (RFC 1812 4.3.2.7, RFC 4443 2.4 e).
pub fn may_answer<F: Frame>(packet: &Packet, frame: &F) -> bool {
    let layers = &packet.layers;
    // Of IPv6, Linux answers later fragments, too.
    let later = layers.fragment == FragmentPart::Later && layers.l3 == L3::Ipv4;
    if layers.l2_kind != L2Kind::Unicast || later {
        return false;
    }
    let to_many = match packet.dst() {
        IpAddr::V4(dst) => dst.is_multicast() || dst.is_broadcast(),
        IpAddr::V6(dst) => dst.is_multicast(),
    };
    let from_nobody = packet.src().is_unspecified();
    let kind = || frame.read::<1>(usize::from(layers.l4_offset)).map_or(0, |[kind]| kind);
    let is_error = match (layers.l4, layers.protocol) {
        // Echo, router discovery, timestamp, information, address mask: the questions and answers.
        (L4::Icmp, _) => !matches!(kind(), 0 | 8 | 9 | 10 | 13..=18),
        (L4::Icmp6, _) => kind() < 128,
        _ => false,
    };
    !(to_many || from_nobody || is_error)
}

/// How an error looks beside what it says.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// IPv4's TOS; `None` for the packet's own bits under "internetwork control" precedence, as Linux answers.
    tos: Option<u8>,
    /// The byte with IPv4's flags.
    flags: u8,
    /// IPv4's identification.
    id: u16,
    /// Bytes of the packet that are quoted, at most: of IPv4, of IPv6.
    quote: [usize; 2],
}

impl Look {
    /// As the node's own errors look (`icmp_send`), with this identification.
    pub fn routed(id: u16) -> Self {
        Self { tos: None, flags: 0, id, quote: [LONGEST4 - 28, LONGEST6 - 48] }
    }

    /// As errors look that are sent from beneath the routing (`nf_reject_skb_v4_unreach`).
    pub const fn bridged() -> Self {
        Self { tos: Some(0), flags: 0x40, id: 0, quote: [536, 1220] }
    }
}

/// The whole IP packet of the error `error` about `packet`, sent from `source`; `None` when families do not match.
pub fn build<F: Frame>(
    packet: &Packet,
    frame: &F,
    error: Error,
    source: IpAddr,
    look: Look,
) -> Option<ArrayVec<u8, LONGEST6>> {
    let quoted = packet.ip_len() as usize;
    let [quote4, quote6] = look.quote;
    let mut bytes = ArrayVec::<u8, LONGEST6>::new();
    let (header, quote) = match (source, packet.src()) {
        (IpAddr::V4(source), IpAddr::V4(to)) => {
            let quote = quoted.min(quote4);
            let tos = look.tos.unwrap_or((packet.layers.tos & 0x1e) | 0xc0);
            let len = (28 + quote) as u16;
            bytes.extend(header4(source, to, len, 1, [tos, look.flags], look.id));
            (20, quote)
        }
        (IpAddr::V6(source), IpAddr::V6(to)) => {
            let quote = quoted.min(quote6);
            bytes.extend(header6(source, to, (8 + quote) as u16, 58));
            (40, quote)
        }
        _ => return None,
    };
    bytes.extend([error.kind, error.code, 0, 0]);
    bytes.extend(error.parameter.to_be_bytes());
    let start = bytes.len();
    bytes.extend(std::iter::repeat_n(0, quote));
    if !frame.copy_out(usize::from(packet.layers.l3_offset), bytes.get_mut(start..)?) {
        return None;
    }
    let pseudo = match (source, packet.src()) {
        (IpAddr::V6(source), IpAddr::V6(to)) => {
            checksum::pseudo_ipv6(source.octets(), to.octets(), 58, (8 + quote) as u32)
        }
        _ => checksum::Sum::new(),
    };
    let sum = pseudo.bytes(bytes.get(header..)?).checksum();
    bytes.get_mut(header + 2..header + 4)?.copy_from_slice(&sum.to_be_bytes());
    Some(bytes)
}

/// An IPv4 header of this node's: `len` bytes in all, `tos` and the flags' byte as given.
pub(crate) fn header4(
    from: Ipv4Addr,
    to: Ipv4Addr,
    len: u16,
    protocol: u8,
    [tos, flags]: [u8; 2],
    id: u16,
) -> [u8; 20] {
    let [len_hi, len_lo] = len.to_be_bytes();
    let [id_hi, id_lo] = id.to_be_bytes();
    let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (from.octets(), to.octets());
    let mut header = [
        0x45, tos, len_hi, len_lo, id_hi, id_lo, flags, 0, TTL, protocol, 0, 0, s0, s1, s2, s3, d0,
        d1, d2, d3,
    ];
    let [hi, lo] = checksum::of(&header).to_be_bytes();
    (header[10], header[11]) = (hi, lo);
    header
}

/// An IPv6 header of this node's, with so many bytes behind it.
pub(crate) fn header6(
    from: Ipv6Addr,
    to: Ipv6Addr,
    payload: u16,
    protocol: u8,
) -> ArrayVec<u8, 40> {
    let mut header = ArrayVec::new();
    header.extend([0x60, 0, 0, 0]);
    header.extend(payload.to_be_bytes());
    header.extend([protocol, TTL]);
    header.extend(from.octets());
    header.extend(to.octets());
    header
}

/// How many errors may go out: a token bucket.
#[derive(Debug)]
pub struct Limit {
    per_second: u32,
    tokens: u32,
    since: Tick,
}

impl Limit {
    /// At most `per_second` on average, and a burst of 50; zero sends none.
    pub fn new(per_second: u32) -> Self {
        Self { per_second, tokens: BURST.min(per_second), since: Tick(0) }
    }

    /// Takes one token, if there is one at `now`.
    pub fn take(&mut self, now: Tick) -> bool {
        let earned = now.since(self.since).as_nanos() * u128::from(self.per_second) / 1_000_000_000;
        if earned > 0 {
            // What is not a whole token yet stays earned: the clock moves on by whole tokens only.
            let spent = earned * 1_000_000_000 / u128::from(self.per_second.max(1));
            let spent = Duration::from_nanos(u64::try_from(spent).unwrap_or(u64::MAX));
            self.since = Tick(
                self.since.0.saturating_add(u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX)),
            );
            let full = u128::from(BURST.min(self.per_second));
            self.tokens =
                u32::try_from((u128::from(self.tokens) + earned).min(full)).unwrap_or(BURST);
        }
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_over_time_and_forgets_no_fraction() {
        let mut limit = Limit::new(100);
        let mut sent = 0;
        // Asked every millisecond for ten seconds.
        for ms in 0..10_000u64 {
            sent += u32::from(limit.take(Tick(ms * 1_000_000)));
        }
        assert!((1_000..=1_050).contains(&sent), "{sent}");
        assert!(!Limit::new(0).take(Tick(1_000_000_000)));
    }

    #[test]
    fn reasons_map_to_the_errors_that_linux_sends() {
        let at = |reason, family, mtu| {
            answer(reason, family, mtu).map(|error| (error.kind, error.code, error.parameter))
        };
        assert_eq!(at(DropReason::TtlExpired, L3::Ipv4, 0), Some((11, 0, 0)));
        assert_eq!(at(DropReason::TooBig, L3::Ipv4, 1400), Some((3, 4, 1400)));
        assert_eq!(at(DropReason::TooBig, L3::Ipv6, 1400), Some((2, 0, 1400)));
        assert_eq!(at(DropReason::NoRoute, L3::Ipv6, 0), Some((1, 0, 0)));
        assert_eq!(at(DropReason::Blackhole, L3::Ipv4, 0), None);
    }
}
