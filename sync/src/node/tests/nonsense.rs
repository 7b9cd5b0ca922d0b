//! What a node that has the key but not its wits may send.

use proptest::prelude::*;

use super::net::{Net, by_silence, keys, node_id};
use crate::ids::{Epoch, Lane, Seq};
use crate::records::Record;
use crate::seal::{Sealer, Sending, TRAILER};
use crate::wire::{self, Flags, HEADER, PAYLOAD, Type, arbitrary};

#[derive(Clone, Debug)]
struct Datagram {
    kind: Type,
    lane: u8,
    flags: u8,
    records: Vec<Record<'static>>,
    rest: Vec<u8>,
}

fn datagram() -> impl Strategy<Value = Datagram> {
    let records = prop::collection::vec(arbitrary::record(), 0..6);
    let rest = prop::collection::vec(any::<u8>(), 0..20);
    (1_u8..=Type::COUNT as u8, 0_u8..64, 0_u8..8, records, rest).prop_map(
        |(kind, lane, flags, records, rest)| Datagram {
            kind: Type::new(kind).unwrap(),
            lane,
            flags,
            records,
            rest,
        },
    )
}

fn sealed(sealer: &mut Sealer, datagram: &Datagram, seq: u64) -> Vec<u8> {
    let mut bytes = vec![0; HEADER + PAYLOAD + TRAILER];
    let mut length = 0;
    for record in &datagram.records {
        let room = &mut bytes[HEADER + length..HEADER + PAYLOAD - 8];
        length += wire::encode(record, room).unwrap_or(0);
    }
    for byte in datagram.rest.iter().take(PAYLOAD - 8 - length) {
        bytes[HEADER + length] = *byte;
        length += 1;
    }
    let lane = Lane::new(datagram.lane).unwrap();
    let what = Sending {
        kind: datagram.kind,
        lane,
        flags: Flags(datagram.flags),
        ruleset: 1,
        seq: Seq(seq),
    };
    let whole = sealer.seal(&what, &mut bytes, length).unwrap();
    bytes.truncate(whole);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Nothing panics, nothing grows without end, and the node works on.
    #[test]
    fn authentic_nonsense_does_no_harm(
        owner in any::<bool>(),
        datagrams in prop::collection::vec(datagram(), 1..40),
    ) {
        let mut net = Net::dark(2, by_silence);
        net.start(0);
        if owner {
            net.run(300);
            net.promote(0).unwrap();
        }
        let mut sealer = Sealer::new(&keys(), 7, node_id(2), Epoch(1));
        for (seq, datagram) in (1..).zip(&datagrams) {
            let mut bytes = sealed(&mut sealer, datagram, seq);
            let now = net.now;
            let machine = net.machine(0);
            machine.node.received(&mut bytes, now, &mut machine.outside);
            let sent = machine.outside.sent.len();
            prop_assert!(sent <= 70, "{sent} datagrams for one");
            net.run(1);
        }
        net.run(100);
        let status = net.status(0);
        prop_assert!(status.alarms.len() <= 100);
        // A node that makes sense is heard as before.
        net.start(1);
        net.run(300);
        prop_assert!(net.status(0).peers.iter().any(|peer| peer.node == node_id(1) && peer.alive));
    }
}
