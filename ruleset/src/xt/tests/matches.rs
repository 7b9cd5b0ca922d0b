//! Matches of iptables and ip6tables.

use super::*;

pub(super) fn of_transports() {
    let syn = ipv4(6, &tcp(2));
    let ports: &[(usize, &[u8])] = &[(0, ALL_PORTS), (4, &r(80, 81))];
    assert!(means("tcp", V4, ports, &syn));
    assert!(!means("tcp", V4, &[(0, ALL_PORTS), (4, &r(81, 90))], &syn));
    let any: (usize, &[u8]) = (0, &[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    assert!(means("tcp", V4, &[any, (9, &[0x12, 2])], &syn), "SYN without ACK");
    assert!(!means("tcp", V4, &[any, (9, &[0x12, 2, 4])], &syn), "inverted");
    assert!(means("tcp", V4, &[any, (8, &[3])], &syn), "window scale");
    assert!(!means("tcp", V4, &[any, (8, &[8])], &syn), "timestamps");
    let datagram = ipv4(17, &[0, 53, 0x30, 0x39, 0, 8, 0, 0]);
    assert!(means("udp", V4, &[(0, &r(53, 53)), (4, ALL_PORTS)], &datagram));
    assert!(!means("udp", V4, &[(0, &r(53, 53)), (4, ALL_PORTS), (8, &[1])], &datagram));
    let lite = ipv6(136, &[0, 53, 0x30, 0x39, 0, 8, 0, 0]);
    assert!(means("udplite", V6, &[(0, &r(53, 53)), (4, ALL_PORTS)], &lite));

    let list: &[(usize, &[u8])] = &[(0, &[2, 3]), (2, &[n(22), n(70), n(90)].concat()), (33, &[1])];
    assert!(means("multiport", V4, list, &syn), "80 is between 70 and 90");
    assert!(!means("multiport", V4, &[(0, &[0, 1]), (2, &n(80))], &syn), "the source is not 80");

    let chunks = [0u8, 80, 0, 90, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 8, 0, 0, 0, 0, 3, 0, 0, 4];
    let sctp = ipv4(132, &chunks);
    let of = |which: u32, types: u32| {
        let (types, which, flags) = (nn(types), nn(which), nn(4));
        means("sctp", V4, &[(8, &types), (264, &which), (284, &flags)], &sctp)
    };
    let (init, sack, data) = (1 << 1, 1 << 3, 1);
    assert!(of(1, init) && !of(1, data), "any");
    assert!(of(2, init | sack) && !of(2, init | data), "all");
    assert!(of(4, init | sack | data) && !of(4, init), "only");

    let request = [0, 80, 0, 90, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 32, 0, 0];
    let dccp = ipv4(33, &request);
    assert!(means("dccp", V4, &[(8, &n(4)), (12, &n(1))], &dccp), "a request");
    assert!(!means("dccp", V4, &[(8, &n(4)), (12, &n(2))], &dccp), "no response");
    assert!(means("dccp", V4, &[(8, &n(8)), (14, &[32])], &dccp), "an option");

    let echo = ipv4(1, &[8, 0, 0, 0, 0, 1, 0, 1]);
    assert!(means("icmp", V4, &[(0, &[8, 0, 0xff])], &echo));
    assert!(!means("icmp", V4, &[(0, &[8, 1, 0xff])], &echo));
    assert!(means("icmp", V4, &[(0, &[0xff, 0, 0])], &echo), "any");
    let echo = ipv6(58, &[128, 0, 0, 0, 0, 1, 0, 1]);
    assert!(means("icmp6", V6, &[(0, &[128, 0, 0xff])], &echo));
    assert!(!means("icmp6", V6, &[(0, &[128, 0, 0xff, 1])], &echo));

    let mss = |from, to, not: u8| means("tcpmss", V4, &[(0, &r(from, to)), (4, &[not])], &syn);
    assert!(mss(1000, 1460, 0) && !mss(0, 1000, 0) && mss(0, 1000, 1));
    let ecn = |asked: u8, inverted: u8, flags: u8| {
        means("ecn", V4, &[(0, &[asked, inverted])], &ipv4(6, &tcp(flags)))
    };
    assert!(ecn(0x10, 0, 0x40) && !ecn(0x10, 0, 0x80) && ecn(0x20, 0, 0x80) && ecn(0x20, 0x20, 2));

    let (range, other) = ([nn(5), nn(9)].concat(), [nn(10), nn(19)].concat());
    let payload = ipv4(50, &[0, 0, 0, 7, 0, 0, 0, 0]);
    assert!(means("esp", V4, &[(0, &range)], &payload));
    assert!(!means("esp", V4, &[(0, &other)], &payload));
    let header = ipv4(51, &[6, 1, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0]);
    assert!(means("ah", V4, &[(0, &range)], &header));
    assert!(!means("ah", V4, &[(0, &range), (8, &[1])], &header));
    let compressed = ipv4(108, &[6, 0, 0, 7]);
    assert!(means("ipcomp", V4, &[(0, &range)], &compressed));
    assert!(!means("ipcomp", V4, &[(0, &other)], &compressed));
    let mobile = ipv6(135, &[59, 0, 5, 0, 0, 0, 0, 0]);
    assert!(means("mh", V6, &[(0, &[4, 6])], &mobile));
    assert!(!means("mh", V6, &[(0, &[6, 7])], &mobile));
    let forged = ipv6(135, &[&[6, 0, 5, 0, 0, 0, 0, 0][..], &tcp(2)].concat());
    let came = made(Role::Match, "mh", V6, &[(0, &[4, 6])]).on(&forged);
    assert_eq!(came.verdict, Verdict::Drop, "it must be the last header");
}

pub(super) fn of_ip() {
    let (four, six) = (ipv4(6, &tcp(2)), ipv6(6, &tcp(2)));
    assert!(means("length", V4, &[(0, &r(48, 48))], &four));
    assert!(!means("length", V6, &[(0, &r(28, 28))], &six));
    assert!(means("length", V6, &[(0, &r(68, 68))], &six), "with its header");
    for (name, family, frame) in [("ttl", V4, &four), ("hl", V6, &six)] {
        let is = |mode: u8, hops: u8| means(name, family, &[(0, &[mode, hops])], frame);
        assert!(is(0, 64) && is(1, 63) && is(2, 65) && is(3, 63) && !is(3, 64), "{name}");
    }
    for (family, frame) in [(V4, &four), (V6, &six)] {
        assert!(means("tos", family, &[(0, &[0xf0, 0xb0])], frame));
        assert!(!means("tos", family, &[(0, &[0xf0, 0xb0, 1])], frame));
        assert!(means("dscp", family, &[(0, &[46])], frame));
        assert!(!means("dscp", family, &[(0, &[45])], frame));
    }
    let range: &[u8] = &[198, 51, 100, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 198, 51, 100, 8];
    assert!(means("iprange", V4, &[(0, range), (64, &[1])], &four));
    assert!(!means("iprange", V4, &[(0, range), (64, &[0x11])], &four));
    let local = n(1 << 2);
    assert!(means("addrtype", V4, &[(2, &local)], &four), "the destination is ours");
    assert!(!means("addrtype", V4, &[(0, &local)], &four), "the source is not");
    assert!(means("addrtype", V6, &[(0, &n(1 << 1))], &six));
    assert!(!means("addrtype", V6, &[(0, &n(3 << 1))], &six), "of unicast and local, local counts");
    assert!(!means("addrtype", V6, &[(0, &n(1 << 7))], &six), "there is a way");
    assert!(means("rpfilter", V4, &[], &four) && !means("rpfilter", V4, &[(0, &[8])], &four));
    assert!(means("realm", V4, &[], &four) && !means("realm", V4, &[(0, &nn(1))], &four));
    let string = |text: &[u8], from: u16, to: u16, flags: u8| {
        let fields: &[(usize, &[u8])] =
            &[(0, &r(from, to)), (4, b"bm"), (20, text), (148, &[text.len() as u8, flags])];
        means("string", V4, fields, &ipv4(17, b"\0\x35\0\x35\0\x10\0\0some Text"))
    };
    assert!(
        string(b"Text", 0, 100, 0) && !string(b"text", 0, 100, 0) && string(b"text", 0, 100, 2)
    );
    assert!(
        !string(b"some", 29, 100, 0) && string(b"some", 28, 32, 0) && !string(b"some", 0, 31, 0)
    );
    // The destination port, found by way of the header's length: 0>>22&0x3C@0&0xFFFF=80.
    let steps = [(0u32, 0u8), (22, 2), (0x3c, 0), (0, 3), (0xffff, 0)];
    let steps: Vec<u8> = steps
        .iter()
        .flat_map(|(number, op)| [&nn(*number)[..], &[*op, 0, 0, 0]].concat())
        .collect();
    let words = |port: u32| {
        let value = [nn(port), nn(port)].concat();
        means("u32", V4, &[(0, &steps), (88, &value), (176, &[5, 1]), (1980, &[1])], &four)
    };
    assert!(words(80) && !words(81));
}

pub(super) fn of_ipv6_headers() {
    let ids = [nn(0), nn(9)].concat();
    let fragment = |offset: u16, id: u8| {
        let offset = offset.to_be_bytes();
        ipv6(44, &[&[6, 0][..], &offset, &[0, 0, 0, id], &tcp(2), &[0; 4]].concat())
    };
    assert!(means("frag", V6, &[(0, &ids), (12, &[8])], &fragment(1, 7)), "the first");
    assert!(!means("frag", V6, &[(0, &ids), (12, &[8])], &fragment(9, 7)), "the second");
    assert!(!means("frag", V6, &[(0, &ids)], &fragment(1, 10)));
    let hop = ipv6(0, &[&[6, 0, 5, 2, 0, 0, 1, 0][..], &tcp(2)].concat());
    let options: &[(usize, &[u8])] = &[(0, &nn(8)), (4, &[3]), (6, &n(0x0502)), (38, &[1])];
    assert!(means("hbh", V6, options, &hop) && !means("hbh", V6, &[(0, &nn(16)), (4, &[1])], &hop));
    assert!(!means("hbh", V6, &[(4, &[2]), (6, &n(0x06ff)), (38, &[1])], &hop));
    let dst = ipv6(60, &[&[6, 0, 1, 4, 0, 0, 0, 0][..], &tcp(2)].concat());
    assert!(means("dst", V6, &[(4, &[2]), (6, &n(0x01ff)), (38, &[1])], &dst));
    assert!(!means("dst", V6, &[], &hop));
    assert!(means("ipv6header", V6, &[(0, &[0x81])], &hop));
    assert!(!means("ipv6header", V6, &[(0, &[0x80])], &hop), "not alone");
    assert!(means("ipv6header", V6, &[(0, &[0x80, 0, 1])], &hop), "but among others");
    let routing = ipv6(43, &[&[6, 2, 4, 1, 1, 0, 0, 9][..], &DST6, &tcp(2)].concat());
    let left = [nn(1), nn(1)].concat();
    assert!(means("rt", V6, &[(0, &nn(4)), (4, &left), (16, &[3])], &routing));
    assert!(!means("rt", V6, &[(0, &nn(0)), (4, &left), (16, &[1])], &routing));
    let segments = |flags: u16, fields: &[(usize, &[u8])]| {
        let flags = n(flags);
        let fields = [&[(104, &flags[..])], fields].concat();
        means("srh", V6, &fields, &routing)
    };
    assert!(segments(1, &[(0, &[6])]) && !segments(1, &[(0, &[17])]));
    assert!(
        segments(0x10, &[(2, &[1])])
            && segments(0x40, &[(2, &[2])])
            && segments(0x400, &[(4, &[0, 9])])
    );
    let mask: (usize, &[u8]) = (88, &[0xff; 16]);
    assert!(segments(0x2000, &[(40, &DST6), mask]) && !segments(0x2000, &[(40, &SRC6), mask]));
    let header =
        ipv6(51, &[&[6, 2, 0, 0, 0, 0, 1, 5, 0, 0, 0, 1, 9, 9, 9, 9][..], &tcp(2)].concat());
    let spi = |from, to| means("ah", V6, &[(0, &[nn(from), nn(to)].concat())], &header);
    assert!(spi(0x105, 0x105) && !spi(0, 9));
    assert!(means("eui64", V6, &[], &ipv6(6, &tcp(2))));
    let mut other = ipv6(6, &tcp(2));
    other[6] = 4;
    assert!(!means("eui64", V6, &[], &other));
}

pub(super) fn of_what_stands_beside() {
    let frame = ipv4(6, &tcp(2));
    assert!(means("comment", V4, &[], &frame));
    let mark = |mark: u32, mask: u32| {
        let mut tried = made(Role::Match, "mark", V4, &[(0, &nn(mark)), (4, &nn(mask))]);
        tried.mark = 0x17;
        tried.on(&frame).verdict == Verdict::Continue
    };
    assert!(mark(7, 0xf) && !mark(7, 0xff));
    let mac = [2, 0, 0, 0, 0, 9];
    assert!(means("mac", V4, &[(0, &mac)], &frame));
    assert!(!means("mac", V4, &[(0, &mac), (8, &nn(1))], &frame));
    assert!(means("pkttype", V4, &[], &frame) && !means("pkttype", V4, &[(0, &nn(1))], &frame));
    assert!(means("cpu", V4, &[(0, &nn(3))], &frame) && !means("cpu", V4, &[], &frame));
    let group =
        |group: u32| means("devgroup", V4, &[(0, &nn(1)), (4, &nn(group)), (8, &nn(15))], &frame);
    assert!(group(7) && group(0x17) && !group(8));
    let share = |share: u32| means("statistic", V4, &[(4, &nn(share))], &frame);
    assert!(share((1 << 30) + 1) && !share(1 << 30));
    let nth = made(Role::Match, "statistic", V4, &[(0, &n(1)), (4, &nn(2)), (12, &nn(2))]);
    let met: Vec<_> = (0..6).map(|_| nth.on(&frame).verdict == Verdict::Continue).collect();
    assert_eq!(met, [true, false, false, true, false, false]);
    let quota = made(Role::Match, "quota", V4, &[(8, &100u64.to_ne_bytes())]);
    let met: Vec<_> = (0..4).map(|_| quota.on(&frame).verdict == Verdict::Continue).collect();
    assert_eq!(met, [true, true, false, false], "packets of 48 bytes");
    for family in [V4, Family::Bridge] {
        let limit = made(Role::Match, "limit", family, &[(0, &nn(10_000)), (4, &nn(2))]);
        let met: Vec<_> = (0..3).map(|_| limit.on(&frame).verdict == Verdict::Continue).collect();
        assert_eq!(met, [true, true, false]);
    }
    // 2024-02-29 was a Thursday.
    let (day, second) = (19_782u64, 1_000_000_000);
    let time = |hour: u64, start: u32, stop: u32, days: u32, week: u8, flags: u8| {
        let hours = [nn(start * 3600), nn(stop * 3600)].concat();
        let fields: &[(usize, &[u8])] =
            &[(4, &nn(u32::MAX)), (8, &hours), (16, &nn(days)), (20, &[week, flags])];
        let mut tried = made(Role::Match, "time", V4, fields);
        tried.wall = (day * 86_400 + hour * 3600) * second;
        tried.on(&frame).verdict == Verdict::Continue
    };
    assert!(time(12, 9, 17, 1 << 29, 1 << 4, 0));
    assert!(!time(18, 9, 17, 1 << 29, 1 << 4, 0), "in the evening");
    assert!(!time(12, 9, 17, 1 << 1, 1 << 4, 0) && !time(12, 9, 17, u32::MAX - 1, 1 << 5, 0));
    assert!(time(1, 22, 3, u32::MAX - 1, 1 << 4, 0), "past midnight");
    assert!(time(1, 22, 3, u32::MAX - 1, 1 << 3, 2), "which counts as the day before");
}

pub(super) fn without_connections_or_sockets() {
    let frame = ipv4(6, &tcp(2));
    let state = |states: u16, not: u16| {
        means("conntrack", V4, &[(146, &n(1)), (148, &n(not)), (150, &n(states))], &frame)
    };
    assert!(state(1, 0) && !state(0x0e, 0) && state(0x0e, 1), "invalid");
    assert!(
        means("state", V4, &[(0, &nn(1))], &frame) && !means("state", V4, &[(0, &nn(6))], &frame)
    );
    assert!(!means("cgroup", V4, &[(1, &[1])], &frame));
    assert!(!means("socket", V4, &[], &frame) && !means("osf", V4, &[], &frame));
    assert!(
        !means("owner", V4, &[(16, &[1])], &frame) && means("owner", V4, &[(16, &[1, 1])], &frame)
    );
    assert!(!means("physdev", V4, &[(65, &[4])], &frame));
    assert!(means("physdev", V4, &[(64, &[4, 4])], &frame));
    assert!(
        means("policy", V4, &[(304, &n(5))], &frame)
            && !means("policy", V4, &[(304, &n(1))], &frame)
    );
}
