//! Fragments in any order, doubled, overlapping, tiny, refused, late and too many.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn name(id: u32) -> Name {
    Name { src: [1; 16], dst: [2; 16], id, protocol: ip::UDP, family: 4, zone: 0 }
}

/// Bytes `start..end` of datagram `id`.
fn part(id: u32, start: u32, end: u32, more: bool) -> Part {
    Part { name: name(id), start, end, more, protocol: ip::UDP }
}

fn key(port: u16) -> FlowKey {
    FlowKey { sport: port.to_be_bytes(), protocol: ip::UDP, family: 4, ..FlowKey::default() }
}

fn at(seconds: u64) -> Tick {
    Tick::at(Duration::from_secs(seconds))
}

/// Reads a fragment out of a frame, in pieces split anywhere.
fn read(packet: &[u8], ethertype: [u8; 2]) -> Part {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    bytes.extend(ethertype);
    bytes.extend(packet);
    let whole = packet::VecFrame::from_bytes(&bytes);
    let layers = packet::layers::parse(&whole).unwrap();
    let part = Part::of(&whole, &layers, 3).unwrap();
    for split in 1..bytes.len() {
        let frame = packet::VecFrame::from_split(&bytes, &[split]);
        assert_eq!(Part::of(&frame, &layers, 3), Some(part), "{split}");
    }
    part
}

#[test]
fn a_part_is_read_from_either_family() {
    // 24 bytes of header (one option), 16 of payload at offset 1480, more to come.
    let mut four =
        vec![0x46, 0, 0, 40, 0xab, 0xcd, 0x20, 185, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    four.extend([1, 1, 1, 1]);
    four.extend([7; 16]);
    let sum = packet::checksum::of(&four[..24]);
    four[10..12].copy_from_slice(&sum.to_be_bytes());
    let part = read(&four, [8, 0]);
    assert_eq!((part.start, part.end, part.more, part.protocol), (1480, 1496, true, ip::UDP));
    let Name { id, protocol, family, zone, src, .. } = part.name;
    assert_eq!((id, protocol, family, zone, src[..4] == [10, 0, 0, 1]), (0xabcd, 17, 4, 3, true));
    // Destination options in front of the fragment header; the last 13 bytes.
    let mut six = vec![0x60, 0, 0, 0, 0, 29, 60, 64];
    six.extend([[0x20; 16], [0x21; 16]].concat());
    six.extend([44, 0, 1, 4, 0, 0, 0, 0]);
    six.extend([17, 0, 0x05, 0xa8, 0xde, 0xad, 0xbe, 0xef]);
    six.extend([7; 13]);
    let part = read(&six, [0x86, 0xdd]);
    assert_eq!((part.start, part.end, part.more, part.protocol), (1448, 1461, false, ip::UDP));
    let Name { id, protocol, family, .. } = part.name;
    assert_eq!((id, protocol, family), (0xdead_beef, 0, 6));
}

/// Takes fragments that are numbered instead of having bytes; remembers what was dropped beside.
struct Bed {
    fragments: Fragments<u32>,
    dropped: Vec<(u32, DropReason)>,
}

impl Bed {
    fn new(limits: Limits) -> Self {
        Self { fragments: Fragments::new(limits), dropped: Vec::new() }
    }

    fn take(&mut self, number: u32, part: Part, seconds: u64) -> Fate<u32> {
        // Only the first fragment's header has ports.
        let key = if part.start == 0 { key(7) } else { key(0) };
        let dropped = &mut self.dropped;
        let mut drop = |frame, reason| dropped.push((frame, reason));
        self.fragments.take(&part, &key, number, at(seconds), &mut drop)
    }

    fn rest(&mut self, id: u32) -> Vec<u32> {
        let mut rest = Vec::new();
        while let Some((frame, by)) = self.fragments.next_held(&name(id)) {
            assert_eq!(by, key(7));
            rest.push(frame);
        }
        rest
    }

    fn expire(&mut self, seconds: u64) {
        let dropped = &mut self.dropped;
        self.fragments.expire(at(seconds), &mut |frame, reason| dropped.push((frame, reason)));
    }

    fn is_empty(&self) -> bool {
        let Fragments { index, free, datagrams, free_held, held, bytes, ages, .. } =
            &self.fragments;
        index.is_empty()
            && free.len() == datagrams.len()
            && free_held.len() == held.len()
            && *bytes == 0
            && *ages == [[NONE; 2]; 2]
    }
}

#[test]
fn later_fragments_go_by_the_firsts_key() {
    let mut bed = Bed::new(Limits::default());
    assert_eq!(bed.take(0, part(1, 0, 80, true), 0), Fate::Goes(0, key(7)));
    assert_eq!(bed.take(1, part(1, 80, 160, true), 0), Fate::Goes(1, key(7)));
    assert_eq!(bed.take(2, part(1, 160, 163, false), 0), Fate::Goes(2, key(7)));
    assert!(bed.is_empty());
}

#[test]
fn later_fragments_that_come_before_the_first_wait_for_it() {
    let mut bed = Bed::new(Limits::default());
    assert_eq!(bed.take(2, part(1, 160, 163, false), 0), Fate::Held);
    assert_eq!(bed.take(1, part(1, 80, 160, true), 0), Fate::Held);
    assert_eq!(bed.take(9, part(2, 80, 160, true), 0), Fate::Held);
    assert_eq!((bed.rest(1), bed.fragments.held()), (vec![], 3));
    assert_eq!(bed.take(0, part(1, 0, 80, true), 0), Fate::Goes(0, key(7)));
    assert_eq!(bed.rest(1), [2, 1]);
    assert_eq!((bed.fragments.held(), bed.fragments.datagrams()), (1, 1));
    bed.expire(29);
    assert_eq!(bed.dropped, []);
    bed.expire(30);
    assert_eq!(bed.dropped, [(9, DropReason::FragmentTimeout)]);
    assert!(bed.is_empty());
}

#[test]
fn fragments_that_overlap_end_their_datagram() {
    // A datagram of 240 bytes in three, and a fragment that does not fit to them (RFC 5722; the last four: its end).
    let bad = [
        part(1, 8, 88, true),
        part(1, 72, 80, false),
        part(1, 152, 168, true),
        part(1, 0, 160, true),
        part(1, 160, 248, false),
        part(1, 240, 248, true),
        part(1, 80, 160, false),
        part(1, 232, 248, true),
    ];
    for bad in bad {
        let mut bed = Bed::new(Limits::default());
        assert_eq!(bed.take(2, part(1, 160, 240, false), 0), Fate::Held);
        assert_eq!(bed.take(1, part(1, 80, 152, true), 0), Fate::Held, "{bad:?}");
        assert_eq!(bed.take(3, bad, 0), Fate::Dropped(3, DropReason::FragmentOverlap), "{bad:?}");
        let both = [(2, DropReason::FragmentOverlap), (1, DropReason::FragmentOverlap)];
        assert_eq!(bed.dropped, both);
        let first = bed.take(0, part(1, 0, 80, true), 1);
        assert_eq!(first, Fate::Dropped(0, DropReason::FragmentOverlap));
        bed.expire(30);
        assert!(bed.is_empty());
    }
}

#[test]
fn what_was_there_already_is_dropped_alone() {
    let mut bed = Bed::new(Limits::default());
    assert_eq!(bed.take(0, part(1, 0, 80, true), 0), Fate::Goes(0, key(7)));
    assert_eq!(bed.take(1, part(1, 80, 160, true), 0), Fate::Goes(1, key(7)));
    for again in [part(1, 0, 80, true), part(1, 80, 160, true), part(1, 16, 24, true)] {
        assert_eq!(bed.take(5, again, 0), Fate::Dropped(5, DropReason::FragmentTwice));
    }
    assert_eq!(bed.take(2, part(1, 160, 163, false), 0), Fate::Goes(2, key(7)));
    assert!(bed.is_empty());
}

#[test]
fn a_fragment_that_begins_inside_the_tcp_header_is_dropped() {
    let mut bed = Bed::new(Limits::default());
    let tiny = Part { protocol: ip::TCP, ..part(1, 8, 16, true) };
    assert_eq!(bed.take(1, tiny, 0), Fate::Dropped(1, DropReason::FragmentTiny));
    assert!(bed.is_empty());
}

#[test]
fn what_follows_a_first_fragment_that_was_dropped_is_dropped() {
    let mut bed = Bed::new(Limits::default());
    assert_eq!(bed.take(1, part(1, 80, 160, true), 0), Fate::Held);
    assert_eq!(bed.take(0, part(1, 0, 80, true), 0), Fate::Goes(0, key(7)));
    let dropped = &mut bed.dropped;
    let refused = DropReason::FragmentRefused;
    bed.fragments.refuse(&name(1), refused, &mut |frame, reason| dropped.push((frame, reason)));
    assert_eq!(bed.dropped, [(1, refused)]);
    assert_eq!(bed.rest(1), []);
    assert_eq!(bed.take(2, part(1, 160, 163, false), 0), Fate::Dropped(2, refused));
    bed.expire(30);
    assert!(bed.is_empty());
}

#[test]
fn what_waits_is_bounded_in_number_bytes_and_datagrams() {
    let limits = Limits { datagrams: 3, held: 4, bytes: 1000, ..Limits::default() };
    let no_room = |number| Fate::Dropped(number, DropReason::FragmentNoRoom);
    let mut bed = Bed::new(limits);
    for number in 0..4 {
        assert_eq!(
            bed.take(number, part(1, 80 * (number + 1), 80 * (number + 2), true), 0),
            Fate::Held
        );
    }
    assert_eq!(bed.take(4, part(2, 80, 160, true), 0), no_room(4));
    let mut bed = Bed::new(limits);
    assert_eq!(bed.take(0, part(1, 80, 1040, true), 0), Fate::Held);
    assert_eq!(bed.take(1, part(1, 1040, 1120, true), 0), no_room(1));
    // A fourth datagram takes the place of the first, whichever family that is of.
    let mut bed = Bed::new(limits);
    for id in 1..=4 {
        let six = Name { family: 6, ..name(id) };
        let part = part(id, 80, 160, true);
        let part = if id == 2 { Part { name: six, ..part } } else { part };
        assert_eq!(bed.take(id, part, u64::from(id)), Fate::Held);
    }
    assert_eq!(bed.dropped, [(1, DropReason::FragmentNoRoom)]);
    assert_eq!(bed.fragments.datagrams(), 3);
    // Gaps without end.
    let mut bed = Bed::new(Limits::default());
    for number in 1..=PIECES as u32 {
        assert_eq!(bed.take(number, part(1, 160 * number, 160 * number + 80, true), 0), Fate::Held);
    }
    assert_eq!(bed.take(99, part(1, 64_000, 64_080, true), 0), no_room(99));
    assert_eq!(bed.take(98, part(1, 80, 160, true), 0), Fate::Held, "it fills a gap");
}

proptest! {
    /// Pieces of datagrams in any order, some of them twice: all that does not overlap goes on, each once, with the first's
    /// key, and nothing stays behind. The naive twin is a set of bytes.
    #[test]
    fn fragments_in_any_order_go_on_once(
        cuts in proptest::collection::btree_set(1..40u32, 1..14),
        order in Just((0..30usize).collect::<Vec<_>>()).prop_shuffle(),
        twice in proptest::collection::vec(0..14usize, 0..4),
    ) {
        let cuts: Vec<u32> = std::iter::once(0).chain(cuts).map(|cut| cut * 8).collect();
        let mut parts: Vec<_> = cuts
            .windows(2)
            .map(|cut| part(1, cut[0], cut[1], true))
            .collect();
        parts.last_mut().unwrap().more = false;
        let whole = parts.len();
        let again: Vec<_> = twice.iter().filter_map(|i| parts.get(*i).copied()).collect();
        parts.extend(again);
        let mut bed = Bed::new(Limits::default());
        let mut seen = std::collections::HashSet::new();
        let mut gone = Vec::new();
        for number in order.into_iter().filter(|number| *number < parts.len()) {
            let this = parts[number];
            let bytes: Vec<_> = (this.start..this.end).collect();
            let is_new = bytes.iter().all(|byte| !seen.contains(byte));
            match bed.take(number as u32, this, 0) {
                Fate::Goes(frame, by) => {
                    assert_eq!((frame as usize, by), (number, key(7)));
                    gone.push(this.start);
                    for held in bed.rest(1) {
                        gone.push(parts[held as usize].start);
                    }
                }
                Fate::Held => assert!(is_new && !seen.contains(&0)),
                Fate::Dropped(_, reason) => {
                    assert_eq!(reason, DropReason::FragmentTwice);
                    assert!(!is_new);
                    continue;
                }
            }
            assert!(is_new);
            seen.extend(bytes);
            if gone.len() == whole {
                break;
            }
        }
        gone.sort_unstable();
        assert_eq!(gone, cuts[..whole]);
        assert!(bed.is_empty());
    }
}
