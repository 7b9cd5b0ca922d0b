//! What answers a refused packet (`reject`), as nf_reject_ipv4.c and nf_reject_ipv6.c make it.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use packet::wire::tcp::{ACK, FIN, RST, SYN};
use packet::{ChecksumStatus, FragmentPart, Frame, L4, checksum};

use crate::icmp;
use crate::pipeline::Packet;

/// TCP's number.
const TCP: u8 = 6;
/// Where UDP has its checksum.
const UDP_CHECKSUM: usize = 6;
/// Bytes of a TCP header without options.
const TCP_LEN: u16 = 20;
/// IPv4's "don't fragment", in the byte of flags.
const DONT_FRAGMENT: u8 = 0x40;

/// Protocols without a checksum over all of their payload: AH, ESP, SCTP, UDP-Lite, DCCP, GRE.
const UNCHECKED: [u8; 6] = [51, 50, 132, 136, 33, 47];

/// Whether the checksum over a packet's payload is right, or there is none to check: a garbled packet is not answered. As in
/// Linux, protocols that nothing is known of are taken to have one, a first fragment's is wrong, and later ones are never right.
pub(super) fn is_intact<F: Frame>(packet: &Packet, frame: &F) -> bool {
    let layers = &packet.layers;
    if layers.fragment == FragmentPart::Later {
        return false;
    }
    if frame.rx_meta().l4_checksum == ChecksumStatus::Good || UNCHECKED.contains(&layers.protocol) {
        return true;
    }
    let at = usize::from(layers.l4_offset);
    if layers.l4 == L4::Udp && frame.read::<2>(at + UDP_CHECKSUM) == Some([0; 2]) {
        return true;
    }
    let len = layers.end.saturating_sub(layers.l4_offset.into());
    let start = match (packet.src(), packet.dst()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) if matches!(layers.l4, L4::Tcp | L4::Udp) => {
            checksum::pseudo_ipv4(src.octets(), dst.octets(), layers.protocol, len as u16)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            checksum::pseudo_ipv6(src.octets(), dst.octets(), layers.protocol, len)
        }
        _ => checksum::Sum::new(),
    };
    checksum::frame_sum(frame, start, at, len as usize).is_some_and(|sum| sum.is_valid())
}

/// Whether a packet says itself that something is unreachable.
pub(super) fn is_unreachable<F: Frame>(packet: &Packet, frame: &F) -> bool {
    let kind = frame.read::<1>(packet.layers.l4_offset.into());
    match packet.layers.l4 {
        L4::Icmp => kind == Some([3]),
        L4::Icmp6 => kind == Some([1]),
        _ => false,
    }
}

/// The whole IP packet that resets the connection of `packet`. `None` for what is no TCP segment with a right checksum, or is a
/// reset itself.
pub(super) fn reset<F: Frame>(packet: &Packet, frame: &F) -> Option<ArrayVec<u8, 60>> {
    let layers = &packet.layers;
    if layers.l4 != L4::Tcp || layers.fragment == FragmentPart::Later {
        return None;
    }
    let old = layers.tcp(frame);
    if old.flags & RST != 0 || !is_intact(packet, frame) {
        return None;
    }
    // What the sender expects: its acknowledgement number, or an acknowledgement of all that it sent.
    let (seq, ack, flags) = if old.flags & ACK != 0 {
        (old.ack.get(), 0, RST)
    } else {
        let segment = layers.end.saturating_sub(layers.l4_offset.into());
        let payload = segment.saturating_sub(old.header_len() as u32);
        let controls = [SYN, FIN].iter().filter(|flag| old.flags & **flag != 0).count() as u32;
        (0, old.seq.get().wrapping_add(payload).wrapping_add(controls), RST | ACK)
    };
    let mut bytes = ArrayVec::<u8, 60>::new();
    let pseudo = match (packet.dst(), packet.src()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend(icmp::header4(from, to, 20 + TCP_LEN, TCP, [0, DONT_FRAGMENT], 0));
            checksum::pseudo_ipv4(from.octets(), to.octets(), TCP, TCP_LEN)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            bytes.extend(icmp::header6(from, to, TCP_LEN, TCP));
            checksum::pseudo_ipv6(from.octets(), to.octets(), TCP, TCP_LEN.into())
        }
        _ => return None,
    };
    let start = bytes.len();
    bytes.extend(old.dport);
    bytes.extend(old.sport);
    bytes.extend([seq, ack].into_iter().flat_map(u32::to_be_bytes));
    bytes.extend([((TCP_LEN / 4) << 4) as u8, flags]);
    bytes.extend([0; 6]);
    let sum = pseudo.bytes(bytes.get(start..)?).checksum();
    bytes.get_mut(start + 16..start + 18)?.copy_from_slice(&sum.to_be_bytes());
    Some(bytes)
}
