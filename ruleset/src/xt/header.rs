//! Where extensions look into a packet.

use packet::wire::ip;

use crate::family::Family;
use crate::packet::Cx;
use crate::sums;

/// The transport header that matches of a protocol look at; see [`transport`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Transport {
    /// It begins here.
    At(usize),
    /// The packet is a fragment behind the first.
    Later,
    /// A fragment so small that only an attacker makes it.
    Forged,
}

/// Whether the packet is IPv6 where the rule stands.
pub(super) fn is_ipv6(cx: &Cx<'_>) -> bool {
    cx.place.family == Family::Ipv6
}

/// Where the transport header begins (`xt_action_param.thoff`, `.fragoff`).
pub(super) fn transport(cx: &Cx<'_>) -> Transport {
    match cx.transport {
        Some(found) if !found.later => Transport::At(found.offset.into()),
        Some(_) if !is_ipv6(cx) => {
            let fragment = cx.peek(cx.network() + 6).map_or(0, u16::from_be_bytes);
            if fragment & packet::wire::ipv4::OFFSET_MASK == 1 {
                Transport::Forged
            } else {
                Transport::Later
            }
        }
        Some(_) => Transport::Later,
        // IPv6 whose chain of headers is cut off.
        None => Transport::Later,
    }
}

/// The same for what does not look whether the packet is a fragment. Behind IPv6's first fragment that is its own header.
pub(super) fn transport_anyway(cx: &Cx<'_>) -> usize {
    match cx.transport {
        Some(found) if !found.later || !is_ipv6(cx) => found.offset.into(),
        _ => cx.network(),
    }
}

/// `N` bytes of the transport header; what matches of a protocol say where there are none: fragments are not meant, packets
/// that are cut off are dropped.
pub(super) fn judge<const N: usize>(
    cx: &Cx<'_>,
    test: impl FnOnce(usize, [u8; N]) -> Option<bool>,
) -> Option<bool> {
    match transport(cx) {
        Transport::At(at) => test(at, cx.peek(at)?),
        Transport::Later => Some(false),
        Transport::Forged => None,
    }
}

/// Source and destination address; IPv4's in the first four bytes.
pub(super) fn addresses(cx: &Cx<'_>) -> Option<([u8; 16], [u8; 16])> {
    let network = cx.network();
    if is_ipv6(cx) {
        return Some((cx.peek(network + 8)?, cx.peek(network + 24)?));
    }
    let wide = |[a, b, c, d]: [u8; 4]| [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    Some((wide(cx.peek(network + 12)?), wide(cx.peek(network + 16)?)))
}

/// TOS or traffic class.
pub(super) fn tos(cx: &Cx<'_>) -> Option<u8> {
    let network = cx.network();
    if is_ipv6(cx) {
        let [first, second] = cx.peek(network)?;
        return Some(first << 4 | second >> 4);
    }
    let [tos] = cx.peek(network + 1)?;
    Some(tos)
}

/// The TCP header's options: where they begin and end.
pub(super) fn tcp_options(cx: &Cx<'_>, at: usize) -> Option<std::ops::Range<usize>> {
    let [words]: [u8; 1] = cx.peek(at + 12)?;
    Some(at + packet::wire::tcp::LEN..at + usize::from(words >> 4) * 4)
}

/// Whether `protocol` has ports in the first four bytes of its header.
pub(super) const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, ip::TCP | ip::UDP | ip::UDP_LITE | ip::SCTP | 33)
}

/// Overwrites bytes of a header that begins at `base`, and keeps its checksum true; false where there are no such bytes.
pub(super) fn rewrite(
    cx: &mut Cx<'_>,
    base: usize,
    at: usize,
    new: &[u8],
    checksum: usize,
) -> bool {
    // The checksum adds up words, which begin on even bytes of the header.
    let start = at - (at - base) % 2;
    let len = (at + new.len() - start).next_multiple_of(2);
    let (mut old, mut changed) = ([0; 64], [0; 64]);
    let (Some(old), Some(changed)) = (old.get_mut(..len), changed.get_mut(..len)) else {
        return false;
    };
    if start + len > cx.end() || !cx.bytes.read_at(start, old) {
        return false;
    }
    changed.copy_from_slice(old);
    for (to, from) in changed.iter_mut().skip(at - start).zip(new) {
        *to = *from;
    }
    let change = sums::Change::of(old, changed);
    cx.store(start, changed) && change.apply(cx, checksum).is_some()
}

/// Changes the type of service or traffic class.
pub(super) fn set_tos(cx: &mut Cx<'_>, tos: u8) {
    let network = cx.network();
    if !is_ipv6(cx) {
        rewrite(cx, network, network + 1, &[tos], network + 10);
    } else if let Some([first, second]) = cx.peek(network) {
        cx.store(network, &[first & 0xf0 | tos >> 4, second & 0x0f | tos << 4]);
    }
}
