//! Sealing and opening: what is forged, replayed, late or of another key changes nothing, and keys are exchanged by their numbers.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const ONE: &str = "1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const TWO: &str = "2 ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100";
const CLUSTER: u16 = 7;

fn keys(lines: &[&str]) -> Keyring {
    Keyring::parse(&lines.join("\n")).unwrap()
}

fn node(id: u8) -> NodeId {
    NodeId::new(id).unwrap()
}

fn sealer(keys: &Keyring, epoch: u64) -> Sealer {
    Sealer::new(keys, CLUSTER, node(1), Epoch(epoch))
}

fn opener(keys: &Keyring) -> Opener {
    Opener::new(keys.clone(), CLUSTER, node(2))
}

fn sending(kind: Type, seq: u64) -> Sending {
    let lane = Lane::new(5).unwrap();
    Sending { kind, lane, flags: Flags(Flags::BULK), ruleset: 0x1234_5678, seq: Seq(seq) }
}

fn seal(sealer: &mut Sealer, what: &Sending, records: &[u8]) -> Vec<u8> {
    let mut datagram = [&[0; HEADER], records, &[0; TRAILER]].concat();
    let length = sealer.seal(what, &mut datagram, records.len()).unwrap();
    datagram.truncate(length);
    datagram
}

/// A datagram's fate, its bytes spared.
fn open(opener: &mut Opener, datagram: &[u8]) -> Result<(Header, Vec<u8>), Rejected> {
    opener.open(&mut datagram.to_vec()).map(|(header, records)| (header, records.to_vec()))
}

fn fate(opener: &mut Opener, datagram: &[u8]) -> Option<Rejected> {
    open(opener, datagram).err()
}

#[test]
fn what_is_sealed_can_be_opened() {
    for keys in [keys(&[ONE]), Keyring::unauthenticated()] {
        let (mut from, mut to) = (sealer(&keys, 9), opener(&keys));
        for number in 1..=Type::COUNT as u8 {
            let kind = Type::new(number).unwrap();
            for length in [0, 1, 15, 16, 1400] {
                let records: Vec<u8> = (0..length).map(|at| at as u8).collect();
                let what = sending(kind, 100 + u64::from(length as u16));
                let datagram = seal(&mut from, &what, &records);
                let trailer = match (kind, keys.is_unauthenticated()) {
                    (Type::Data, false) => 16,
                    (Type::Data, true) => 4,
                    (_, false) => 24,
                    (_, true) => 12,
                };
                assert_eq!(datagram.len(), HEADER + records.len() + trailer);
                let (header, opened) = open(&mut to, &datagram).unwrap();
                assert_eq!(opened, records);
                let expected = Header {
                    minor: MINOR,
                    kind,
                    cluster: CLUSTER,
                    node: node(1),
                    lane: what.lane,
                    key: if keys.is_unauthenticated() { 0 } else { 1 },
                    flags: what.flags,
                    length: length as u16,
                    ruleset: what.ruleset,
                    epoch: Epoch(9),
                    seq: what.seq,
                };
                assert_eq!(header, expected);
                assert_eq!(fate(&mut to, &datagram), Some(Rejected::Replayed));
            }
        }
    }
}

#[test]
fn records_are_not_readable_on_the_way() {
    let mut from = sealer(&keys(&[ONE]), 1);
    let records = [0x5a; 64];
    let first = seal(&mut from, &sending(Type::Data, 1), &records);
    let second = seal(&mut from, &sending(Type::Data, 2), &records);
    assert!(!first.windows(8).any(|eight| eight == [0x5a; 8]));
    assert_ne!(first[HEADER..], second[HEADER..]);
}

#[test]
fn datagrams_may_be_lost_and_reordered_but_come_once() {
    let keys = keys(&[ONE]);
    let (mut from, mut to) = (sealer(&keys, 1), opener(&keys));
    let all: Vec<_> =
        (1..=5000).map(|seq| seal(&mut from, &sending(Type::Data, seq), b"x")).collect();
    assert_eq!(fate(&mut to, &all[0]), None);
    assert_eq!(fate(&mut to, &all[4999]), None);
    assert_eq!(fate(&mut to, &all[0]), Some(Rejected::Behind));
    assert_eq!(fate(&mut to, &all[903]), Some(Rejected::Behind));
    assert_eq!(fate(&mut to, &all[904]), None);
    assert_eq!(fate(&mut to, &all[904]), Some(Rejected::Replayed));
    assert_eq!(fate(&mut to, &all[4999]), Some(Rejected::Replayed));
    assert_eq!(fate(&mut to, &all[4998]), None);
}

#[test]
fn streams_do_not_disturb_each_other() {
    let keys = keys(&[ONE]);
    let (mut from, mut to) = (sealer(&keys, 1), opener(&keys));
    let ahead = seal(&mut from, &sending(Type::Data, 100_000), b"x");
    let other_lane = Sending { lane: Lane::new(6).unwrap(), ..sending(Type::Data, 1) };
    let other_lane = seal(&mut from, &other_lane, b"x");
    let other_type = seal(&mut from, &sending(Type::Heartbeat, 100_000), b"x");
    let again = seal(&mut from, &sending(Type::Heartbeat, 100_000), b"x");
    for datagram in [&ahead, &other_lane, &other_type, &again] {
        assert_eq!(fate(&mut to, datagram), None);
        assert_eq!(fate(&mut to, datagram), Some(Rejected::Replayed));
    }
}

#[test]
fn a_restarted_node_is_heard_and_its_earlier_life_is_not() {
    let keys = keys(&[ONE]);
    let (mut earlier, mut later, mut to) = (sealer(&keys, 5), sealer(&keys, 6), opener(&keys));
    let old = seal(&mut earlier, &sending(Type::Data, 1), b"x");
    let old_unheard = seal(&mut earlier, &sending(Type::Data, 2), b"x");
    let new = seal(&mut later, &sending(Type::Data, 1), b"x");
    assert_eq!(to.epoch(node(1)), None);
    assert_eq!(fate(&mut to, &old), None);
    // Somebody says that it is of a later epoch: that changes nothing.
    let mut forged = old_unheard.clone();
    forged[16] = 200;
    assert_eq!(fate(&mut to, &forged), Some(Rejected::Forged));
    assert_eq!(to.epoch(node(1)), Some(Epoch(5)));
    assert_eq!(fate(&mut to, &new), None);
    assert_eq!(to.epoch(node(1)), Some(Epoch(6)));
    assert_eq!(fate(&mut to, &old), Some(Rejected::Epoch));
    assert_eq!(fate(&mut to, &old_unheard), Some(Rejected::Epoch));
    // The same content under the same number of another epoch looks different.
    assert_ne!(old[HEADER..], new[HEADER..]);
}

#[test]
fn a_counter_is_never_used_twice() {
    let keys = keys(&[ONE]);
    let mut from = sealer(&keys, 1);
    let mut datagram = [0xee; 100];
    assert_eq!(from.seal(&sending(Type::Data, 0), &mut datagram, 10), Err(SealError::Reused));
    assert!(from.seal(&sending(Type::Data, 10), &mut datagram, 10).is_ok());
    for seq in [10, 9, 1] {
        let mut datagram = [0xee; 100];
        assert_eq!(from.seal(&sending(Type::Data, seq), &mut datagram, 10), Err(SealError::Reused));
        assert_eq!(datagram, [0xee; 100]);
    }
    from.rekey(&keys);
    assert_eq!(from.seal(&sending(Type::Data, 10), &mut datagram, 10), Err(SealError::Reused));
    assert!(from.seal(&sending(Type::Data, 11), &mut datagram, 10).is_ok());
}

#[test]
fn too_little_room_is_said() {
    for keys in [keys(&[ONE]), Keyring::unauthenticated()] {
        for kind in [Type::Data, Type::Nack] {
            let whole = seal(&mut sealer(&keys, 1), &sending(kind, 1), &[1; 50]).len();
            let mut from = sealer(&keys, 1);
            for room in 0..whole {
                let result = from.seal(&sending(kind, 1), &mut vec![0; room], 50);
                assert_eq!(result, Err(SealError::TooLong));
            }
            assert_eq!(from.seal(&sending(kind, 1), &mut vec![0; whole], 50), Ok(whole));
            let result = from.seal(&sending(kind, 2), &mut vec![0; 0x20000], 0x10000);
            assert_eq!(result, Err(SealError::TooLong));
        }
    }
}

#[test]
fn keys_can_be_changed_one_node_after_the_other() {
    let (old, both, new) = (keys(&[ONE]), keys(&[ONE, TWO]), keys(&[TWO]));
    assert_eq!((old.sending(), both.sending(), new.sending()), (Some(1), Some(2), Some(2)));
    let (mut from, mut to) = (sealer(&old, 1), opener(&old));
    let mut seq = 0;
    let mut next = |from: &mut Sealer| {
        seq += 1;
        seal(from, &sending(Type::Data, seq), b"x")
    };
    assert_eq!(fate(&mut to, &next(&mut from)), None);
    let kept = next(&mut from);
    to.rekey(both.clone());
    assert_eq!(fate(&mut to, &next(&mut from)), None);
    from.rekey(&both);
    assert_eq!(fate(&mut to, &next(&mut from)), None);
    assert_eq!(fate(&mut to, &next(&mut from)), None);
    to.rekey(new);
    assert_eq!(fate(&mut to, &kept), Some(Rejected::Key));
    assert_eq!(fate(&mut to, &next(&mut from)), None);
    to.rekey(old);
    assert_eq!(fate(&mut to, &next(&mut from)), Some(Rejected::Key));
    to.rekey(Keyring::unauthenticated());
    assert_eq!(fate(&mut to, &next(&mut from)), Some(Rejected::Key));
}

#[test]
fn what_is_not_for_us_is_rejected_with_the_reason() {
    let ours = keys(&[ONE]);
    let what = sending(Type::Data, 1);
    let good = seal(&mut sealer(&ours, 1), &what, b"abc");
    let mut to = opener(&ours);
    let mut with = |at: usize, value: u8| {
        let mut datagram = good.clone();
        datagram[at] = value;
        fate(&mut to, &datagram).unwrap()
    };
    assert_eq!(with(0, 0), Rejected::Magic);
    assert_eq!(with(2, 0xf0), Rejected::Major);
    assert_eq!(with(2, 0x1f), Rejected::Forged);
    assert_eq!(with(3, 99), Rejected::Type);
    assert_eq!(with(4, 99), Rejected::Cluster);
    assert_eq!(with(6, 99), Rejected::Node);
    assert_eq!(with(6, 2), Rejected::Own);
    assert_eq!(with(7, 99), Rejected::Lane);
    assert_eq!(with(8, 2), Rejected::Key);
    assert_eq!(with(10, 99), Rejected::Length);
    assert_eq!(with(HEADER, !good[HEADER]), Rejected::Forged);
    assert_eq!(fate(&mut to, &[good.as_slice(), b"x"].concat()), Some(Rejected::Length));
    assert_eq!(fate(&mut to, &good[..HEADER - 1]), Some(Rejected::Short));
    assert_eq!(fate(&mut to, &good[..HEADER]), Some(Rejected::Length));

    let open = seal(&mut sealer(&Keyring::unauthenticated(), 1), &what, b"abc");
    assert_eq!(fate(&mut to, &open), Some(Rejected::Unauthenticated));
    let mut to = opener(&Keyring::unauthenticated());
    assert_eq!(fate(&mut to, &good), Some(Rejected::Key));
    let mut damaged = open.clone();
    damaged[HEADER] ^= 1;
    assert_eq!(fate(&mut to, &damaged), Some(Rejected::Forged));
    assert_eq!(fate(&mut to, &open), None);

    // The same key under another cluster, and another key under the same id.
    let mut other = Sealer::new(&ours, CLUSTER + 1, node(1), Epoch(1));
    let mut other = seal(&mut other, &what, b"abc");
    let mut to = opener(&ours);
    assert_eq!(fate(&mut to, &other), Some(Rejected::Cluster));
    assert_ne!(other[HEADER..], good[HEADER..]);
    other[4] = CLUSTER as u8;
    assert_eq!(fate(&mut to, &other), Some(Rejected::Forged));
    let changed = TWO.replacen('2', "1", 1);
    assert_eq!(fate(&mut opener(&keys(&[&changed])), &good), Some(Rejected::Forged));
}

#[test]
fn key_files_say_what_is_wrong_and_no_secret() {
    let read = |text: &str| {
        Keyring::parse(text).map(|keys| keys.sending()).map_err(|error| error.to_string())
    };
    let zero = "0".repeat(64);
    let hex = &ONE[2..];
    assert_eq!(read(&format!("# ours\n\n  {ONE}\n{TWO}\n")), Ok(Some(2)));
    assert_eq!(read(&format!("255 {}\r\n", hex.to_uppercase())), Ok(Some(255)));
    for (text, expected) in [
        (String::new(), "there is no key in it"),
        ("# nothing\n".into(), "there is no key in it"),
        (hex.into(), "line 1: it must be an ID and a key"),
        (format!("{ONE} more"), "line 1: it must be an ID and a key"),
        (format!("0 {hex}"), "line 1: the ID must be a number from 1 to 255"),
        (format!("256 {hex}"), "line 1: the ID must be a number from 1 to 255"),
        (format!("{ONE}\n\none {hex}"), "line 3: the ID must be a number from 1 to 255"),
        (format!("1 {}", &hex[1..]), "line 1: the key has 63 characters and not 64"),
        (format!("1 {}ä", &hex[1..]), "line 1: character 64 of the key is not a hexadecimal digit"),
        (format!("1 {hex}00"), "line 1: the key has 66 characters and not 64"),
        (format!("{ONE}\n{ONE}"), "line 2: the ID 1 was there already"),
        (format!("1 {zero}"), "line 1: the key is all zeros"),
    ] {
        let error = read(&text).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
        assert!(!error.contains("0011"), "{error}");
    }
    let keys = keys(&[ONE, TWO]);
    let shown = format!("{keys:?} {:?} {:?}", sealer(&keys, 1), opener(&keys));
    assert!(shown.contains("ids: [1, 2]"), "{shown}");
    for secret in ["0011", "ffee", "FFEE", "[0, 17, 34", "[255, 238"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn epochs_grow_also_when_the_file_was_lost() {
    let now = 1_800_000_000_000;
    let first = next_epoch(Epoch(0), now, 5);
    assert!(next_epoch(first, now, 5) > first);
    assert!(next_epoch(first, 0, 0) > first);
    assert!(next_epoch(Epoch(0), now + 1, 0) > first);
    assert_ne!(next_epoch(Epoch(0), now, 6), first);
    assert_eq!(next_epoch(Epoch(u64::MAX), now, 0), Epoch(u64::MAX));
    assert!(next_epoch(Epoch(0), u64::MAX, u16::MAX) < Epoch(u64::MAX));
}

#[test]
fn each_rejection_has_its_place_and_name() {
    let mut names = BTreeSet::new();
    for (place, rejected) in Rejected::ALL.into_iter().enumerate() {
        assert_eq!(rejected.index(), place);
        assert!(names.insert(rejected.name()));
    }
}

/// Somebody who hears all and can send anything, but has no key, in many ways, by seed.
#[test]
fn nothing_that_was_made_without_the_key_is_taken() {
    let ours = keys(&[ONE, TWO]);
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut to = opener(&ours);
        let mut senders = [sealer(&ours, 3), sealer(&ours, 4)];
        senders[0].rekey(&keys(&[ONE]));
        let mut heard: Vec<Vec<u8>> = Vec::new();
        let mut taken = BTreeSet::new();
        let mut rejected = [0u32; Rejected::COUNT];
        for round in 1..200u64 {
            let kind = Type::new(random.u8(1..=Type::COUNT as u8)).unwrap();
            let lane = Lane::new(random.u8(0..3)).unwrap();
            let records: Vec<u8> = (0..random.usize(0..120)).map(|_| random.u8(..)).collect();
            let what = Sending { lane, kind, ..sending(kind, round) };
            let sender = &mut senders[usize::from(round > 100)];
            let genuine = seal(sender, &what, &records);
            for _ in 0..4 {
                let forged = mutate(&genuine, &heard, &mut random);
                if forged == genuine || heard.contains(&forged) && !taken.contains(&forged) {
                    continue;
                }
                let error =
                    open(&mut to, &forged).expect_err("a datagram without the key was taken");
                rejected[error.index()] += 1;
            }
            if random.u8(0..8) != 0 {
                let (header, opened) = open(&mut to, &genuine).unwrap();
                assert_eq!((header.seq, opened), (Seq(round), records));
                taken.insert(genuine.clone());
            }
            heard.push(genuine);
        }
        for usual in [Rejected::Forged, Rejected::Replayed, Rejected::Length, Rejected::Epoch] {
            assert_ne!(rejected[usual.index()], 0, "{usual:?} never came in seed {seed}");
        }
    }
}

fn mutate(genuine: &[u8], heard: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut datagram = genuine.to_vec();
    match (random.u8(0..8), random.choice(heard)) {
        (0, _) => datagram.truncate(random.usize(0..genuine.len())),
        (1, _) => datagram.extend((0..random.usize(1..40)).map(|_| random.u8(..))),
        (2, Some(other)) => datagram = other.clone(),
        // The header of one and what is behind that of another.
        (3, Some(other)) => datagram.splice(..HEADER, other[..HEADER].to_vec()).for_each(drop),
        (4, Some(other)) => {
            let at = random.usize(0..genuine.len().min(other.len()));
            datagram.splice(at.., other[at..].to_vec()).for_each(drop);
        }
        (5, _) => datagram.iter_mut().for_each(|byte| *byte = random.u8(..)),
        (6, _) => {
            // Without a key, with a right checksum.
            datagram[8] = 0;
            let end = datagram.len() - CRC;
            let crc = crc32c::crc32c(&datagram[..end]).to_le_bytes();
            datagram[end..].copy_from_slice(&crc);
        }
        _ => {
            for _ in 0..random.u8(1..4) {
                let at = random.usize(0..datagram.len());
                datagram[at] ^= 1 << random.u8(0..8);
            }
        }
    }
    datagram
}

proptest! {
    #[test]
    fn any_bytes_are_rejected(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), header: bool) {
        if header && bytes.len() >= HEADER {
            bytes[..8].copy_from_slice(b"TW\x10\x01\x07\x00\x01\x05");
        }
        prop_assert!(opener(&keys(&[ONE])).open(&mut bytes).is_err());
    }
}
