//! ICMP errors about translated packets, against the same error built anew, quoting as much as there may be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::packets::{A4, A6, B4, B6, Ip4, Ip6, echo, echo6, ext, frag6, sctp, tcp, udp};
use common::*;
use conntrack::{Shard, Status};
use nat::{Sides, is_error, rewrite_error};
use packet::layers::parse;
use packet::{DropReason, FlowKey, VecFrame};

/// A router on the way.
const R4: [u8; 4] = [203, 0, 113, 9];
const R6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// An error of this type and code from `src` to `dst`, quoting a frame's packet.
fn error(kind: u8, code: u8, src: [u8; 16], dst: [u8; 16], quoted: &[u8]) -> Vec<u8> {
    let message = [&[kind, code, 0, 0, 0, 0, 5, 0][..], &quoted[14..]].concat();
    let v4 = |address: [u8; 16]| *address.first_chunk().unwrap();
    let v6 = quoted[14] >> 4 == 6;
    fixed(if v6 {
        Ip6 { src, dst, ..Ip6::new(58, &message) }.frame()
    } else {
        Ip4 { src: v4(src), dst: v4(dst), ..Ip4::new(1, &message) }.frame()
    })
}

fn wide(address: &[u8]) -> [u8; 16] {
    let mut wide = [0; 16];
    wide[..address.len()].copy_from_slice(address);
    wide
}

/// Frames that errors quote, and how many bytes of theirs are needed.
fn quoted() -> Vec<(&'static str, Vec<u8>, usize)> {
    let odd = [&sctp()[..], &[1, 2, 3, 4, 5]].concat();
    let lite = [&[0x30, 0x39, 0, 53, 0, 12, 0, 0][..], &[7; 20]].concat();
    let options = Ip4 { options: vec![1, 7, 7, 4, 1, 2, 3, 4], ..Ip4::new(17, &udp(b"hi")) };
    let frames = vec![
        ("udp4", Ip4::new(17, &udp(b"hello")).frame(), 42),
        ("tcp4", Ip4::new(6, &tcp(b"GET")).frame(), 42),
        ("echo4", Ip4::new(1, &echo()).frame(), 42),
        ("sctp4", Ip4::new(132, &odd).frame(), 42),
        ("lite4", Ip4::new(136, &lite).frame(), 42),
        ("other4", Ip4::new(89, &[1; 30]).frame(), 34),
        ("options4", options.frame(), 50),
        ("udp6", Ip6::new(17, &udp(b"hello")).frame(), 62),
        ("tcp6", Ip6::new(6, &tcp(b"GET")).frame(), 62),
        ("echo6", Ip6::new(58, &echo6()).frame(), 62),
        ("sctp6", Ip6::new(132, &odd).frame(), 62),
        ("other6", Ip6::new(89, &[1; 30]).frame(), 54),
        ("chain6", Ip6::new(0, &ext(60, 0, &ext(6, 1, &tcp(b"x")))).frame(), 86),
        ("atomic6", Ip6::new(44, &frag6(17, 0, false, &udp(b"x"))).frame(), 70),
    ];
    frames.into_iter().map(|(name, bytes, least)| (name, fixed(bytes), least)).collect()
}

/// Of a flow's first packet, as it came, and as it left.
struct Case {
    shard: Shard,
    slot: conntrack::Slot,
    came: Vec<u8>,
    left: Vec<u8>,
}

fn case(came: &[u8], source: bool, destination: bool) -> Case {
    let layers = parse(&VecFrame::from_bytes(came)).unwrap();
    let key = layers.key;
    let ports = !matches!(key.protocol, 1 | 58 | 89);
    let mut new = key;
    if source {
        new.src = address(key.family, [70; 16]);
        new.sport = if key.protocol == 89 { [0; 2] } else { [0x70, 0x71] };
    }
    if destination {
        new.dst = address(key.family, [60; 16]);
        if ports {
            new.dport = [0x60, 0x61];
        }
    }
    let mut shard = shard();
    let slot = translated(&mut shard, key, new);
    Case { shard, slot, came: came.to_vec(), left: with_key(came, &new) }
}

impl Case {
    fn run(&self, bytes: &[u8], reply: bool, sides: Sides) -> (Result<(), DropReason>, Vec<u8>) {
        let flow = self.shard.flow(self.slot).unwrap();
        let (result, now, key) = changed(bytes, |frame, layers| {
            assert!(is_error(frame, layers));
            rewrite_error(frame, layers, flow, direction(reply), sides)
        });
        if result.is_ok() {
            assert_eq!(key, key_of(&now));
        }
        (result, now)
    }
}

#[test]
fn as_if_built_anew() {
    for (name, came, least) in quoted() {
        for (source, destination) in [(true, false), (false, true), (true, true)] {
            let case = case(&came, source, destination);
            let (key, left) = (key_of(&came), key_of(&case.left));
            let v6 = key.family == 6;
            let kind = if v6 { 1 } else { 3 };
            let router = if v6 { R6 } else { wide(&R4) };
            // An error about a packet of the first direction; the router is where it went.
            let from = |bytes: &[u8], cut: usize, src, dst| error(kind, 1, src, dst, &bytes[..cut]);
            // Where the destination was translated, so is the error's source.
            let seen = if destination { key.dst } else { router };
            for cut in least..=came.len() {
                // A checksum that is quoted in part is not changed.
                let tcp_cut = key.protocol == 6 && cut < least + 12;
                let sctp_cut = key.protocol == 132 && cut < least + 4;
                let mut before = case.left.clone();
                let mut after = case.came.clone();
                if tcp_cut {
                    after[least + 8..least + 10].copy_from_slice(&before[least + 8..least + 10]);
                }
                if sctp_cut {
                    after[least..least + 4].copy_from_slice(&before[least..least + 4]);
                }
                let arrives = from(&before, cut, router, left.src);
                let leaves = from(&after, cut, seen, key.src);
                let (result, now) = case.run(&arrives, true, Sides::Both);
                assert_eq!((result, &now), (Ok(()), &leaves), "{name}, {cut} bytes");
                // By steps.
                let (_, half) = case.run(&arrives, true, Sides::Destination);
                assert_eq!(case.run(&half, true, Sides::Source).1, leaves, "{name}, {cut} bytes");
                // About a packet of the other direction; the router is where the flow began.
                before = with_key(&came, &inverse(&key));
                after = with_key(&came, &inverse(&left));
                if tcp_cut {
                    after[least + 8..least + 10].copy_from_slice(&before[least + 8..least + 10]);
                }
                if sctp_cut {
                    after[least..least + 4].copy_from_slice(&before[least..least + 4]);
                }
                let hidden = if source { left.src } else { router };
                let arrives = from(&before, cut, router, key.dst);
                let leaves = from(&after, cut, hidden, left.dst);
                let (result, now) = case.run(&arrives, false, Sides::Both);
                assert_eq!((result, now), (Ok(()), leaves), "{name} back, {cut} bytes");
            }
            for cut in 34 + if v6 { 20 } else { 0 }..least {
                let arrives = from(&case.left, cut, router, left.src);
                let (result, _) = case.run(&arrives, true, Sides::Both);
                let expected = match name {
                    // As in Linux: where it is not known what would follow, addresses are all there is.
                    "chain6" if cut < least - 16 => Ok(()),
                    "atomic6" if cut < least - 8 => Ok(()),
                    _ => Err(DropReason::NatTruncated),
                };
                assert_eq!(result, expected, "{name}, {cut} bytes");
            }
        }
    }
}

#[test]
fn a_flow_without_translation() {
    for (name, came, _) in quoted() {
        let case = case(&came, false, false);
        let v6 = came[14] >> 4 == 6;
        let (kind, src, dst) = if v6 { (1, R6, A6) } else { (3, wide(&R4), wide(&A4)) };
        let arrives = error(kind, 0, src, dst, &came);
        assert_eq!(case.run(&arrives, true, Sides::Both), (Ok(()), arrives), "{name}");
    }
}

#[test]
fn redirects_pass_only_where_it_is_decided_that_nothing_is_translated() {
    let cases = [
        (5, wide(&B4), wide(&A4), fixed(Ip4::new(17, &udp(b"hello")).frame())),
        (137, B6, A6, fixed(Ip6::new(17, &udp(b"hello")).frame())),
    ];
    for (kind, src, dst, came) in cases {
        let arrives = error(kind, 0, src, dst, &came);
        assert_eq!(case(&came, false, false).run(&arrives, true, Sides::Source).0, Ok(()));
        let done = [Status::SRC_NAT_DONE, Status::DST_NAT_DONE];
        for undecided in done {
            let mut case = case(&came, false, false);
            case.shard.clear_status(case.slot, undecided);
            let (result, now) = case.run(&arrives, true, Sides::Source);
            assert_eq!((result, &now), (Err(DropReason::NatRedirect), &arrives));
        }
        for (source, destination) in [(true, false), (false, true)] {
            let case = case(&came, source, destination);
            let (result, now) = case.run(&arrives, true, Sides::Source);
            assert_eq!((result, &now), (Err(DropReason::NatRedirect), &arrives));
        }
    }
}

#[test]
fn a_later_fragment_is_quoted_by_address() {
    let came = Ip4 { fragment: 3, ..Ip4::new(17, &[0x30, 0x39, 0, 53, 0, 9, 1, 2, 3]) }.frame();
    let key = FlowKey { sport: [0x30, 0x39], dport: [0, 53], ..key_of(&came) };
    let left = FlowKey { src: address(4, [70; 16]), sport: [1, 1], ..key };
    let mut shard = shard();
    let slot = translated(&mut shard, key, left);
    let case = Case { shard, slot, left: vec![], came: vec![] };
    let mut moved = came.clone();
    moved[26..30].copy_from_slice(&left.src[..4]);
    common::packets::fix_ip4(&mut moved[14..]);
    let arrives = error(11, 1, wide(&R4), left.src, &moved);
    let leaves = error(11, 1, wide(&R4), key.src, &came);
    assert_eq!(case.run(&arrives, true, Sides::Both), (Ok(()), leaves));
}

#[test]
fn what_is_an_error() {
    let case = |frame: Vec<u8>| {
        let frame = VecFrame::from_bytes(&frame);
        is_error(&frame, &parse(&frame).unwrap())
    };
    assert!(!case(Ip4::new(1, &echo()).frame()));
    assert!(!case(Ip6::new(58, &echo6()).frame()));
    assert!(!case(Ip4::new(17, &udp(b"")).frame()));
    for kind in [3, 4, 5, 11, 12] {
        assert!(case(Ip4::new(1, &[kind, 0, 0, 0, 0, 0, 0, 0]).frame()));
    }
    for kind in [1, 2, 3, 4, 137] {
        assert!(case(Ip6::new(58, &[kind, 0, 0, 0, 0, 0, 0, 0]).frame()));
    }
}
