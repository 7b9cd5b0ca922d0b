//! The headers as they stand on the wire: unaligned, big-endian, one file per protocol.
//!
//! Each struct is a plain view (`#[repr(C)]`, alignment 1, its size asserted), so any bytes of that size are one: accessors
//! cannot fail. Whether the values make sense is decided once, by [`crate::layers::parse`]. [`read`] and [`write()`] move
//! whole headers out of and into frames, across segments; [`edit`] changes them where they stand.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::frame::Frame;

pub mod arp;
pub mod ethernet;
pub mod gre;
pub mod icmp;
pub mod icmp6;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod sctp;
pub mod tcp;
pub mod udp;
pub mod vlan;

pub use arp::ArpPacket;
pub use ethernet::EthernetHeader;
pub use gre::{GreHeader, PptpHeader};
pub use icmp::IcmpHeader;
pub use icmp6::Icmp6Header;
pub use ipv4::Ipv4Header;
pub use ipv6::{Ipv6ExtHeader, Ipv6FragmentHeader, Ipv6Header};
pub use sctp::SctpHeader;
pub use tcp::TcpHeader;
pub use udp::UdpHeader;
pub use vlan::VlanTag;

/// A header: any bytes of its size are one, at any address.
pub trait Header: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + Copy {}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + Copy> Header for T {}

/// Reads the header at `offset`; `None` where the frame ends before it does.
#[inline(always)]
pub fn read<T: Header, F: Frame>(frame: &F, offset: usize) -> Option<T> {
    match from_slice(frame.head(), offset) {
        Some(header) => Some(header),
        None => {
            let mut header = T::new_zeroed();
            frame.copy_out(offset, header.as_mut_bytes()).then_some(header)
        }
    }
}

/// Overwrites the bytes at `offset` with `header`; false, with nothing written, where it does not fit.
#[inline(always)]
pub fn write<T: Header, F: Frame>(frame: &mut F, offset: usize, header: &T) -> bool {
    let bytes = header.as_bytes();
    if let Some(place) =
        frame.head_mut().get_mut(offset..).and_then(|rest| rest.get_mut(..bytes.len()))
    {
        for (to, from) in place.iter_mut().zip(bytes) {
            *to = *from;
        }
        return true;
    }
    frame.copy_in(offset, bytes)
}

/// Changes the header at `offset`: where it stands if that is the head segment, else in a copy. `None`, with nothing changed,
/// where the frame ends before the header does.
#[inline(always)]
pub fn edit<T: Header, F: Frame, R>(
    frame: &mut F,
    offset: usize,
    change: impl FnOnce(&mut T) -> R,
) -> Option<R> {
    match frame.head_mut().get_mut(offset..).map(T::mut_from_prefix) {
        Some(Ok((header, _))) => Some(change(header)),
        _ => edit_copy(frame, offset, change),
    }
}

#[cold]
#[inline(never)]
fn edit_copy<T: Header, F: Frame, R>(
    frame: &mut F,
    offset: usize,
    change: impl FnOnce(&mut T) -> R,
) -> Option<R> {
    let mut header: T = read(frame, offset)?;
    let result = change(&mut header);
    write(frame, offset, &header).then_some(result)
}

/// The header at `offset` of plain bytes.
#[inline(always)]
pub(crate) fn from_slice<T: Header>(bytes: &[u8], offset: usize) -> Option<T> {
    T::read_from_prefix(bytes.get(offset..)?).ok().map(|(header, _)| header)
}
