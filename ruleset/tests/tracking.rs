//! Packets are tracked for as long as something in the rules needs it, and no longer (Linux: `nf_ct_netns_get`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "common/bed.rs"]
mod bed;

use bed::*;
use nfnetlink::attr::Writer;
use nfnetlink::message::NLM_F_CREATE;
use ruleset::family::{Family, Hook};
use ruleset::nft::msg;
use ruleset::program::Entry;

const STATE: Expr<'static> = ("ct", &|out| {
    out.u32(1, 1);
    out.u32(2, 0);
});
const LIMIT: Expr<'static> = ("connlimit", &|out| out.u32(1, 5));
/// `NFT_OBJECT_…`.
const CT_TIMEOUT: u32 = 7;
const CONNLIMIT: u32 = 5;
const COUNTER: u32 = 1;

/// Whether IPv4's, IPv6's and bridged packets are tracked: by the state, and by what they meet.
fn tracked(bed: &Bed) -> [bool; 3] {
    let program = bed.program.lock().unwrap().clone();
    [Family::Ipv4, Family::Ipv6, Family::Bridge].map(|family| {
        let meets = |hook, is: fn(&Entry) -> bool| program.hooked(family, hook).iter().any(is);
        let tracks = meets(Hook::Prerouting, |entry| matches!(entry, Entry::Track));
        let confirms = meets(Hook::Postrouting, |entry| matches!(entry, Entry::Confirm));
        assert_eq!((tracks, confirms), (program.tracking.is_on(family), tracks));
        tracks
    })
}

const NONE: [bool; 3] = [false; 3];
const IPV4: [bool; 3] = [true, false, false];
const IP: [bool; 3] = [true, true, false];

fn delete(command: u8, chain: bool, handle: Option<u64>) -> Op {
    op(command, Family::Ipv4, 0, move |out| {
        out.str(1, "t");
        if chain {
            out.str(if command == msg::DELRULE { 2 } else { 3 }, "c");
        }
        if let Some(handle) = handle {
            out.u64(3, handle);
        }
    })
}

#[test]
fn a_rule_with_ct_state_has_packets_tracked_while_it_is_there() {
    let mut bed = Bed::new();
    assert_eq!(bed.rules(Family::Ipv4, 2, &[&[COUNTED]]), 0);
    assert_eq!(tracked(&bed), NONE, "a counter needs no connections");
    assert_eq!(bed.batch(&[rule(Family::Ipv4, &[STATE]), rule(Family::Ipv4, &[STATE])]), 0);
    assert_eq!(tracked(&bed), IPV4);
    // Rules have the handles 2, 3 and 4 behind the chain's.
    assert_eq!(bed.batch(&[delete(msg::DELRULE, true, Some(3))]), 0);
    assert_eq!(tracked(&bed), IPV4, "one needs it still");
    assert_eq!(bed.batch(&[delete(msg::DELRULE, true, Some(4))]), 0);
    assert_eq!(tracked(&bed), NONE);
}

const COUNTED: Expr<'static> = ("counter", &|_| {});

#[test]
fn flushing_deleting_and_what_is_refused_leave_no_tracking_behind() {
    let mut bed = Bed::new();
    assert_eq!(bed.rules(Family::Ipv4, 2, &[&[STATE], &[STATE]]), 0);
    assert_eq!(tracked(&bed), IPV4);
    let flush = || delete(msg::DELRULE, true, None);
    let nonsense = || delete(msg::DELRULE, true, Some(99));
    assert_eq!(bed.batch(&[flush(), nonsense()]), 2, "ENOENT");
    assert_eq!(tracked(&bed), IPV4, "the batch was refused");
    assert_eq!(bed.batch(&[flush()]), 0);
    assert_eq!(tracked(&bed), NONE);
    assert_eq!(bed.batch(&[rule(Family::Ipv4, &[STATE]), nonsense()]), 2);
    assert_eq!(tracked(&bed), NONE);
    assert_eq!(bed.batch(&[rule(Family::Ipv4, &[STATE]), flush()]), 0);
    assert_eq!(tracked(&bed), NONE, "came and went");
    assert_eq!(bed.batch(&[rule(Family::Ipv4, &[STATE])]), 0);
    assert_eq!(tracked(&bed), IPV4);
    assert_eq!(bed.batch(&[delete(msg::DELTABLE, false, None)]), 0);
    assert_eq!(tracked(&bed), NONE, "the table is gone");
}

#[test]
fn families_are_tracked_each_for_itself() {
    let mut bed = Bed::new();
    assert_eq!(bed.rules(Family::Inet, 2, &[&[STATE]]), 0);
    assert_eq!(tracked(&bed), IP);
    let mut bed = Bed::new();
    assert_eq!(bed.rules(Family::Bridge, 2, &[&[STATE]]), 0);
    assert_eq!(tracked(&bed), [true; 3], "what is bridged may be routed");
    let mut bed = Bed::new();
    assert_eq!(bed.rules(Family::Ipv6, 2, &[&[LIMIT]]), 0);
    assert_eq!(tracked(&bed), [false, true, false]);
    let mut bed = Bed::new();
    let notrack: Expr<'_> = ("notrack", &|_| {});
    assert_eq!(bed.rules(Family::Ipv4, 0, &[&[notrack]]), 0);
    assert_eq!(tracked(&bed), NONE, "not to be tracked needs no tracking");
    // NAT in a table of both families is for one of them.
    let mut bed = Bed::new();
    let addr = word(1, [10, 0, 0, 9]);
    let nat: Expr<'_> = ("nat", &|out| {
        out.u32(1, 1);
        out.u32(2, 2);
        out.u32(3, 1);
    });
    assert_eq!(bed.rules_of("nat", Family::Inet, 0, &[&[("immediate", &addr), nat]]), 0);
    assert_eq!(tracked(&bed), IPV4);
    let mut bed = Bed::new();
    let masq: Expr<'_> = ("masq", &|_| {});
    assert_eq!(bed.rules_of("nat", Family::Inet, 4, &[&[masq]]), 0);
    assert_eq!(tracked(&bed), IP);
    // iptables' matches alike.
    let mut bed = Bed::new();
    let xt: Expr<'_> = ("match", &|out| {
        out.str(1, "state");
        out.u32(2, 0);
        out.put(3, &[2, 0, 0, 0, 0, 0, 0, 0]);
    });
    assert_eq!(bed.rules(Family::Ipv4, 2, &[&[xt]]), 0);
    assert_eq!(tracked(&bed), IPV4);
    let comment: Expr<'_> = ("match", &|out| {
        out.str(1, "comment");
        out.u32(2, 0);
        out.put(3, &[0; 256]);
    });
    let mut bed = Bed::new();
    assert_eq!(bed.rules(Family::Ipv4, 2, &[&[comment]]), 0);
    assert_eq!(tracked(&bed), NONE);
}

#[test]
fn objects_and_sets_that_count_connections_have_packets_tracked() {
    let mut bed = Bed::new();
    assert_eq!(bed.rules(Family::Ipv4, 2, &[]), 0);
    let timeout = |out: &mut Writer| {
        out.put(2, &[17]);
        out.nest(3, |out| out.u32(1, 5));
    };
    let limit = |out: &mut Writer| out.u32(1, 5);
    let plain = object(msg::NEWOBJ, NLM_F_CREATE, "o", COUNTER, |_| {});
    assert_eq!(bed.batch(&[plain]), 0);
    assert_eq!(tracked(&bed), NONE);
    let kinds: [Expr<'_>; 2] = [("ct timeout", &timeout), ("connlimit", &limit)];
    for (name, data) in kinds {
        let kind = if name == "connlimit" { CONNLIMIT } else { CT_TIMEOUT };
        assert_eq!(bed.batch(&[object(msg::NEWOBJ, NLM_F_CREATE, "o", kind, data)]), 0);
        assert_eq!(tracked(&bed), IPV4, "{kind}");
        assert_eq!(bed.batch(&[object(msg::NEWOBJ, NLM_F_CREATE, "o", kind, data)]), 0, "again");
        assert_eq!(bed.batch(&[object(msg::DELOBJ, 0, "o", kind, |_| {})]), 0);
        assert_eq!(tracked(&bed), NONE, "{kind}");
    }
    // A dynamic set whose elements count connections.
    let set = op(msg::NEWSET, Family::Ipv4, NLM_F_CREATE, |out| {
        out.str(1, "t");
        out.str(2, "s");
        out.u32(3, 0x20);
        out.u32(4, 7);
        out.u32(5, 4);
        out.u32(10, 1);
        out.nest(17, |out| {
            out.str(1, "connlimit");
            out.nest(2, |out| out.u32(1, 5));
        });
    });
    assert_eq!(bed.batch(&[set]), 0);
    assert_eq!(tracked(&bed), IPV4);
    let gone = op(msg::DELSET, Family::Ipv4, 0, |out| {
        out.str(1, "t");
        out.str(2, "s");
    });
    assert_eq!(bed.batch(&[gone]), 0);
    assert_eq!(tracked(&bed), NONE);
}

#[test]
fn tables_that_go_with_their_owner_take_tracking_along() {
    let mut bed = Bed::new();
    let owned = op(msg::NEWTABLE, Family::Ipv4, NLM_F_CREATE, |out| {
        out.str(1, "t");
        out.u32(2, 2);
    });
    assert_eq!(bed.batch(&[owned]), 0);
    assert_eq!(bed.rules(Family::Ipv4, 2, &[&[STATE], &[LIMIT]]), 0);
    let timeout = |out: &mut Writer| {
        out.put(2, &[17]);
        out.nest(3, |_| {});
    };
    assert_eq!(bed.batch(&[object(msg::NEWOBJ, NLM_F_CREATE, "o", CT_TIMEOUT, timeout)]), 0);
    assert_eq!(tracked(&bed), IPV4);
    bed.engine.disconnect(bed.client);
    assert_eq!(tracked(&bed), NONE);
}
