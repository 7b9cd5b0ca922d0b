//! What rules have to do with connections, from the message to the packet: what of them a flow may remember.
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
use ruleset::family::Family;
use ruleset::ids::WorkerId;
use ruleset::reference::Outcome;

const COUNTER: Expr<'static> = ("counter", &|_| {});
const LENGTH: Expr<'static> = ("meta", &|out| {
    out.u32(1, 1);
    out.u32(2, 0);
});
const MARK_FROM_1: Expr<'static> = ("meta", &|out| {
    out.u32(2, 3);
    out.u32(3, 1);
});

/// Bytes of the network header into register 1.
fn header(offset: u32, len: u32) -> impl Fn(&mut Writer) {
    load(1, offset, len)
}

/// Bytes into register 1 from a base (`NFT_PAYLOAD_…`).
fn load(base: u32, offset: u32, len: u32) -> impl Fn(&mut Writer) {
    move |out| {
        out.u32(1, 1);
        out.u32(2, base);
        out.u32(3, offset);
        out.u32(4, len);
    }
}

/// Register 1 is this.
fn is(value: &[u8]) -> impl Fn(&mut Writer) {
    move |out| {
        out.u32(1, 1);
        out.u32(2, 0);
        out.nest(3, |out| out.put(1, value));
    }
}

#[test]
fn a_flow_may_remember_what_depends_on_its_addresses_alone() {
    let mut bed = Bed::new();
    let (from, is_a, port, is_10) = (header(12, 4), is(&A), load(2, 0, 2), is(&[0, 10]));
    let mark = word(1, 7u32.to_ne_bytes());
    let rules: &[&[Expr<'_>]] = &[
        &[("payload", &from), ("cmp", &is_a), COUNTER, ("immediate", &mark), MARK_FROM_1],
        &[("payload", &port), ("cmp", &is_10), COUNTER, ACCEPT],
        &[LENGTH, ACCEPT],
    ];
    assert_eq!(bed.rules(Family::Ipv4, 2, rules), 0);
    let passed = bed.pass(FORWARD4, &udp(A, B, 64));
    assert_eq!((passed.outcome, passed.meta.mark), (Outcome::Accept, 7));
    assert!(passed.recorder.is_cacheable());
    // Two rules counted; what they counted others of the flow count by what they are long.
    let [one, two] = passed.recorder.counted() else { panic!("{:?}", passed.recorder) };
    assert_ne!(one.counter, two.counter);
    assert_eq!(one.counter.read().bytes, 60);
    let mut longer = passed.layers;
    longer.end += 100;
    assert_eq!(one.bytes(&longer, 1514), 160);
    one.counter.add(WorkerId(1), one.bytes(&longer, 1514));
    assert_eq!(one.counter.read().bytes, 220);
    assert_eq!(two.counter.read().bytes, 60);
}

#[test]
fn a_flow_remembers_nothing_of_what_looks_at_the_packet() {
    let ttl = header(8, 1);
    let (is_64, limit) = (is(&[64]), |out: &mut Writer| {
        out.u64(1, 10);
        out.u64(2, 1);
    });
    let total = header(2, 2);
    let source = header(10, 4);
    let udp_length = load(2, 4, 2);
    let rules: [&[Expr<'_>]; 6] = [
        &[("payload", &ttl), ("cmp", &is_64), COUNTER, ACCEPT],
        &[COUNTER, ("limit", &limit), ACCEPT],
        &[("payload", &total), ACCEPT],
        &[("payload", &source), ACCEPT],
        &[("payload", &udp_length), ACCEPT],
        &[LENGTH, ACCEPT],
    ];
    for rule in rules {
        let mut bed = Bed::new();
        assert_eq!(bed.rules(Family::Ipv4, 2, &[rule]), 0);
        let passed = bed.pass(FORWARD4, &udp(A, B, 64));
        assert_eq!(passed.outcome, Outcome::Accept);
        assert!(!passed.recorder.is_cacheable());
        assert!(passed.recorder.counted().is_empty());
    }
    // A rule that ends before it looks is no hindrance.
    let mut bed = Bed::new();
    let (from, is_b) = (header(12, 4), is(&B));
    let rule: &[Expr<'_>] = &[("payload", &from), ("cmp", &is_b), LENGTH, ACCEPT];
    assert_eq!(bed.rules(Family::Ipv4, 2, &[rule]), 0);
    let passed = bed.pass(FORWARD4, &udp(A, B, 64));
    assert_eq!(passed.outcome, Outcome::Drop);
    assert!(passed.recorder.is_cacheable());
}

#[test]
fn more_counters_than_a_flow_remembers_are_counted_all_the_same() {
    let mut bed = Bed::new();
    let rules: Vec<&[Expr<'_>]> = vec![&[COUNTER]; ruleset::packet::COUNTED + 1];
    assert_eq!(bed.rules(Family::Ipv4, 2, &rules), 0);
    let passed = bed.pass(FORWARD4, &udp(A, B, 64));
    assert!(!passed.recorder.is_cacheable());
    let mut bed = Bed::new();
    assert_eq!(bed.rules(Family::Ipv4, 2, &rules[1..]), 0);
    let passed = bed.pass(FORWARD4, &udp(A, B, 64));
    assert_eq!(passed.recorder.counted().len(), ruleset::packet::COUNTED);
}
