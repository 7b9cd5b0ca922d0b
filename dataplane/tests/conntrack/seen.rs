//! What can be seen of a frame that left: the packet's ends, and the connection state that the bed's rules wrote into it.

use std::net::IpAddr;

use packet::checksum;

use crate::names::{self, End};

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) protocol: u8,
    pub(crate) ends: [End; 2],
    /// In the words of scripts.
    pub(crate) state: &'static str,
    /// ICMP's kind.
    pub(crate) kind: Option<String>,
}

/// States, by what the rules write into the DSCP.
pub(crate) const STATES: &[(u8, &str, &str)] = &[
    (1, "new", "ct state new"),
    (2, "est", "ct state established ct direction original"),
    (3, "reply", "ct state established ct direction reply"),
    (4, "rel", "ct state related ct direction original"),
    (5, "rel-reply", "ct state related ct direction reply"),
    (6, "invalid", "ct state invalid"),
    (7, "untracked", "ct state untracked"),
];

/// The rules that write them: at the end of the way, of forwarded packets and of those for the node itself. With `show`, the
/// latter go out by tap1, too, to a MAC address of their own: 02:00:00:00:01:63.
pub(crate) fn rules(show: bool) -> String {
    let mut text = String::new();
    for (family, header, show_to) in [("ip", "ip", "10.0.1.99"), ("ip6", "ip6", "fd00:1::63")] {
        let mut marks = String::new();
        for (value, _, state) in STATES {
            marks += &format!("{state} {header} dscp set {value} return\n");
        }
        let shown = format!("rt nexthop {show_to} return");
        let shows = if show {
            format!("meta mark set 0xd0b dup to {show_to} device tap1")
        } else {
            String::new()
        };
        text += &format!(
            "table {family} probe {{\nchain told {{\n{marks}}}\n\
             chain post {{\ntype filter hook postrouting priority 300;\n{shown}\njump told\n}}\n\
             chain in {{\ntype filter hook input priority 300;\njump told\n{shows}\n}}\n}}\n",
            shown = if show { shown } else { String::new() },
        );
    }
    text
}

/// Reads a frame; `None` where it is no IP packet.
pub(crate) fn read(frame: &[u8]) -> Option<Seen> {
    let packet = frame.get(14..)?;
    let (addrs, protocol, tos, body, later): ([IpAddr; 2], _, _, _, _) = match frame.get(12..14)? {
        [8, 0] => {
            let addr = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<4>()?));
            let header = usize::from(packet.first()? & 15) * 4;
            let later = packet[6] & 0x1f != 0 || packet[7] != 0;
            ([addr(12)?, addr(16)?], packet[9], packet[1], packet.get(header..)?, later)
        }
        [0x86, 0xdd] => {
            let addr = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<16>()?));
            let tos = packet[0] << 4 | packet[1] >> 4;
            let body = packet.get(40..)?;
            let (protocol, body, later) = if packet[6] == 44 {
                (body[0], body.get(8..)?, body[2] != 0 || body[3] & 0xf8 != 0)
            } else {
                (packet[6], body, false)
            };
            ([addr(8)?, addr(24)?], protocol, tos, body, later)
        }
        _ => return None,
    };
    let number = |at: usize| Some(u16::from_be_bytes(*body.get(at..)?.first_chunk()?));
    let (mut ports, mut kind) = ([None, None], None);
    match protocol {
        _ if later => {}
        6 | 17 | 132 | 136 => ports = [number(0), number(2)],
        1 | 58 => {
            let six = protocol == 58;
            kind = Some(names::icmp_name(*body.first()?, *body.get(1)?, six));
            match (six, body[0]) {
                (false, 8 | 13 | 15 | 17) | (true, 128) => ports[0] = number(4),
                (false, 0 | 14 | 16 | 18) | (true, 129) => ports[1] = number(4),
                _ => {}
            }
        }
        _ => {}
    }
    let end = |n: usize| End { addr: addrs[n], port: ports[n] };
    let state = STATES.iter().find(|(value, ..)| *value == tos >> 2);
    let state = state.map_or("none", |(_, name, _)| name);
    Some(Seen { protocol, ends: [end(0), end(1)], state, kind })
}

impl Seen {
    /// Whether both are the same, but for ports that each has from its packet as it was sent (`sent`), or that neither has from
    /// there, nor from a rule.
    pub(crate) fn chose_as(&self, other: &Self, sent: [&[End; 2]; 2]) -> bool {
        let same = |n: usize| {
            let ports = [self, other].map(|seen| seen.ends[n].port);
            let kept = [0, 1].map(|side| ports[side] == sent[side][n].port);
            let ruled =
                ports.map(|port| port.is_some_and(|port| crate::random::PORTS.contains(&port)));
            ports[0] == ports[1] || kept == [true; 2] || (kept == [false; 2] && ruled == [false; 2])
        };
        let plain = |seen: &Self| {
            let mut plain = seen.clone();
            plain.ends.iter_mut().for_each(|end| end.port = None);
            plain
        };
        same(0) && same(1) && plain(self) == plain(other)
    }

    /// Whether it is about another packet.
    pub(crate) fn is_error(&self) -> bool {
        self.kind
            .as_ref()
            .and_then(|kind| names::icmp(kind, self.protocol == 58))
            .is_some_and(|(kind, _)| names::is_error(kind, self.protocol == 58))
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [src, dst] = self.ends;
        let kind = self.kind.as_deref().unwrap_or("");
        write!(f, "{} {src} > {dst} {kind} [{}]", self.protocol, self.state)
    }
}

/// A frame without what each side counts for itself: the identification of packets that it makes, and IPv6 fragments.
pub(crate) fn plain(frame: &[u8]) -> Vec<u8> {
    let mut plain = frame.to_vec();
    let answer = read(frame).is_some_and(|seen| seen.is_error());
    match plain.get(12..14) {
        Some([8, 0]) if answer => {
            let old = u16::from_be_bytes([plain[18], plain[19]]);
            let sum = u16::from_be_bytes([plain[24], plain[25]]);
            plain[18..20].fill(0);
            plain[24..26].copy_from_slice(&checksum::update_u16(sum, old, 0).to_be_bytes());
        }
        Some([0x86, 0xdd]) if plain[20] == 44 => plain[58..62].fill(0),
        _ => {}
    }
    plain
}

/// Whether a frame is a fragment without the transport header.
pub(crate) fn is_later_fragment(frame: &[u8]) -> bool {
    match frame[12..14] {
        [8, 0] => u16::from_be_bytes([frame[20], frame[21]]) & 0x1fff != 0,
        [0x86, 0xdd] if frame[20] == 44 => u16::from_be_bytes([frame[56], frame[57]]) & !7 != 0,
        _ => false,
    }
}
