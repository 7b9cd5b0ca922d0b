//! Checksums: sums of pieces against the definition, updates against recomputation, UDP's two rules about zero.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::*;
use packet::checksum::{self, Delta, Sum};
use packet::layers::parse;
use packet::{Frame, VecFrame};
use proptest::prelude::*;
use proptest::sample::Index;

/// RFC 1071, word by word.
fn naive(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Writes `new` at an even place, and compares the updated checksum with that of the whole.
fn update<const N: usize>(
    mut bytes: Vec<u8>,
    place: Index,
    new: [u8; N],
    by: impl Fn(u16, [u8; N], [u8; N]) -> u16,
) {
    // The sum of a real packet is never zero; of zeros alone, 0 and 0xffff would be equally right.
    bytes[0] |= 1;
    let at = 2 + place.index((bytes.len() - 2 - N) / 2 + 1) * 2;
    let before = naive(&bytes);
    let old = bytes[at..at + N].try_into().unwrap();
    bytes[at..at + N].copy_from_slice(&new);
    assert_eq!(by(before, old, new), naive(&bytes));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whole(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(checksum::of(&bytes), naive(&bytes));
    }

    #[test]
    fn pieces(bytes in prop::collection::vec(any::<u8>(), 1..200), cuts in prop::collection::vec(any::<Index>(), 0..6), part: (Index, Index)) {
        let mut offsets: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        offsets.sort_unstable();
        let frame = VecFrame::from_split(&bytes, &offsets);
        let (a, b) = (part.0.index(bytes.len()), part.1.index(bytes.len()));
        let (from, to) = (a.min(b), a.max(b));
        let sum = checksum::frame_sum(&frame, Sum::new(), from, to - from).unwrap();
        prop_assert_eq!(sum.checksum(), naive(&bytes[from..to]));
        prop_assert!(checksum::frame_sum(&frame, Sum::new(), from, bytes.len() - from + 1).is_none());
    }

    #[test]
    fn updates(bytes in prop::collection::vec(any::<u8>(), 40..=80), place: Index, new2: [u8; 2], new4: [u8; 4], new16: [u8; 16]) {
        let bytes = bytes[..bytes.len() / 2 * 2].to_vec();
        update(bytes.clone(), place, new2, |sum, old, new| {
            checksum::update_u16(sum, u16::from_be_bytes(old), u16::from_be_bytes(new))
        });
        update(bytes.clone(), place, new4, |sum, old, new| {
            checksum::update_u32(sum, u32::from_be_bytes(old), u32::from_be_bytes(new))
        });
        update(bytes.clone(), place, new4, checksum::update_ipv4);
        update(bytes, place, new16, checksum::update_ipv6);
    }

    #[test]
    fn deltas(bytes in prop::collection::vec(any::<u8>(), 40..=80), place: Index, new2: [u8; 2], new4: [u8; 4], new16: [u8; 16]) {
        let bytes = bytes[..bytes.len() / 2 * 2].to_vec();
        let apply = |delta: Delta, sum: u16| delta.apply(sum.into()).get();
        update(bytes.clone(), place, new2, |sum, old, new| apply(Delta::NONE.u16(old, new), sum));
        update(bytes.clone(), place, new4, |sum, old, new| apply(Delta::NONE.u32(old, new), sum));
        update(bytes.clone(), place, new16, |sum, old, new| {
            apply(Delta::NONE.u32([0; 4], [0; 4]).and(Delta::NONE.u128(old, new)), sum)
        });
    }

    #[test]
    fn pseudo_headers(src: [u8; 16], dst: [u8; 16], protocol: u8, len: u16) {
        let v4 = |address: [u8; 16]| [address[0], address[1], address[2], address[3]];
        let header = [&v4(src)[..], &v4(dst), &[0, protocol], &len.to_be_bytes()].concat();
        prop_assert_eq!(checksum::pseudo_ipv4(v4(src), v4(dst), protocol, len).checksum(), naive(&header));
        let len = u32::from(len) << 4;
        let header = [&src[..], &dst, &len.to_be_bytes(), &[0, 0, 0, protocol]].concat();
        prop_assert_eq!(checksum::pseudo_ipv6(src, dst, protocol, len).checksum(), naive(&header));
    }
}

#[test]
fn udp_has_its_zeros() {
    let (from, to) = ([0x12, 0x34], [0x56, 0x78]);
    let delta = Delta::NONE.u16(from, to);
    assert_eq!(delta.apply_udp(0.into()).get(), 0, "no checksum stays none");
    // A checksum that the change makes zero.
    let sum = (0..=u16::MAX).find(|sum| delta.apply((*sum).into()).get() == 0).unwrap();
    assert_eq!(delta.apply_udp(sum.into()).get(), 0xffff);
    assert_eq!(Delta::NONE.apply_udp(0x1234.into()).get(), 0x1234);
}

#[test]
fn rfc_1624_example() {
    assert_eq!(checksum::update_u16(0xdd2f, 0x5555, 0x3285), 0x0000);
}

#[test]
fn rfc_1071_example() {
    assert_eq!(checksum::of(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
}

#[test]
fn a_wrong_byte_shows() {
    for (name, bytes) in good_frames() {
        let frame = VecFrame::from_split(&bytes, &[30, 41]);
        let layers = parse(&frame).unwrap();
        let Some(right) = checksum::transport_checksum(&frame, &layers) else { continue };
        let at = usize::from(layers.l4_offset);
        let field = at
            + match layers.protocol {
                6 => 16,
                17 => 6,
                1 | 58 => 2,
                other => panic!("{name}: protocol {other} has no internet checksum"),
            };
        let mut bytes = bytes.clone();
        bytes[field..field + 2].copy_from_slice(&right.to_be_bytes());
        let is_valid = |bytes: &[u8]| {
            checksum::transport_sum(&VecFrame::from_bytes(bytes), &layers).unwrap().is_valid()
        };
        assert!(is_valid(&bytes), "{name}");
        let last = layers.end as usize - 1;
        bytes[last] ^= 0x10;
        assert!(!is_valid(&bytes), "{name}");
    }
}

#[test]
fn udp_and_zero() {
    let mut bytes = Ip4::new(17, &udp(&[b'a', b'b', 0, 0])).frame();
    let layers = parse(&VecFrame::from_bytes(&bytes)).unwrap();
    assert!(
        checksum::transport_sum(&VecFrame::from_bytes(&bytes), &layers).is_none(),
        "zero says that there is none"
    );
    // With its own checksum for a last word, the sum is 0xffff and the checksum would be zero: the other zero is sent.
    let right = checksum::transport_checksum(&VecFrame::from_bytes(&bytes), &layers).unwrap();
    let at = bytes.len() - 2;
    bytes[at..].copy_from_slice(&right.to_be_bytes());
    assert_eq!(checksum::transport_checksum(&VecFrame::from_bytes(&bytes), &layers), Some(0xffff));
    assert_eq!((checksum::udp_nonzero(0), checksum::udp_nonzero(7)), (0xffff, 7));
}

#[test]
fn udp_lite_covers_what_it_says() {
    let mut bytes = Ip4::new(136, &udp_len(10, b"covered not")).frame();
    let layers = parse(&VecFrame::from_bytes(&bytes)).unwrap();
    let right = checksum::transport_checksum(&VecFrame::from_bytes(&bytes), &layers).unwrap();
    let at = usize::from(layers.l4_offset);
    bytes[at + 6..at + 8].copy_from_slice(&right.to_be_bytes());
    let is_valid = |bytes: &[u8]| {
        checksum::transport_sum(&VecFrame::from_bytes(bytes), &layers).unwrap().is_valid()
    };
    bytes[at + 10] ^= 1;
    assert!(is_valid(&bytes), "a byte that is not covered");
    bytes[at + 9] ^= 1;
    assert!(!is_valid(&bytes), "a byte that is");
}

#[test]
fn building_an_icmp_message() {
    // An echo reply of zeros: the sum of nothing is 0, its checksum 0xffff.
    let frame = VecFrame::from_split(&[0, 0, 0xde, 0xad, 0, 0, 0, 0], &[3]);
    assert_eq!(checksum::region_checksum(&frame, Sum::new(), 0, 8, 2), Some(0xffff));
    assert_eq!(checksum::region_checksum(&frame, Sum::new(), 0, 9, 2), None);
    assert_eq!(checksum::region_checksum(&frame, Sum::new(), 0, 3, 2), None);
    assert_eq!(frame.len(), 8);
}
