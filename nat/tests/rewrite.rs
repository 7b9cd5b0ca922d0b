//! Rewriting against the same packet built anew: every protocol, cut anywhere, there and back.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::packets::{Ip4, Ip6, echo, echo6, ext, frag6, good_frames, sctp, tcp, udp, udp_len};
use common::*;
use conntrack::Direction::Original;
use nat::{Sides, rewrite};
use packet::layers::parse;
use packet::{DropReason, FlowKey, Frame, L4, VecFrame, checksum};
use proptest::prelude::*;
use proptest::sample::Index;

/// Frames of flows, with right checksums.
fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let lite = [&[0x30, 0x39, 0, 53, 0, 12, 0, 0][..], &[7; 20]].concat();
    let odd = [&sctp()[..], &[1, 2, 3, 4, 5]].concat();
    let mut frames: Vec<_> = good_frames();
    frames.retain(|(name, _)| !matches!(*name, "arp" | "lldp"));
    frames.push(("lite4", Ip4::new(136, &lite).frame()));
    frames.push(("lite6", Ip6::new(136, &lite).frame()));
    frames.push(("sctp6", Ip6::new(132, &ext(132, 0, &odd)[8..]).frame()));
    frames.into_iter().map(|(name, bytes)| (name, fixed(bytes))).collect()
}

/// What a packet with `key` becomes; a type and code stays, and so does what is no port.
fn new_key(key: &FlowKey, l4: L4, new: &FlowKey) -> FlowKey {
    let (sport, dport) = match l4 {
        L4::Tcp | L4::Udp | L4::Sctp => (new.sport, new.dport),
        L4::Icmp | L4::Icmp6 => (new.sport, key.dport),
        L4::Gre | L4::Other => (key.sport, key.dport),
    };
    let (src, dst) = (address(key.family, new.src), address(key.family, new.dst));
    FlowKey { src, dst, sport, dport, ..*key }
}

fn any_key() -> impl Strategy<Value = FlowKey> {
    (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<[u8; 2]>(), any::<[u8; 2]>()).prop_map(
        |(src, dst, sport, dport)| FlowKey { src, dst, sport, dport, ..FlowKey::default() },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn as_if_built_anew_and_back(which: Index, new in any_key(), reply: bool, source: bool, destination: bool) {
        let frames = frames();
        let (name, bytes) = which.get(&frames);
        let layers = parse(&VecFrame::from_bytes(bytes)).unwrap();
        let came = layers.key;
        let mut left = new_key(&came, layers.l4, &new);
        if !source {
            (left.src, left.sport) = (came.src, came.sport);
        }
        if !destination {
            left.dst = came.dst;
            if !matches!(layers.l4, L4::Icmp | L4::Icmp6) {
                left.dport = came.dport;
            }
        }
        let mut shard = shard();
        // The packet is of one direction or the other; what it becomes is the same.
        let there = if reply {
            translated(&mut shard, inverse(&left), inverse(&came))
        } else {
            translated(&mut shard, came, left)
        };
        let back = if reply {
            translated(&mut shard, inverse(&came), inverse(&left))
        } else {
            translated(&mut shard, left, came)
        };
        let direction = direction(reply);
        let (result, now, key) = changed(bytes, |frame, layers| {
            rewrite(frame, layers, shard.flow(there).unwrap(), direction, Sides::Both)
        });
        if name.starts_with("first") || name.starts_with("later") {
            // Their checksum is over more than is here: see the test of fragments.
            prop_assert_eq!(key_of(&now), key);
        } else {
            prop_assert_eq!(&now, &with_key(bytes, &left), "{}", name);
        }
        prop_assert_eq!((result, key), (Ok(()), left));
        let (_, again, key) = changed(&now, |frame, layers| {
            rewrite(frame, layers, shard.flow(back).unwrap(), direction, Sides::Both)
        });
        prop_assert_eq!((&again, key), (bytes, came), "{}", name);

        // One side after the other, as Linux does it.
        let mut frame = VecFrame::from_bytes(bytes);
        let mut layers = layers;
        for sides in [Sides::Destination, Sides::Source] {
            rewrite(&mut frame, &mut layers, shard.flow(there).unwrap(), direction, sides).unwrap();
        }
        prop_assert_eq!((frame.to_vec(), layers.key), (now, left));
    }
}

/// A packet's source or destination alone, by the flow of a test.
fn sides(key: FlowKey, left: FlowKey, bytes: &[u8], reply: bool, sides: Sides) -> FlowKey {
    let mut shard = shard();
    let slot = translated(&mut shard, key, left);
    let mut frame = VecFrame::from_bytes(bytes);
    let mut layers = parse(&frame).unwrap();
    let flow = shard.flow(slot).unwrap();
    rewrite(&mut frame, &mut layers, flow, direction(reply), sides).unwrap();
    assert_eq!(layers, parse(&frame).unwrap());
    layers.key
}

#[test]
fn each_side_at_its_place() {
    let bytes = fixed(Ip4::new(6, &tcp(b"GET")).frame());
    let came = key_of(&bytes);
    let new = FlowKey { src: address(4, [9; 16]), sport: [9, 9], ..came };
    // Source NAT: the source before it leaves, the destination of what comes back.
    assert_eq!(sides(came, new, &bytes, false, Sides::Destination), came);
    assert_eq!(sides(came, new, &bytes, false, Sides::Source), new);
    let answer = with_key(&bytes, &inverse(&new));
    assert_eq!(sides(came, new, &answer, true, Sides::Source), inverse(&new));
    assert_eq!(sides(came, new, &answer, true, Sides::Destination), inverse(&came));
    // Destination NAT: the other way round.
    let new = FlowKey { dst: address(4, [9; 16]), dport: [9, 9], ..came };
    assert_eq!(sides(came, new, &bytes, false, Sides::Source), came);
    assert_eq!(sides(came, new, &bytes, false, Sides::Destination), new);
    let answer = with_key(&bytes, &inverse(&new));
    assert_eq!(sides(came, new, &answer, true, Sides::Destination), inverse(&new));
    assert_eq!(sides(came, new, &answer, true, Sides::Source), inverse(&came));
}

#[test]
fn nothing_where_there_is_no_translation() {
    let mut shard = shard();
    for (name, bytes) in frames() {
        let key = key_of(&bytes);
        let slot = translated(&mut shard, key, key);
        let (result, now, after) = changed(&bytes, |frame, layers| {
            rewrite(frame, layers, shard.flow(slot).unwrap(), Original, Sides::Both)
        });
        assert_eq!((result, now, after), (Ok(()), bytes, key), "{name}");
    }
}

/// The parts of a datagram over IPv4, its payload cut at `at`.
fn parts4(protocol: u8, payload: &[u8], at: usize) -> [Vec<u8>; 2] {
    let part = |fragment, payload| Ip4 { fragment, ..Ip4::new(protocol, payload) }.frame();
    [part(0x2000, &payload[..at]), part((at / 8) as u16, &payload[at..])]
}

fn parts6(next: u8, payload: &[u8], at: usize) -> [Vec<u8>; 2] {
    let part = |offset, more, payload| Ip6::new(44, &frag6(next, offset, more, payload)).frame();
    [part(0, true, &payload[..at]), part(at as u16, false, &payload[at..])]
}

#[test]
fn fragments_put_together_are_right() {
    let body = |header: Vec<u8>| [header, (0..99).collect()].concat();
    for (name, family, protocol, payload, field) in [
        ("udp4", 4, 17, body(udp_len(8 + 99, &[])), 6),
        ("tcp4", 4, 6, body(tcp(&[])), 16),
        ("icmp4", 4, 1, body(echo()[..8].to_vec()), 2),
        ("udp6", 6, 17, body(udp_len(8 + 99, &[])), 6),
        ("icmp6", 6, 58, body(echo6()[..8].to_vec()), 2),
    ] {
        let whole = |payload: &[u8]| match family {
            4 => Ip4::new(protocol, payload).frame(),
            _ => Ip6::new(protocol, payload).frame(),
        };
        let whole = fixed(whole(&payload));
        let payload = &whole[whole.len() - payload.len()..];
        let came = key_of(&whole);
        let left = FlowKey {
            src: address(family, [77; 16]),
            dst: address(family, [88; 16]),
            sport: [0x77, 0x78],
            ..came
        };
        let mut shard = shard();
        let slot = translated(&mut shard, came, left);
        let parts = if family == 4 { parts4 } else { parts6 };
        let now = parts(protocol, payload, 40).map(|bytes| {
            let (result, now, key) = changed(&bytes, |frame, layers| {
                rewrite(frame, layers, shard.flow(slot).unwrap(), Original, Sides::Both)
            });
            assert_eq!((result, key.src, key.dst), (Ok(()), left.src, left.dst), "{name}");
            now
        });
        let right = with_key(&whole, &left);
        let payload_of = |bytes: &[u8], n: usize| bytes[bytes.len() - n..].to_vec();
        let [first, later] = now;
        let joined = [payload_of(&first, 40), payload_of(&later, payload.len() - 40)].concat();
        assert_eq!(joined, payload_of(&right, payload.len()), "{name}");
        assert_ne!(joined[field..field + 2], payload[field..field + 2], "{name}");
    }
}

#[test]
fn fragments_of_sctp_keep_their_ports() {
    let packet = [sctp(), (0..99).collect()].concat();
    let [first, later] = parts4(132, &packet, 40);
    let came = key_of(&first);
    let mut shard = shard();
    let run = |shard: &conntrack::Shard, slot, bytes: &[u8]| {
        let (result, now, key) = changed(bytes, |frame, layers| {
            rewrite(frame, layers, shard.flow(slot).unwrap(), Original, Sides::Both)
        });
        (result, now != bytes, key)
    };
    let moved = FlowKey { src: address(4, [5; 16]), sport: [1, 1], ..came };
    let slot = translated(&mut shard, came, moved);
    assert_eq!(run(&shard, slot, &first), (Err(DropReason::NatFragment), false, came));
    let moved = FlowKey { dst: address(4, [5; 16]), dport: [1, 1], ..came };
    let slot = translated(&mut shard, came, moved);
    assert_eq!(run(&shard, slot, &first), (Err(DropReason::NatFragment), false, came));
    let stays = FlowKey { src: address(4, [5; 16]), ..came };
    let slot = translated(&mut shard, came, stays);
    assert_eq!(run(&shard, slot, &first), (Ok(()), true, stays));
    let address_only = FlowKey { sport: [0; 2], dport: [0; 2], ..stays };
    assert_eq!(run(&shard, slot, &later), (Ok(()), true, address_only));
}

#[test]
fn udp_without_a_checksum_stays_so() {
    for frame in [Ip4::new(17, &udp(b"none")).frame(), Ip6::new(17, &udp(b"none")).frame()] {
        let came = key_of(&frame);
        let left = FlowKey { src: address(came.family, [5; 16]), sport: [1, 1], ..came };
        let mut shard = shard();
        let slot = translated(&mut shard, came, left);
        let (result, now, key) = changed(&frame, |frame, layers| {
            rewrite(frame, layers, shard.flow(slot).unwrap(), Original, Sides::Both)
        });
        assert_eq!((result, key, key_of(&now)), (Ok(()), left, left));
        let field = now.len() - 6;
        assert_eq!(now[field..field + 2], [0, 0]);
    }
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    let mut bytes = fixed(Ip4::new(6, &tcp(b"GET")).frame());
    *bytes.last_mut().unwrap() ^= 1;
    let came = key_of(&bytes);
    let left = FlowKey { src: address(4, [5; 16]), sport: [1, 1], ..came };
    let mut shard = shard();
    let slot = translated(&mut shard, came, left);
    let mut frame = VecFrame::from_bytes(&bytes);
    let mut layers = parse(&frame).unwrap();
    rewrite(&mut frame, &mut layers, shard.flow(slot).unwrap(), Original, Sides::Both).unwrap();
    assert!(!checksum::transport_sum(&frame, &layers).unwrap().is_valid());
}

#[test]
fn another_frame_than_the_one_parsed() {
    for bytes in [Ip4::new(6, &tcp(b"")).frame(), Ip6::new(6, &tcp(b"")).frame()] {
        let came = key_of(&bytes);
        let left = FlowKey { sport: [1, 1], ..came };
        let mut shard = shard();
        let slot = translated(&mut shard, came, left);
        let mut frame = VecFrame::from_bytes(&bytes);
        let mut layers = parse(&frame).unwrap();
        frame.truncate(40);
        let flow = shard.flow(slot).unwrap();
        let result = rewrite(&mut frame, &mut layers, flow, Original, Sides::Both);
        assert_eq!(result, Err(DropReason::NatTruncated));
    }
}
