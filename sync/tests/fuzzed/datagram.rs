//! What holds of any datagram. For the fuzz target and for the tests that go through its seeds.

use sync::ids::NodeId;
use sync::records::Record;
use sync::seal::{Keyring, Opener, Rejected};
use sync::wire::{self, HEADER, Header, Type};

const KEY: &str = "1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const CLUSTER: u16 = 7;

/// Holds for any input, or panics.
pub(crate) fn check(input: &[u8]) {
    let _ = Keyring::parse(&String::from_utf8_lossy(input));
    // Nobody without the key gets in.
    let mut sealed = opener(Keyring::parse(KEY).unwrap());
    assert!(sealed.open(&mut input.to_vec()).is_err());
    records(input);
    if let Some(mut whole) = completed(input) {
        let header = Header::decode(&whole).unwrap();
        let mut open = opener(Keyring::unauthenticated());
        let (opened, payload) = open.open(&mut whole).unwrap();
        assert_eq!(opened, header);
        records(payload);
        assert_eq!(open.open(&mut whole).err(), Some(Rejected::Replayed));
    }
}

fn opener(keys: Keyring) -> Opener {
    Opener::new(keys, CLUSTER, NodeId::new(2).unwrap())
}

/// The input as an unauthenticated datagram of this cluster, as much as it can be one.
fn completed(input: &[u8]) -> Option<Vec<u8>> {
    let mut whole = input.to_vec();
    whole.get_mut(..3)?.copy_from_slice(b"TW\x11");
    let kind = whole.get_mut(3)?;
    *kind = *kind % Type::COUNT as u8 + 1;
    let trailer = if *kind == Type::Data as u8 { 4 } else { 12 };
    whole.get_mut(4..6)?.copy_from_slice(&CLUSTER.to_le_bytes());
    let node = whole.get_mut(6)?;
    *node = (*node & 1) + 3;
    *whole.get_mut(7)? &= 63;
    *whole.get_mut(8)? = 0;
    let length = u16::try_from(whole.len().checked_sub(HEADER + trailer)?).ok()?;
    whole.get_mut(10..12)?.copy_from_slice(&length.to_le_bytes());
    let end = whole.len() - 4;
    let crc = crc32c::crc32c(&whole[..end]).to_le_bytes();
    whole[end..].copy_from_slice(&crc);
    Some(whole)
}

fn records(payload: &[u8]) {
    let mut read = 0;
    let mut room = vec![0; payload.len()];
    for (record, bytes) in wire::records(payload).flatten() {
        read += bytes.len();
        let (kind, id) = (wire::kind(bytes), wire::flow_id(bytes));
        let (version, key) = (wire::version(bytes), wire::original_key(bytes));
        match &record {
            Record::Full(full) => {
                assert_eq!((id, version), (Some(full.id), Some(full.version)));
                assert_eq!(key, Some(full.keys[0]));
            }
            Record::Update { id: of, version: said, .. }
            | Record::Delete { id: of, version: said } => {
                assert_eq!((id, version, key), (Some(*of), Some(*said), None));
            }
            Record::Unknown(number) => {
                assert_eq!(kind, Some(wire::Kind(*number)));
                continue;
            }
            _ => assert_eq!(key, None),
        }
        let length = wire::encode(&record, &mut room).unwrap();
        assert!(length <= bytes.len());
        assert_eq!(wire::decode(&room[..length]), Ok(record));
    }
    assert!(read <= payload.len());
    // Without what is in front of them.
    let _ = (wire::kind(payload), wire::flow_id(payload));
    let _ = (wire::version(payload), wire::original_key(payload));
}
