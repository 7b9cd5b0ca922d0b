//! The one way that nearly all packets go: untagged TCP and UDP over IPv4 without options or fragments, to one station,
//! headers in the head segment. A few wide comparisons say whether a packet is such a one; the parser proper takes the rest,
//! and finds the reason where something is wrong.

use super::ip4::{ordinary_destination, ordinary_source};
use super::{FragmentPart, L2Kind, L3, L4, Layers};
use crate::frame::{ChecksumStatus, RxMeta};
use crate::key::FlowKey;
use crate::wire::{ethernet, ip};

/// EtherType IPv4, then version 4 and a header of 20 bytes, as three bytes read little-endian.
const IPV4_PLAIN: u32 = 0x45_00_08;
/// More fragments and the offset, as the field read little-endian.
const FRAGMENT: u16 = 0xff3f;
const DONT_FRAGMENT: u16 = 0x0040;
/// Ethernet, IPv4 and UDP, or the beginning of TCP.
const LEN: usize = 42;
/// Where TCP's data offset stands.
const TCP_OFFSET: usize = 46;

const SOURCE: u8 = 1;
const DESTINATION: u8 = 2;
/// By an address's first byte: what it may be without a closer look. One load instead of four comparisons.
#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
static ORDINARY: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let address = [byte as u8, 0, 0, 0];
        let source = if ordinary_source(address) { SOURCE } else { 0 };
        let destination = if ordinary_destination(address) { DESTINATION } else { 0 };
        table[byte] = source | destination;
        byte += 1;
    }
    table
};

/// The `N` bytes at `at`, where the compiler sees that they are there.
#[inline(always)]
fn at<const N: usize>(bytes: &[u8; LEN], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Fills `layers` and says true if the frame of `len` bytes that begins with `head` is a plain packet in good order.
#[inline(always)]
pub(super) fn plain4(head: &[u8], len: usize, meta: RxMeta, layers: &mut Layers) -> bool {
    let Some(bytes) = head.first_chunk::<LEN>() else { return false };
    let word = |from| u32::from_le_bytes(at(bytes, from));
    let total = usize::from(u16::from_be_bytes(at(bytes, 16)));
    let fragment = u16::from_le_bytes(at(bytes, 20));
    let [ttl, protocol] = at(bytes, 22);
    let (src, dst) = (word(26), word(30));
    let ordinary =
        |address: u32| ORDINARY.get((address & 0xff) as usize).copied().unwrap_or_default();
    if word(12) & 0x00ff_ffff != IPV4_PLAIN
        || word(0) & 1 != 0
        || fragment & FRAGMENT != 0
        || ethernet::LEN + total > len
        || meta.vlan_tci.is_some()
        || meta.l4_checksum == ChecksumStatus::Bad
        || (ordinary(src) & SOURCE) | (ordinary(dst) & DESTINATION) != SOURCE | DESTINATION
    {
        return false;
    }
    let l4 = match protocol {
        ip::UDP => {
            let udp = usize::from(u16::from_be_bytes(at(bytes, 38)));
            if udp < 8 || 20 + udp > total {
                return false;
            }
            L4::Udp
        }
        ip::TCP => {
            let Some(offset) = head.get(TCP_OFFSET) else { return false };
            let tcp = usize::from(offset >> 4) * 4;
            if tcp < 20 || 20 + tcp > total {
                return false;
            }
            L4::Tcp
        }
        _ => return false,
    };
    let good = match meta.ip_checksum {
        ChecksumStatus::Good => true,
        ChecksumStatus::Bad => false,
        ChecksumStatus::Unknown => {
            // The one's complement sum does not mind the order of bytes, as long as it is the same for all.
            let sum: u64 =
                [word(14), word(18), word(22), src, dst].into_iter().map(u64::from).sum();
            // Zero, in this arithmetic, is what is all ones; a number is congruent to the sum of its halves.
            sum.is_multiple_of(0xffff)
        }
    };
    if !good {
        return false;
    }
    *layers = Layers {
        key: FlowKey {
            src: u128::from(src).to_le_bytes(),
            dst: u128::from(dst).to_le_bytes(),
            sport: at(bytes, 34),
            dport: at(bytes, 36),
            protocol,
            family: 4,
            zone: [0; 2],
        },
        ethertype: ethernet::IPV4,
        vlan: [0; 2],
        vlan_count: 0,
        l2_kind: L2Kind::Unicast,
        dst_mac: (u64::from_le_bytes(at(bytes, 0)) & 0xffff_ffff_ffff).to_le_bytes(),
        l3: L3::Ipv4,
        l4,
        l3_offset: ethernet::LEN as u16,
        l4_offset: (ethernet::LEN + 20) as u16,
        end: (ethernet::LEN + total) as u32,
        protocol,
        ttl,
        tos: at::<1>(bytes, 15)[0],
        fragment: FragmentPart::Whole,
        dont_fragment: fragment & DONT_FRAGMENT != 0,
        options: false,
    };
    true
}
