//! What needs no kernel: zones, timeouts that rules give, tables that are full, time, and bytes that mean nothing.

use std::time::Duration;

use conntrack::shard::{Config, Shard};
use conntrack::track::{self, Input, Place, Tracked};
use conntrack::{Direction, Info, Slot, Status};
use packet::wire::ip;
use packet::{DropReason, Layers, Tick, VecFrame};

use crate::ours::Ours;
use crate::packets::Packet;

const NOW: Tick = Tick(100_000_000_000);

fn shard(max: u32) -> Shard {
    Shard::new(Config { max, worker: 0 }).unwrap()
}

/// A packet by its line, in zones by direction, up to its confirmation.
fn send(shard: &mut Shard, line: &str, zone: [u16; 2], now: Tick) -> Tracked {
    let frame = VecFrame::from_bytes(&Packet::parse(line).frame());
    let layers = packet::layers::parse(&frame).unwrap();
    let key = track::lookup_key(&layers, zone);
    let found = shard.find(&key, shard.hash(&key));
    let input = Input { frame: &frame, layers: &layers, place: Place::Prerouting, zone, found };
    let tracked = track::packet(shard, &input, now);
    if let Tracked::Flow { slot, .. } = tracked {
        shard.confirm(slot, now).unwrap();
        track::end(shard, slot, now);
    }
    tracked
}

fn flow(tracked: Tracked) -> (Slot, Info) {
    match tracked {
        Tracked::Flow { slot, info } => (slot, info),
        other => panic!("{other:?}"),
    }
}

fn seconds(shard: &Shard, slot: Slot, now: Tick) -> u32 {
    shard.remaining(slot, now) / 1000
}

#[test]
fn zones_keep_equal_tuples_apart() {
    let mut shard = shard(100);
    let (one, info) = flow(send(&mut shard, "> udp", [1, 1], NOW));
    assert_eq!(info, Info::New);
    let (two, info) = flow(send(&mut shard, "> udp", [2, 2], NOW));
    assert_eq!(info, Info::New);
    assert_ne!(one, two);
    assert_eq!(flow(send(&mut shard, "< udp", [2, 2], NOW)), (two, Info::EstablishedReply));
    assert_eq!(flow(send(&mut shard, "> udp", [2, 2], NOW)), (two, Info::Established));
    assert_eq!(flow(send(&mut shard, "> udp", [1, 1], NOW)), (one, Info::New));
}

#[test]
fn a_zone_may_be_of_one_direction() {
    // `ct original zone set 7`: answers come back without a zone.
    let mut shard = shard(100);
    let (slot, info) = flow(send(&mut shard, "> udp", [7, 0], NOW));
    assert_eq!(info, Info::New);
    assert_eq!(flow(send(&mut shard, "< udp", [0, 0], NOW)), (slot, Info::EstablishedReply));
    assert_eq!(flow(send(&mut shard, "> udp", [7, 0], NOW)), (slot, Info::Established));
    // The same tuple in another zone is another's.
    let (other, info) = flow(send(&mut shard, "> udp", [8, 8], NOW));
    assert_eq!(info, Info::New);
    assert_ne!(other, slot);
}

#[test]
fn a_zone_of_one_direction_holds_for_errors() {
    let mut shard = shard(100);
    let (slot, _) = flow(send(&mut shard, "> udp", [7, 0], NOW));
    assert_eq!(
        flow(send(&mut shard, "< error 3 3 : > udp", [0, 0], NOW)),
        (slot, Info::RelatedReply)
    );
    assert_eq!(send(&mut shard, "< error 3 3 : > udp", [9, 9], NOW), Tracked::Invalid);
}

#[test]
fn a_rule_may_give_timeouts() {
    let mut shard = shard(100);
    let frame = VecFrame::from_bytes(&Packet::parse("> tcp S seq=1000").frame());
    let layers = packet::layers::parse(&frame).unwrap();
    let input = Input {
        frame: &frame,
        layers: &layers,
        place: Place::Prerouting,
        zone: [0; 2],
        found: None,
    };
    let (slot, _) = flow(track::packet(&mut shard, &input, NOW));
    assert_eq!(seconds(&shard, slot, NOW), 120);
    // One of another protocol is not for it.
    shard.set_policy(slot, ip::UDP, &[9, 9], NOW);
    assert_eq!(seconds(&shard, slot, NOW), 120);
    shard.set_policy(slot, ip::TCP, &[11, 12, 13], NOW);
    assert_eq!(seconds(&shard, slot, NOW), 11);
    shard.confirm(slot, NOW).unwrap();
    for (line, left) in [
        ("< tcp SA seq=5000 ack=1001", 12),
        ("> tcp A seq=1001 ack=5001", 13),
        ("< tcp A seq=5001 ack=1001", 13),
        ("> tcp PA seq=1001 ack=5001 len=9", 13),
        // What it does not say is as in the settings.
        ("> tcp FA seq=1010 ack=5001", 120),
    ] {
        send(&mut shard, line, [0; 2], NOW);
        assert_eq!(seconds(&shard, slot, NOW), left, "{line}");
    }
}

#[test]
fn a_fixed_timeout_is_not_renewed() {
    let mut shard = shard(100);
    let (slot, _) = flow(send(&mut shard, "> udp", [0; 2], NOW));
    shard.set_timeout(slot, 1000, NOW);
    shard.set_status(slot, Status::FIXED_TIMEOUT);
    send(&mut shard, "< udp", [0; 2], NOW);
    assert_eq!(seconds(&shard, slot, NOW), 1000);
}

#[test]
fn a_full_table_drops_what_would_begin_a_flow() {
    let mut shard = shard(2);
    for port in [1, 2] {
        let (slot, _) = flow(send(&mut shard, &format!("> udp ports={port},80"), [0; 2], NOW));
        shard.set_status(slot, Status::ASSURED);
    }
    let full = Tracked::Drop(DropReason::FlowTableFull);
    assert_eq!(send(&mut shard, "> udp ports=3,80", [0; 2], NOW), full);
    // Known flows go on, and what begins none is no worse off.
    assert_eq!(flow(send(&mut shard, "< udp ports=2,80", [0; 2], NOW)).1, Info::EstablishedReply);
    assert_eq!(send(&mut shard, "> tcp SA seq=1", [0; 2], NOW), Tracked::Invalid);
    assert_eq!(shard.stats().drop, 1);
    assert_eq!(shard.stats().invalid, 1);
}

#[test]
fn a_flow_whose_time_is_over_is_found_no_more() {
    let mut shard = shard(100);
    send(&mut shard, "> udp", [0; 2], NOW);
    // The wheel has not turned yet.
    let later = Tick(NOW.0 + Duration::from_secs(31).as_nanos() as u64);
    assert_eq!(flow(send(&mut shard, "< udp", [0; 2], later)).1, Info::New);
    assert_eq!(shard.stats().count, 1);
}

#[test]
fn a_flow_that_a_reset_ends_serves_its_packet_and_no_other() {
    let mut shard = shard(100);
    let (slot, _) = flow(send(&mut shard, "> tcp S seq=1000", [0; 2], NOW));
    let frame = VecFrame::from_bytes(&Packet::parse("< tcp RA seq=0 ack=1001").frame());
    let layers = packet::layers::parse(&frame).unwrap();
    let input = Input {
        frame: &frame,
        layers: &layers,
        place: Place::Prerouting,
        zone: [0; 2],
        found: Some((slot, Direction::Reply)),
    };
    let tracked = track::packet(&mut shard, &input, NOW);
    assert_eq!(flow(tracked), (slot, Info::EstablishedReply));
    assert!(shard.flow(slot).is_some(), "rules and translation still want it");
    // A packet that comes before the first one has ended.
    assert_eq!(flow(send(&mut shard, "> tcp S seq=9000", [0; 2], NOW)).1, Info::New);
    assert_eq!(shard.stats().count, 1);
}

#[test]
fn a_fragmented_segment_stands_for_all_its_fragments() {
    let mut ours = Ours::new();
    for line in ["> tcp S seq=1000", "< tcp SA seq=5000 ack=1001", "> tcp A seq=1001 ack=5001"] {
        ours.send(&Packet::parse(line));
    }
    // Half of a segment of 2,400 bytes: more fragments follow.
    let mut bytes = Packet::parse("> tcp PA seq=1001 ack=5001 len=1204").frame();
    bytes[20] = 0x20;
    bytes[24..26].fill(0);
    let sum = packet::checksum::of(&bytes[14..34]);
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(ours.pass(&VecFrame::from_bytes(&bytes)).state, "established");
    // It is acknowledged whole.
    assert_eq!(ours.send(&Packet::parse("< tcp A seq=5001 ack=3401")).state, "established");
    assert_eq!(ours.send(&Packet::parse("> tcp PA seq=3401 ack=5001 len=9")).state, "established");
}

#[test]
fn checksums_are_looked_at_where_nobody_else_did() {
    let spoilt = "> spoil udp";
    let mut ours = Ours::new();
    assert_eq!(ours.send(&Packet::parse(spoilt)).state, "invalid");
    ours.shard.settings_mut().set("nf_conntrack_checksum", 0).unwrap();
    assert_eq!(ours.send(&Packet::parse(spoilt)).state, "new");
}

/// Frames that begin well, and go on anyhow; as routed ports have them, and as transparent ones do.
#[test]
fn any_bytes_are_tracked_without_harm() {
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    println!("seed {seed}");
    let lines = [
        "> tcp S seq=1 opt=sack,ws7",
        "< tcp A seq=1 ack=2 opt=5-9",
        "> udp",
        "> v6 udp",
        "> icmp 8",
        "> v6 icmp 128",
        "> gre call=5",
        "< gre",
        "> sctp init=5",
        "< sctp tag=5 data hb",
        "< error 3 3 : > udp",
        "< v6 error 1 3 : > v6 tcp S",
        "< error 3 3 : > gre call=7",
        "> other 50",
    ];
    let mut shard = shard(200);
    shard.settings_mut().set("nf_conntrack_checksum", 0).unwrap();
    let mut now = NOW;
    let (mut flows, mut bad) = (0, 0);
    for round in 0..60_000 {
        let mut bytes = Packet::parse(lines[rng.usize(..lines.len())]).frame();
        for _ in 0..rng.usize(..4) {
            let at = rng.usize(14..bytes.len());
            bytes[at] = rng.u8(..);
        }
        if rng.u8(..4) == 0 {
            bytes.truncate(rng.usize(14..bytes.len()));
        }
        let split = if rng.bool() { vec![rng.usize(..bytes.len() + 1)] } else { Vec::new() };
        let frame = VecFrame::from_split(&bytes, &split);
        let layers = Layers::of(&frame);
        let zone = if rng.u8(..4) == 0 { [rng.u16(..2), rng.u16(..2)] } else { [0; 2] };
        let key = track::lookup_key(&layers, zone);
        let found = shard.find(&key, shard.hash(&key));
        let input = Input { frame: &frame, layers: &layers, place: Place::Bridge, zone, found };
        match track::packet(&mut shard, &input, now) {
            Tracked::Flow { slot, .. } => {
                flows += 1;
                // Some packets end on their way; of two first ones the second is too late.
                if rng.u8(..8) == 0 || shard.confirm(slot, now).is_err() {
                    shard.discard(slot);
                } else {
                    track::end(&mut shard, slot, now);
                }
            }
            _ => bad += 1,
        }
        if round % 100 == 0 {
            now = Tick(now.0 + rng.u64(..5_000_000_000));
            shard.expire(now, 1000);
        }
    }
    assert!(flows > 10_000 && bad > 1000, "{flows} {bad}");
    shard.expire(Tick(now.0 + Duration::from_secs(500_000).as_nanos() as u64), 10_000);
    assert_eq!(shard.stats().count, 0, "every flow ends");
}
