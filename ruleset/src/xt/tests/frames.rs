//! Matches and targets of ebtables.

use super::*;

pub(super) fn on_frames() {
    const BRIDGE: Family = Family::Bridge;
    const ON: [u8; 4] = (-3i32).to_ne_bytes();
    let (four, six) = (ipv4(6, &tcp(2)), ipv6(6, &tcp(2)));
    let ip = |bits: u8, not: u8, fields: &[(usize, &[u8])]| {
        let bits = [bits, not];
        means("ip", BRIDGE, &[&[(18, &bits[..])], fields].concat(), &four)
    };
    assert!(ip(1, 0, &[(0, &[198, 51, 100, 0]), (8, &[255, 255, 255, 0])]));
    assert!(!ip(2, 0, &[(4, &[198, 51, 100, 0]), (12, &[255, 255, 255, 0])]));
    assert!(
        ip(0x28, 0, &[(17, &[6]), (24, &r(80, 80))])
            && !ip(0x28, 0x20, &[(17, &[6]), (24, &r(80, 80))])
    );
    assert!(ip(4, 0, &[(16, &[0xb8])]));
    let ip6 = |bits: u8, fields: &[(usize, &[u8])]| {
        let bits = [bits];
        means("ip6", BRIDGE, &[&[(66, &bits[..])], fields].concat(), &six)
    };
    assert!(ip6(1, &[(0, &SRC6), (32, &[0xff; 16])]) && !ip6(2, &[(16, &SRC6), (48, &[0xff; 16])]));
    assert!(ip6(0x18, &[(65, &[6]), (68, &r(1000, 1000))]) && !ip6(8, &[(65, &[17])]));
    let question = [
        &ETHER[..],
        &[
            8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 9, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0,
            0, 2,
        ],
    ]
    .concat();
    let arp = |bits: u8, fields: &[(usize, &[u8])]| {
        let bits = [bits];
        means("arp", BRIDGE, &[&[(48, &bits[..])], fields].concat(), &question)
    };
    assert!(arp(1, &[(4, &[0, 1])]) && !arp(1, &[(4, &[0, 2])]) && !arp(0x80, &[]));
    assert!(arp(0x10, &[(16, &[10, 0, 0, 2]), (20, &[255; 4])]));
    assert!(arp(0x20, &[(24, &[2, 0, 0, 0, 0, 9]), (30, &[255; 6])]));
    let mut tagged = four.clone();
    tagged.splice(12..12, [0x81, 0, 0x60, 5]);
    let vlan = |fields: &[(usize, &[u8])]| means("vlan", BRIDGE, fields, &tagged);
    assert!(vlan(&[(0, &n(5)), (6, &[1])]) && !vlan(&[(0, &n(6)), (6, &[1])]));
    assert!(vlan(&[(2, &[3]), (6, &[2])]) && vlan(&[(4, &[8, 0]), (6, &[4])]));
    let snap = [&ETHER[..], &[0, 50, 0xaa, 0xaa, 3, 0, 0, 0, 0x88, 0xcc], &[0; 42]].concat();
    assert!(means("802_3", BRIDGE, &[(2, &[0x88, 0xcc]), (4, &[2])], &snap));
    assert!(!means("802_3", BRIDGE, &[(0, &[0x42]), (4, &[1])], &snap));
    let mut told = [&ETHER[..], &[0, 38, 0x42, 0x42, 3, 0, 0, 0, 7], &[0; 40]].concat();
    told[24] = 0x80;
    let stp = |bits: u16, fields: &[(usize, &[u8])]| {
        let bits = n(bits);
        means("stp", BRIDGE, &[&[(68, &bits[..])], fields].concat(), &told)
    };
    assert!(
        stp(2, &[(4, &[7])]) && !stp(2, &[(4, &[8])]) && stp(1, &[]) && !stp(1, &[(0, &[0x80])])
    );
    assert!(!stp(4, &[(6, &r(5, 6))]) && stp(4, &[(6, &r(0, 0xffff))]));
    assert!(means("pkttype", BRIDGE, &[], &four) && !means("pkttype", BRIDGE, &[(0, &[3])], &four));
    let mut marked = made(Role::Match, "mark_m", BRIDGE, &[(8, &nn(6)), (17, &[2])]);
    marked.mark = 4;
    assert_eq!(marked.on(&four).verdict, Verdict::Continue);

    let mark = target("mark", BRIDGE, &[(0, &nn(9)), (8, &(-3i32).to_ne_bytes())], &four);
    assert_eq!((mark.verdict, mark.meta.mark), (Verdict::Continue, 9));
    let mac = [2, 0, 0, 0, 9, 9];
    let came = target("dnat", BRIDGE, &[(0, &mac), (8, &ON)], &four);
    assert_eq!((came.verdict, &came.bytes[..6]), (Verdict::Continue, &mac[..]));
    let came = target("snat", BRIDGE, &[(0, &mac), (8, &(-3i32 & !0x10).to_ne_bytes())], &question);
    assert_eq!((&came.bytes[6..12], &came.bytes[22..28]), (&mac[..], &mac[..]), "also in ARP");
    let came = target("log", BRIDGE, &[(0, &[5]), (1, b"frame")], &four);
    assert_eq!(came.logged, [("frame".to_owned(), 5, 0x20)]);
}
