//! What is sent.

use super::*;

/// The parts that messages have in common, as captured.
const TCP_TUPLES: &str = "3400018014000180080001000101010108000200020202021c000280050001000600000006000200000a00000600030000140000\
    3400028014000180080001000202020208000200010101011c0002800500010006000000060002000014000006000300000a0000";
const UDP_ORIG: &str = "14000180080001000101010108000200020202021c000280050001001100000006000200000a00000600030000140000";
const UDP_REPLY: &str = "14000180080001000202020208000200010101011c0002800500010011000000060002000014000006000300000a0000";
const COUNTERS: &str = "1c0009800c00010000000000000000000c0002000000000000000000\
    1c000a800c00010000000000000000000c0002000000000000000000";
const START: &str = "100014800c0001000000000000000001";
const TIMES: &str = "1c0014800c00010000000000000000010c0002000000000000000002";
const ID: &str = "08000c0001020304";
const USE: &str = "08000b0000000001";
const TIMEOUT: &str = "0800070000000031";
const EVENT_TIME: &str = "0c001b000000000000000003";
const TCP_INFO: &str = "300004802c000180050001000300000005000200000000000500030000000000060004000a000000060005000a000000";

fn captured(parts: &[&str]) -> String {
    parts.concat().replace(' ', "")
}

#[test]
fn tcp_as_the_kernel_dumps_it() {
    let expected = captured(&[
        "02000000",
        TCP_TUPLES,
        "080003000000000e",
        "0800080000000007",
        ID,
        USE,
        TIMEOUT,
        TCP_INFO,
        COUNTERS,
        START,
    ]);
    assert_eq!(dumped(&tcp(7)), expected);
}

#[test]
fn zones_of_both_and_of_one_direction() {
    let udp = |zone: u16, back: u16| {
        let mut keys = keys(17, [10, 20], [20, 10]);
        keys[0].zone = zone.to_be_bytes();
        keys[1].zone = back.to_be_bytes();
        dumped(&flow(keys, 8))
    };
    let rest =
        captured(&["0800030000000008", "0800080000000000", ID, USE, TIMEOUT, COUNTERS, START]);
    let tuples = |orig: &str, reply: &str| format!("02000000{orig}{reply}{rest}");
    let (orig, reply) = (format!("34000180{UDP_ORIG}"), format!("34000280{UDP_REPLY}"));
    assert_eq!(udp(0, 0), tuples(&orig, &reply));
    assert_eq!(udp(3, 3), tuples(&orig, &format!("{reply}0600120000030000")));
    assert_eq!(udp(4, 0), tuples(&format!("3c000180{UDP_ORIG}0600030000040000"), &reply));
    assert_eq!(udp(0, 5), tuples(&orig, &format!("3c000280{UDP_REPLY}0600030000050000")));
}

#[test]
fn sctp_and_icmp_and_ipv6_and_what_has_no_ports() {
    let mut sctp = flow(keys(132, [10, 20], [20, 10]), 8);
    State::Sctp { state: 4, tags: [1, 2] }.store(&mut sctp.proto);
    assert!(
        dumped(&sctp).contains("200004801c000380050001000400000008000200000000010800030000000002")
    );

    let icmp = dumped(&flow(keys(1, [5, 0x0800], [5, 0]), 8));
    let orig = "3c000180140001800800010001010101080002000202020224000280050001000100000006000400000500000500050008000000\
        0500060000000000";
    assert!(icmp.contains(&captured(&[orig])), "{icmp}");

    let mut key = FlowKey { protocol: 58, family: 6, ..FlowKey::default() };
    key.src[15] = 1;
    key.dst[15] = 2;
    (key.sport, key.dport) = ([0, 5], [128, 0]);
    let back = FlowKey { src: key.dst, dst: key.src, dport: [129, 0], ..key };
    let expected = "0a000000540001802c0001801400030000000000000000000000000000000001140004000000000000000000000000000000\
        000224000280050001003a000000060007000005000005000800800000000500090000000000540002802c00018014000300000000000000\
        00000000000000000002140004000000000000000000000000000000000124000280050001003a0000000600070000050000050008008100\
        00000500090000000000";
    assert!(dumped(&flow([key, back], 8)).starts_with(&captured(&[expected])));

    let other = dumped(&flow(keys(99, [0; 2], [0; 2]), 8));
    let expected = "02000000 2400018014000180080001000101010108000200020202020c00028005000100630000002400028014000180080001\
        000202020208000200010101010c0002800500010063000000 0800030000000008";
    assert!(other.starts_with(&captured(&[expected])), "{other}");

    let gre = dumped(&flow(keys(47, [5, 6], [6, 5]), 8));
    let expected = "3400018014000180080001000101010108000200020202021c000280050001002f0000000600020000050000060003000006\
        0000";
    assert!(gre.contains(&captured(&[expected])), "{gre}");
}

#[test]
fn labels_stand_behind_times_and_only_where_one_is_set() {
    let mut flow = tcp(0);
    flow.labels = Some([0; 16]);
    let without = dumped(&flow);
    let mut labels = [0; 16];
    labels[0] = 0x20;
    flow.labels = Some(labels);
    assert_eq!(dumped(&flow), format!("{without}1400160020000000000000000000000000000000"));
}

#[test]
fn what_is_not_kept_is_not_told() {
    let mut flow = tcp(0);
    (flow.accounts, flow.start) = (None, None);
    let expected = captured(&[
        "02000000",
        TCP_TUPLES,
        "080003000000000e",
        "0800080000000000",
        ID,
        USE,
        TIMEOUT,
        TCP_INFO,
    ]);
    assert_eq!(dumped(&flow), expected);
}

#[test]
fn events_as_the_kernel_tells_them() {
    let made = event::NEW | event::REPLY | event::ASSURED | event::PROTOINFO | event::MARK;
    let expected = captured(&[
        "02000000",
        TCP_TUPLES,
        ID,
        "080003000000000e",
        TIMEOUT,
        TCP_INFO,
        "0800080000000007",
        EVENT_TIME,
    ]);
    assert_eq!(told(tcp(7), made), (0x100, 0x600, expected.clone()));
    assert_eq!(told(tcp(7), made & !event::NEW), (0x100, 0, expected));

    let mut ended = tcp(4);
    (ended.status, ended.stop) = (Status(0x60e), Some(Tick(2)));
    let expected = captured(&[
        "02000000",
        TCP_TUPLES,
        ID,
        "080003000000060e",
        TIMEOUT,
        COUNTERS,
        TIMES,
        "100004800c0001800500010003000000",
        "0800080000000004",
        EVENT_TIME,
    ]);
    assert_eq!(told(ended, event::DESTROY), (0x102, 0, expected));

    // A packet's own: no state where that did not change, no mark where there is none.
    let udp = flow(keys(17, [10, 20], [20, 10]), 8);
    let expected = captured(&[
        "0200000034000180",
        UDP_ORIG,
        "34000280",
        UDP_REPLY,
        ID,
        "0800030000000008",
        TIMEOUT,
        EVENT_TIME,
    ]);
    assert_eq!(told(udp, event::NEW), (0x100, 0x600, expected));
}
