//! Packets written down byte by byte, with right lengths and checksums, for tests to spoil.
#![allow(dead_code, unreachable_pub)] // each test binary uses some

use packet::{ChecksumStatus, RxMeta, checksum};

pub const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
pub const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
pub const BROADCAST: [u8; 6] = [0xff; 6];
pub const A4: [u8; 4] = [192, 0, 2, 1];
pub const B4: [u8; 4] = [198, 51, 100, 2];
pub const A6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub const B6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

pub const BAD_IP: RxMeta = RxMeta {
    ip_checksum: ChecksumStatus::Bad,
    l4_checksum: ChecksumStatus::Unknown,
    vlan_tci: None,
    rss_hash: None,
};
pub const GOOD_IP: RxMeta = RxMeta { ip_checksum: ChecksumStatus::Good, ..BAD_IP };
pub const BAD_L4: RxMeta = RxMeta {
    ip_checksum: ChecksumStatus::Unknown,
    l4_checksum: ChecksumStatus::Bad,
    vlan_tci: None,
    rss_hash: None,
};

/// An Ethernet frame to `MAC_B`; a short one is not padded.
pub fn eth(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    eth_to(MAC_B, ethertype, payload)
}

pub fn eth_to(dst: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&dst[..], &MAC_A, &ethertype.to_be_bytes(), payload].concat()
}

/// What follows an EtherType that announces a tag.
pub fn tag(tci: u16, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&tci.to_be_bytes()[..], &ethertype.to_be_bytes(), payload].concat()
}

/// An IPv4 packet, its fields to be changed before `build`.
#[derive(Clone)]
pub struct Ip4 {
    pub src: [u8; 4],
    pub dst: [u8; 4],
    pub protocol: u8,
    /// Flags and offset in units of 8 bytes.
    pub fragment: u16,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Ip4 {
    pub fn new(protocol: u8, payload: &[u8]) -> Self {
        Self { src: A4, dst: B4, protocol, fragment: 0, options: vec![], payload: payload.to_vec() }
    }

    pub fn packet(&self) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let total = (header_len + self.payload.len()) as u16;
        let mut bytes = vec![0x40 | (header_len / 4) as u8, 0x10];
        bytes.extend(total.to_be_bytes());
        bytes.extend([0x12, 0x34]);
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([64, self.protocol, 0, 0]);
        bytes.extend(self.src);
        bytes.extend(self.dst);
        bytes.extend(&self.options);
        fix_ip4(&mut bytes);
        bytes.extend(&self.payload);
        bytes
    }

    pub fn frame(&self) -> Vec<u8> {
        eth(0x0800, &self.packet())
    }
}

/// Puts the right header checksum into an IPv4 packet.
pub fn fix_ip4(packet: &mut [u8]) {
    let len = (usize::from(packet[0] & 15) * 4).clamp(20, packet.len());
    packet[10..12].fill(0);
    let checksum = checksum::of(&packet[..len]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// An IPv6 packet, its fields to be changed before `build`.
#[derive(Clone)]
pub struct Ip6 {
    pub src: [u8; 16],
    pub dst: [u8; 16],
    pub next: u8,
    pub payload: Vec<u8>,
}

impl Ip6 {
    pub fn new(next: u8, payload: &[u8]) -> Self {
        Self { src: A6, dst: B6, next, payload: payload.to_vec() }
    }

    pub fn packet(&self) -> Vec<u8> {
        let mut bytes = vec![0x6a, 0xb0, 0, 7];
        bytes.extend((self.payload.len() as u16).to_be_bytes());
        bytes.extend([self.next, 63]);
        bytes.extend(self.src);
        bytes.extend(self.dst);
        bytes.extend(&self.payload);
        bytes
    }

    pub fn frame(&self) -> Vec<u8> {
        eth(0x86dd, &self.packet())
    }
}

/// An extension header of `units + 1` times 8 bytes.
pub fn ext(next: u8, units: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![next, units, 1, 4];
    bytes.resize(8 * (usize::from(units) + 1), 0);
    bytes.extend(payload);
    bytes
}

/// A fragment header; `offset` in bytes, a multiple of 8.
pub fn frag6(next: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let field = offset | u16::from(more);
    [&[next, 0][..], &field.to_be_bytes(), &[0, 0, 0, 9], payload].concat()
}

pub fn udp(payload: &[u8]) -> Vec<u8> {
    udp_len((payload.len() + 8) as u16, payload)
}

/// UDP with a length of its own.
pub fn udp_len(len: u16, payload: &[u8]) -> Vec<u8> {
    [&[0x30, 0x39, 0, 53][..], &len.to_be_bytes(), &[0, 0], payload].concat()
}

pub fn tcp(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0, 0, 0, 0, 0];
    bytes.extend(payload);
    bytes
}

pub fn echo() -> Vec<u8> {
    vec![8, 0, 0, 0, 0xab, 0xcd, 0, 1, 1, 2, 3]
}

pub fn echo6() -> Vec<u8> {
    vec![128, 0, 0, 0, 0xab, 0xcd, 0, 1, 1, 2, 3]
}

pub fn sctp() -> Vec<u8> {
    vec![0x0b, 0x59, 0x0b, 0x5a, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 4]
}

pub fn gre() -> Vec<u8> {
    vec![0xb0, 0, 8, 0, 1, 1, 0, 0, 2, 2, 2, 2, 3, 3, 3, 3, 9]
}

pub fn pptp() -> Vec<u8> {
    vec![0x30, 0x81, 0x88, 0x0b, 0, 1, 0x77, 0x88, 0, 0, 0, 1, 0, 0, 0, 2, 9]
}

pub fn arp() -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, 1];
    bytes.extend(MAC_A);
    bytes.extend(A4);
    bytes.extend([0; 6]);
    bytes.extend(B4);
    bytes
}

/// One good frame of every kind that the parser knows, with a name.
pub fn good_frames() -> Vec<(&'static str, Vec<u8>)> {
    // As AH's length counts units of 4 bytes, less two, a 2 makes 16 bytes.
    let ah = [&[17, 2][..], &[0; 14], &udp(b"end")].concat();
    let chain = ext(60, 0, &ext(43, 1, &ext(44, 0, &frag6(51, 0, false, &ah))));
    let with_options =
        Ip4 { options: vec![1, 7, 7, 4, 1, 2, 3, 4, 148, 4, 0, 0], ..Ip4::new(17, &udp(b"hi")) };
    let first = Ip4 { fragment: 0x2000, ..Ip4::new(17, &udp_len(1000, &[7; 16])) };
    let later = Ip4 { fragment: 0x0003, ..Ip4::new(17, &[1, 2, 3]) };
    vec![
        ("udp4", Ip4::new(17, &udp(b"hello")).frame()),
        ("tcp4", Ip4::new(6, &tcp(b"GET")).frame()),
        (
            "tcp4_options",
            Ip4::new(6, &{
                let mut bytes = tcp(&[2, 4, 5, 0xb4]);
                bytes[12] = 0x60;
                bytes
            })
            .frame(),
        ),
        ("icmp4", Ip4::new(1, &echo()).frame()),
        ("sctp4", Ip4::new(132, &sctp()).frame()),
        ("gre4", Ip4::new(47, &gre()).frame()),
        ("pptp4", Ip4::new(47, &pptp()).frame()),
        ("other4", Ip4::new(89, &[1; 30]).frame()),
        ("options4", with_options.frame()),
        ("first4", first.frame()),
        ("later4", later.frame()),
        ("udp6", Ip6::new(17, &udp(b"hello")).frame()),
        ("tcp6", Ip6::new(6, &tcp(b"GET")).frame()),
        ("icmp6", Ip6::new(58, &echo6()).frame()),
        (
            "chain6",
            Ip6::new(0, &[ext(60, 0, &[]), ext(43, 0, &[]), ext(6, 1, &tcp(b"x"))].concat())
                .frame(),
        ),
        ("ah6", Ip6::new(0, &chain).frame()),
        ("esp6", Ip6::new(60, &ext(50, 0, &[1; 20])).frame()),
        ("nothing6", Ip6::new(59, &[]).frame()),
        ("first6", Ip6::new(44, &frag6(17, 0, true, &udp_len(2000, &[7; 8]))).frame()),
        ("later6", Ip6::new(44, &frag6(17, 64, false, &[7; 5])).frame()),
        ("atomic6", Ip6::new(44, &frag6(17, 0, false, &udp(b"x"))).frame()),
        ("arp", eth_to(BROADCAST, 0x0806, &arp())),
        ("vlan", eth(0x8100, &tag(0x2005, 0x0800, &Ip4::new(17, &udp(b"v")).packet()))),
        ("qinq", eth(0x88a8, &tag(7, 0x8100, &tag(8, 0x86dd, &Ip6::new(6, &tcp(b"q")).packet())))),
        ("lldp", eth_to([1, 0x80, 0xc2, 0, 0, 0xe], 0x88cc, &[2, 7, 4, 1, 2, 3, 4, 5, 6])),
    ]
}
