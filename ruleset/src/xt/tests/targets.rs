//! Targets of iptables, ip6tables and arptables.

use super::*;

pub(super) fn on_packets() {
    let frame = ipv4(6, &tcp(2));
    let goes_on = |name: &str, fields: &[(usize, &[u8])]| {
        let came = target(name, V4, fields, &frame);
        assert_eq!(came.verdict, Verdict::Continue, "{name}");
        came
    };
    assert_eq!(goes_on("MARK", &[(0, &nn(5)), (4, &nn(0xf))]).meta.mark, 5);
    assert_eq!(goes_on("CLASSIFY", &[(0, &nn(0x10002))]).meta.priority, 0x10002);
    assert!(goes_on("NOTRACK", &[]).meta.untracked && goes_on("CT", &[(0, &n(1))]).meta.untracked);
    assert!(goes_on("TRACE", &[]).meta.trace);
    let logged = goes_on("LOG", &[(0, &[6, 3]), (2, b"seen: ")]).logged;
    assert_eq!(logged, [("seen: ".to_owned(), 6, 3)]);
    for (name, fields) in [("AUDIT", &[][..]), ("CHECKSUM", &[(0, &[1][..])])] {
        assert_eq!(goes_on(name, fields).bytes, frame);
    }
    let dup = goes_on("TEE", &[(0, &[192, 0, 2, 9])]).effects.dups;
    assert!(matches!(dup[..], [SendTo { iface: None, addr: Some((V4, [192, 0, 2, 9, ..])) }]));

    let changed = |name: &str, fields: &[(usize, &[u8])], at: usize, to: &[u8]| {
        let bytes = goes_on(name, fields).bytes;
        assert_eq!(&bytes[at..at + to.len()], to, "{name}");
        assert!(is_right(&bytes), "{name}: a checksum is wrong");
    };
    changed("TOS", &[(0, &[0x10, 0xff])], 15, &[0x10]);
    changed("DSCP", &[(0, &[10])], 15, &[0x28]);
    changed("TTL", &[(0, &[2, 60])], 22, &[4]);
    changed("TTL", &[(0, &[1, 255])], 22, &[255]);
    changed("ECN", &[(0, &[1, 2])], 15, &[0xba]);
    changed("ECN", &[(0, &[0x10, 0, 1])], 47, &[0x42]);
    let mut later = frame.clone();
    later[20..26].copy_from_slice(&[0, 16, 64, 6, 0, 0]);
    let sum = packet::checksum::of(&later[14..34]);
    later[24..26].copy_from_slice(&sum.to_be_bytes());
    let came = target("ECN", V4, &[(0, &[0x10, 0, 1])], &later);
    assert_eq!(came.bytes[47], 0x42, "also in a later fragment, as on Linux");
    changed("TCPMSS", &[(0, &n(1000))], 56, &1000u16.to_be_bytes());
    changed("TCPMSS", &[(0, &n(2000))], 56, &1460u16.to_be_bytes());
    changed("TCPMSS", &[(0, &n(0xffff))], 56, &1360u16.to_be_bytes());
    changed("TCPOPTSTRIP", &[(0, &nn(1 << 3))], 54, &[2, 4, 5, 0xb4, 1, 1, 1, 1]);
    let six = ipv6(6, &tcp(2));
    assert_eq!(target("HL", V6, &[(0, &[0, 9])], &six).bytes[21], 9);
    assert_eq!(target("TOS", V6, &[(0, &[0x10, 0xff])], &six).bytes[14..16], [0x61, 0]);
    let (inside, outside) = (&SRC6[..8], [0x20, 1, 0x0d, 0xb8, 0, 7, 0, 0]);
    for (name, at, addr) in [("SNPT", 22, SRC6), ("DNPT", 38, DST6)] {
        let bytes = target(name, V6, &[(0, inside), (16, &outside), (32, &[48, 48])], &six).bytes;
        let sum = |addr: &[u8]| packet::checksum::of(addr);
        assert_eq!(bytes[at..at + 6], outside[..6], "{name}");
        assert_eq!(sum(&bytes[at..at + 16]), sum(&addr), "{name}: checksums stay right");
    }

    let rejected = |family, with: u32, frame: &[u8]| {
        let came = target("REJECT", family, &[(0, &nn(with))], frame);
        assert_eq!(came.verdict, Verdict::Drop);
        came.effects.reject
    };
    assert_eq!(rejected(V4, 3, &frame), Some(RejectWith::Unreachable(3)));
    assert_eq!(rejected(V4, 8, &frame), Some(RejectWith::Unreachable(13)));
    assert_eq!(rejected(V4, 7, &frame), Some(RejectWith::TcpReset));
    assert_eq!(rejected(V6, 7, &six), Some(RejectWith::Unreachable(5)));
    let queued = target("NFQUEUE", V4, &[(0, &n(5)), (2, &n(4)), (4, &n(3))], &frame).verdict;
    assert_eq!(queued, Verdict::Queue(Queue { number: 8, bypass: true }), "by worker 3");
    assert_eq!(target("TPROXY", V4, &[], &frame).verdict, Verdict::Drop, "nobody listens");

    let question =
        [&[0xff; 6][..], &ETHER[6..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[9; 20]].concat();
    let fields: &[(usize, &[u8])] = &[(0, &[1; 6]), (36, &[3; 4]), (40, &[9]), (44, &nn(1))];
    let came = target("mangle", Family::Arp, fields, &question);
    assert_eq!(came.verdict, Verdict::Accept);
    assert_eq!(came.bytes[22..42], [1, 1, 1, 1, 1, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 3, 3, 3, 3]);
}
