//! Malformed frames on the wire: each dropped for its own reason, none a crash, none a leak.
//!
//! The client is behind a virtio port: with af_packet the kernel looks at frames before the daemon does, and af_xdp does not give
//! every frame back, so that a leak could not be told. The crate `packet` has exhaustive tests of the same reasons.

use crate::Result;
use serde_json::Value;
use std::{collections::HashMap, time::Duration};
use tests::{Daemon, Testpmd, Trio, addresses::SERVER, send_frames, wait_until};

const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x77];
const CLIENT: [u8; 4] = [192, 0, 2, 2];
const SERVER4: [u8; 4] = [198, 51, 100, 2];
const CLIENT_6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const SERVER_6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// The frame's maker: where it is sent from and to.
struct Maker {
    dst: [u8; 6],
}

impl Maker {
    fn frame(&self, dst: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
        [&dst[..], &[2, 0, 0, 0, 0, 1], &ethertype.to_be_bytes(), payload].concat()
    }

    fn eth(&self, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        self.frame(self.dst, ethertype, payload)
    }

    /// IPv4 as `change` leaves the header; the checksum is right for what it is before `spoil`.
    fn ip4(
        &self,
        protocol: u8,
        options: &[u8],
        payload: &[u8],
        change: impl Fn(&mut [u8]),
        spoil: impl Fn(&mut [u8]),
    ) -> Vec<u8> {
        let len = 20 + options.len();
        let mut header = vec![0x40 | (len / 4) as u8, 0];
        header.extend(((len + payload.len()) as u16).to_be_bytes());
        header.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
        header.extend(CLIENT);
        header.extend(SERVER4);
        header.extend(options);
        change(&mut header);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        spoil(&mut header);
        header.extend(payload);
        self.eth(0x0800, &header)
    }

    fn ip4_with(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        self.ip4(protocol, &[], payload, |_| {}, |_| {})
    }

    fn ip4_changed(&self, change: impl Fn(&mut [u8])) -> Vec<u8> {
        self.ip4(17, &[], &udp(), change, |_| {})
    }

    fn ip6(&self, next: u8, payload: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend((payload.len() as u16).to_be_bytes());
        header.extend([next, 64]);
        header.extend(CLIENT_6);
        header.extend(SERVER_6);
        change(&mut header);
        header.extend(payload);
        self.eth(0x86dd, &header)
    }

    fn ip6_with(&self, next: u8, payload: &[u8]) -> Vec<u8> {
        self.ip6(next, payload, |_| {})
    }
}

/// The Internet checksum (RFC 1071) of an even number of bytes whose checksum field is zero.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A UDP datagram to the discard port, without checksum.
fn udp() -> Vec<u8> {
    [&[0x80, 0, 0, 9, 0, 16, 0, 0][..], &[7; 8]].concat()
}

/// An extension header of eight bytes, all padding.
fn extension(next: u8) -> Vec<u8> {
    vec![next, 0, 1, 4, 0, 0, 0, 0]
}

/// Every reason that a frame on a wire can provoke by its form, with such a frame.
fn cases(maker: &Maker) -> Vec<(&'static str, Vec<u8>)> {
    let tag = |id: u16, inner: u16| [id.to_be_bytes(), inner.to_be_bytes()].concat();
    let good4 = maker.ip4_with(17, &udp());
    let tagged = |tags: &[u8]| maker.eth(0x8100, &[tags, &good4[14..]].concat());
    let mut arp = vec![0, 6, 8, 0, 6, 4, 0, 1];
    arp.extend([0; 20]);
    let nine = vec![9; 9];
    let mut fragment6 = vec![17, 0, 0, 1, 0, 0, 0, 1];
    fragment6.extend(&nine);
    let chain = |count: usize| {
        let mut chain: Vec<u8> = (1..count).flat_map(|_| extension(60)).collect();
        chain.extend(extension(17));
        chain.extend(udp());
        chain
    };
    let mut tcp = vec![0; 20];
    tcp[12] = 0x40;
    let udp_length = |length: u8| {
        let mut datagram = udp();
        datagram[5] = length;
        datagram
    };
    vec![
        // The vhost driver strips the tag, and leaves 12 bytes; `vlan_truncated` is what drivers that strip none come to.
        ("eth_truncated", maker.eth(0x8100, &[0, 100])),
        ("vlan_too_deep", tagged(&[tag(1, 0x8100), tag(2, 0x8100), tag(3, 0x0800)].concat())),
        ("ethertype_unknown", maker.eth(0x88b5, &[0; 46])),
        ("not_our_mac", maker.frame(OTHER_MAC, 0x0800, &good4[14..])),
        ("vlan_unknown", tagged(&tag(77, 0x0800))),
        ("arp_truncated", maker.eth(0x0806, &[0, 1, 8, 0, 6, 4, 0, 1, 0, 0])),
        ("arp_malformed", maker.eth(0x0806, &arp)),
        ("ip4_truncated", maker.eth(0x0800, &good4[14..24])),
        ("ip4_bad_version", maker.ip4_changed(|header| header[0] = 0x55)),
        ("ip4_bad_header_length", maker.ip4_changed(|header| header[0] = 0x44)),
        ("ip4_bad_total_length", maker.ip4_changed(|header| header[3] = 200)),
        ("ip4_bad_checksum", maker.ip4(17, &[], &udp(), |_| {}, |header| header[10] ^= 0x55)),
        ("ip4_bad_options", maker.ip4(17, &[7, 60, 4, 0], &udp(), |_| {}, |_| {})),
        (
            "ip4_source_route",
            maker.ip4(17, &[131, 7, 4, 203, 0, 113, 1, 0], &udp(), |_| {}, |_| {}),
        ),
        ("ip4_bad_fragment", maker.ip4(17, &[], &nine, |header| header[6] = 0x20, |_| {})),
        ("ip4_bad_source", maker.ip4_changed(|header| header[12] = 127)),
        ("ip4_bad_destination", maker.ip4_changed(|header| header[16] = 0)),
        ("ip6_truncated", maker.eth(0x86dd, &[0x60; 30])),
        ("ip6_bad_version", maker.ip6(17, &udp(), |header| header[0] = 0x40)),
        ("ip6_bad_payload_length", maker.ip6(17, &udp(), |header| header[5] = 200)),
        ("ip6_ext_truncated", maker.ip6_with(0, &[17, 0, 1, 0])),
        ("ip6_ext_too_many", maker.ip6_with(60, &chain(9))),
        ("ip6_ext_order", maker.ip6_with(60, &[extension(0), extension(17), udp()].concat())),
        (
            "ip6_routing_header",
            maker.ip6_with(43, &[vec![17, 0, 0, 0, 0, 0, 0, 0], udp()].concat()),
        ),
        ("ip6_bad_fragment", maker.ip6_with(44, &fragment6)),
        ("ip6_bad_source", maker.ip6(17, &udp(), |header| header[8] = 0xff)),
        (
            "ip6_bad_destination",
            maker.ip6(17, &udp(), |header| {
                header[24..39].fill(0);
                header[39] = 1;
            }),
        ),
        ("ip6_scope", maker.ip6(17, &udp(), |header| header[8..10].copy_from_slice(&[0xfe, 0x80]))),
        ("tcp_truncated", maker.ip4_with(6, &[0; 10])),
        ("tcp_bad_offset", maker.ip4_with(6, &tcp)),
        ("udp_truncated", maker.ip4_with(17, &[0; 4])),
        ("udp_bad_length", maker.ip4_with(17, &udp_length(7))),
        ("udp_bad_length", maker.ip6_with(17, &udp_length(200))),
        ("icmp_truncated", maker.ip4_with(1, &[8, 0])),
        ("icmp6_truncated", maker.ip6_with(58, &[128, 0])),
        ("sctp_truncated", maker.ip4_with(132, &[0; 6])),
        ("gre_truncated", maker.ip4_with(47, &[0, 0])),
        ("gre_malformed", maker.ip4_with(47, &[0, 7, 8, 0, 0, 0, 0, 0])),
        ("l2_broadcast", maker.frame([0xff; 6], 0x0800, &good4[14..])),
        ("ttl_expired", maker.ip4_changed(|header| header[8] = 1)),
    ]
}

/// Every reason's count.
fn counts(daemon: &Daemon) -> Result<HashMap<String, u64>> {
    let answer = daemon.json("drops")?;
    let drops = answer.get("drops").and_then(Value::as_array).cloned().unwrap_or_default();
    let count = |drop: &Value| {
        Some((drop.get("reason")?.as_str()?.to_owned(), drop.get("packets")?.as_u64()?))
    };
    Ok(drops.iter().filter_map(count).collect())
}

fn lab() -> Result<(Trio, Testpmd, Maker)> {
    let (trio, endpoint) = crate::virtio::vhost()?;
    let mac = trio.router.sh("cat /sys/class/net/lan/address")?.0;
    let mut dst = [0; 6];
    for (byte, text) in dst.iter_mut().zip(mac.trim().split(':')) {
        *byte = u8::from_str_radix(text, 16).unwrap();
    }
    Ok((trio, endpoint, Maker { dst }))
}

#[test]
fn each_kind_of_malformed_frame_has_its_own_reason() -> Result {
    const TIMES: usize = 3;
    let (trio, _endpoint, maker) = lab()?;
    let cases = cases(&maker);
    let before = counts(&trio.daemon)?;
    let mut expected: HashMap<&str, u64> = HashMap::new();
    for (reason, frame) in &cases {
        *expected.entry(reason).or_default() += TIMES as u64;
        send_frames(&trio.client, "eth0", &vec![frame.clone(); TIMES])?;
    }
    let mut wrong = Vec::new();
    let outcome = wait_until("every drop to be counted", Duration::from_secs(5), || {
        let now = counts(&trio.daemon)?;
        wrong = expected
            .iter()
            .map(|(reason, count)| {
                let was = before.get(*reason).copied().unwrap_or(0);
                (*reason, now.get(*reason).copied().unwrap_or(0) - was, *count)
            })
            .filter(|(_, got, wanted)| got != wanted)
            .collect();
        Ok(wrong.is_empty())
    });
    assert!(outcome.is_ok(), "reason, counted, sent: {wrong:?}\n{:?}", counts(&trio.daemon)?);
    trio.client.sh(&format!("ping -n -c 3 -i 0.1 -W 2 {SERVER}"))?;
    trio.daemon.stop().map(|_| ())
}

#[test]
fn frames_cut_at_every_byte_crash_nothing_and_leak_nothing() -> Result {
    let (trio, _endpoint, maker) = lab()?;
    let options = maker.ip4(17, &[7, 7, 4, 0, 0, 0, 0, 0], &udp(), |_| {}, |_| {});
    let mut whole: Vec<Vec<u8>> = cases(&maker).into_iter().map(|(_, frame)| frame).collect();
    whole.extend([
        maker.ip4_with(
            6,
            &[
                &[0x80, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x80, 2, 0xff, 0xff, 0, 0, 0, 0][..],
                &[1; 12],
            ]
            .concat(),
        ),
        maker.ip4_with(132, &[0; 12]),
        maker.ip4_with(47, &[0xb0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x45]),
        maker.ip6_with(0, &[extension(43), extension(60), extension(17), udp()].concat()),
        maker.ip6_with(44, &[vec![17, 0, 0, 1, 0, 0, 0, 1], vec![9; 16]].concat()),
        maker.eth(0x88a8, &[&[0, 5, 0x81, 0, 0, 6, 8, 0][..], &options[14..]].concat()),
        options,
    ]);
    let mut frames = Vec::new();
    for frame in &whole {
        frames.extend((14..=frame.len()).map(|len| frame[..len].to_vec()));
        // One byte at a time turned over, too: lengths, versions, types.
        frames.extend((12..frame.len().min(60)).map(|at| {
            let mut frame = frame.clone();
            frame[at] ^= 0xff;
            frame
        }));
    }
    let received = |daemon: &Daemon| {
        let ports = daemon.json("ports")?;
        Ok::<_, tests::LabError>(
            ports.pointer("/ports/0/counters/rx_packets").and_then(Value::as_u64).unwrap_or(0),
        )
    };
    let before = received(&trio.daemon)?;
    send_frames(&trio.client, "eth0", &frames)?;
    let sent = frames.len() as u64;
    wait_until("the daemon to have seen every frame", Duration::from_secs(10), || {
        Ok(received(&trio.daemon)? >= before + sent)
    })?;
    trio.client.sh(&format!("ping -n -c 3 -i 0.1 -W 2 {SERVER}"))?;
    trio.daemon.stop().map(|_| ())
}
