//! Names in scripts: hosts, ports, kinds of messages.

use std::collections::HashMap;
use std::net::IpAddr;

/// Hosts by letter: a, c and e inside, b, d and f outside, x far away, r and m the node's own addresses inside and outside. With
/// a 6 behind: the same over IPv6.
const HOSTS: &[(&str, &str)] = &[
    ("a", "10.0.0.2"),
    ("c", "10.0.0.3"),
    ("e", "10.0.0.4"),
    ("r", "10.0.0.1"),
    ("b", "10.0.1.2"),
    ("d", "10.0.1.3"),
    ("f", "10.0.1.4"),
    ("m", "10.0.1.1"),
    ("x", "198.51.100.7"),
    ("a6", "fd00::2"),
    ("c6", "fd00::3"),
    ("e6", "fd00::4"),
    ("r6", "fd00::1"),
    ("b6", "fd00:1::2"),
    ("d6", "fd00:1::3"),
    ("f6", "fd00:1::4"),
    ("m6", "fd00:1::1"),
    ("x6", "2001:db8::7"),
];

/// Type and code.
type Kind = (u8, u8);

/// Kinds of ICMP messages, with type and code in ICMP, and in ICMPv6.
const ICMP: &[(&str, Option<Kind>, Option<Kind>)] = &[
    ("echo", Some((8, 0)), Some((128, 0))),
    ("reply", Some((0, 0)), Some((129, 0))),
    ("timestamp", Some((13, 0)), None),
    ("timestamp-reply", Some((14, 0)), None),
    ("info", Some((15, 0)), None),
    ("info-reply", Some((16, 0)), None),
    ("mask", Some((17, 0)), None),
    ("mask-reply", Some((18, 0)), None),
    ("router-solicitation", Some((10, 0)), Some((133, 0))),
    ("net-unreachable", Some((3, 0)), Some((1, 0))),
    ("host-unreachable", Some((3, 1)), Some((1, 3))),
    ("proto-unreachable", Some((3, 2)), None),
    ("port-unreachable", Some((3, 3)), Some((1, 4))),
    ("too-big", Some((3, 4)), Some((2, 0))),
    ("admin-prohibited", Some((3, 13)), Some((1, 1))),
    ("source-quench", Some((4, 0)), None),
    ("redirect", Some((5, 1)), None),
    ("time-exceeded", Some((11, 0)), Some((3, 0))),
    ("reassembly-time", Some((11, 1)), Some((3, 1))),
    ("parameter-problem", Some((12, 0)), Some((4, 0))),
    ("neighbour-solicitation", None, Some((135, 0))),
    ("neighbour-advertisement", None, Some((136, 0))),
    ("mld-report", None, Some((143, 0))),
    ("node-query", None, Some((139, 0))),
    ("node-reply", None, Some((140, 0))),
];

/// Protocols by the names that the kernel's listing has.
pub(crate) const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("icmpv6", 58),
    ("sctp", 132),
    ("udplite", 136),
];

/// A protocol by name or number.
pub(crate) fn protocol(name: &str) -> Option<u8> {
    let known = PROTOCOLS.iter().find(|(known, _)| *known == name);
    known.map(|(_, number)| *number).or_else(|| name.parse().ok())
}

/// Type and code of a kind of message.
pub(crate) fn icmp(name: &str, six: bool) -> Option<(u8, u8)> {
    if let Some((_, v4, v6)) = ICMP.iter().find(|(known, ..)| *known == name) {
        return if six { *v6 } else { *v4 };
    }
    let (kind, code) = name.strip_prefix("type=")?.split_once('/')?;
    Some((kind.parse().ok()?, code.parse().ok()?))
}

/// Whether messages of a type quote a packet.
pub(crate) fn is_error(kind: u8, six: bool) -> bool {
    if six { kind < 128 } else { matches!(kind, 3..=5 | 11 | 12) }
}

/// The kind's name, or type and code.
pub(crate) fn icmp_name(kind: u8, code: u8, six: bool) -> String {
    let same = |(_, v4, v6): &&(&str, _, _)| (if six { v6 } else { v4 }) == &Some((kind, code));
    ICMP.iter().find(same).map_or(format!("type={kind}/{code}"), |(name, ..)| (*name).into())
}

/// An address by name or in words.
pub(crate) fn host(name: &str) -> Option<IpAddr> {
    let known = HOSTS.iter().find(|(known, _)| *known == name);
    known.map_or(name, |(_, address)| address).parse().ok()
}

/// The shortest that stands for an address.
pub(crate) fn host_name(address: IpAddr) -> String {
    let text = address.to_string();
    let known = HOSTS.iter().find(|(_, known)| *known == text);
    known.map_or(text.clone(), |(name, _)| (*name).to_owned())
}

/// Numbers that a side chose, by the names that the script gives them.
pub(crate) type Vars = HashMap<String, u16>;

/// One end of a packet: an address, and a port where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct End {
    pub(crate) addr: IpAddr,
    pub(crate) port: Option<u16>,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = host_name(self.addr);
        match self.port {
            Some(port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Some(port) => write!(f, "{host}:{port}"),
            None => f.write_str(&host),
        }
    }
}

/// An end in words; with `seen`, a name for a port that has none yet is given to the one that was seen.
pub(crate) fn end(text: &str, vars: &mut Vars, seen: Option<u16>) -> Result<End, String> {
    let (name, port) = split(text);
    let addr = host(name).ok_or_else(|| format!("no host: {text}"))?;
    let port = match port {
        None => None,
        Some(port) if port.starts_with('$') => match (vars.get(port), seen) {
            (Some(port), _) => Some(*port),
            (None, Some(seen)) => {
                vars.insert(port.into(), seen);
                Some(seen)
            }
            (None, None) => return Err(format!("nothing was seen of {port}")),
        },
        Some(port) => Some(port.parse().map_err(|_| format!("no port: {text}"))?),
    };
    Ok(End { addr, port })
}

fn split(text: &str) -> (&str, Option<&str>) {
    if let Some((name, port)) = text.strip_prefix('[').and_then(|text| text.split_once("]:")) {
        return (name, Some(port));
    }
    match text.split_once(':') {
        Some((name, port)) if !port.contains(':') => (name, Some(port)),
        _ => (text, None),
    }
}
