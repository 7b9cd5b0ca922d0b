//! ICMP errors: which flow they tell of.
//!
//! An error carries the beginning of the packet that caused it, as the teller saw it. That packet's answer would have come
//! the way that the error comes, so the answer's tuple finds the flow and the error's direction.

use packet::wire::ipv4::{self, Ipv4Header};
use packet::wire::ipv6::{self, Ipv6ExtHeader, Ipv6FragmentHeader, Ipv6Header};
use packet::wire::{gre, icmp, icmp6, ip};
use packet::{FlowKey, Frame, L3, Layers};
use zerocopy::FromBytes;

/// The packet inside an error, as far as it is there. Offsets count from the frame's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// Its tuple, without a zone.
    pub key: FlowKey,
    /// Where its network header begins.
    pub l3_offset: u16,
    /// Where its transport header begins.
    pub l4_offset: u16,
    /// Where it ends: with the error.
    pub end: u32,
}

/// The largest number of extension headers that are followed.
const MAX_EXTENSIONS: usize = packet::layers::MAX_EXTENSIONS;

/// Finds the packet inside the error that `layers` tells of; `None` where it has no tuple: it is cut off, or a later fragment
/// (`nf_ct_get_tuplepr`).
pub fn inner<F: Frame>(frame: &F, layers: &Layers) -> Option<Inner> {
    let end = layers.end as usize;
    let at = usize::from(layers.l4_offset) + icmp::LEN;
    let view = View { frame, end };
    let (mut key, l4) = if layers.l3 == L3::Ipv4 { view.ipv4(at)? } else { view.ipv6(at)? };
    view.transport(&mut key, l4)?;
    Some(Inner {
        key,
        l3_offset: u16::try_from(at).ok()?,
        l4_offset: u16::try_from(l4).ok()?,
        end: layers.end,
    })
}

/// A frame up to the end of its packet.
struct View<'a, F> {
    frame: &'a F,
    end: usize,
}

impl<F: Frame> View<'_, F> {
    fn get<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        if at + N > self.end {
            return None;
        }
        self.frame.read(at)
    }

    /// Addresses and protocol, and where the transport header begins. The inner packet is no reason to be strict: lengths and
    /// checksum may be those of another hop.
    fn ipv4(&self, at: usize) -> Option<(FlowKey, usize)> {
        let header = Ipv4Header::read_from_bytes(&self.get::<{ ipv4::LEN }>(at)?).ok()?;
        let l4 = at + header.header_len();
        if header.fragment_offset() != 0 || l4 > self.end {
            return None;
        }
        let mut key = FlowKey { protocol: header.protocol, family: 4, ..FlowKey::default() };
        *key.src.first_chunk_mut()? = header.src;
        *key.dst.first_chunk_mut()? = header.dst;
        Some((key, l4))
    }

    fn ipv6(&self, at: usize) -> Option<(FlowKey, usize)> {
        let header = Ipv6Header::read_from_bytes(&self.get::<{ ipv6::LEN }>(at)?).ok()?;
        let mut number = header.next_header;
        let mut l4 = at + ipv6::LEN;
        let mut left = MAX_EXTENSIONS;
        while ipv6::is_extension(number) {
            let bytes = self.get::<{ ipv6::EXT_LEN }>(l4)?;
            let extension = Ipv6ExtHeader::read_from_bytes(&bytes).ok()?;
            if number == ip::FRAGMENT
                && Ipv6FragmentHeader::read_from_bytes(&bytes).ok()?.offset() != 0
            {
                return None;
            }
            l4 += extension.size(number);
            number = extension.next_header;
            left = left.checked_sub(1)?;
        }
        if number == ip::NO_NEXT || l4 > self.end {
            return None;
        }
        let (src, dst) = (header.src, header.dst);
        Some((FlowKey { src, dst, protocol: number, family: 6, ..FlowKey::default() }, l4))
    }

    /// Ports, or what stands for them, of the header at `at`. Eight bytes are all that must be there (RFC 792).
    fn transport(&self, key: &mut FlowKey, at: usize) -> Option<()> {
        match (key.protocol, key.family) {
            (ip::TCP | ip::UDP | ip::UDP_LITE | ip::SCTP, _) => {
                let [s0, s1, d0, d1] = self.get(at)?;
                (key.sport, key.dport) = ([s0, s1], [d0, d1]);
            }
            (ip::ICMP | ip::ICMP6, family) => {
                let [kind, code, _, _, i0, i1, _, _] = self.get(at)?;
                let has_id = if family == 4 { icmp::has_id(kind) } else { icmp6::has_id(kind) };
                key.sport = if has_id { [i0, i1] } else { [0; 2] };
                key.dport = [kind, code];
            }
            // What is cut off before it names a call is plain GRE.
            (ip::GRE, _) => {
                if let Some([_, version, p0, p1, _, _, call @ ..]) = self.get::<8>(at)
                    && u16::from(version) & gre::VERSION_MASK == 1
                {
                    if u16::from_be_bytes([p0, p1]) != gre::PPP {
                        return None;
                    }
                    key.dport = call;
                }
            }
            _ => {}
        }
        Some(())
    }
}
