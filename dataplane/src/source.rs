//! Which of an interface's addresses stands for this node, as the kernel chooses.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv6Addr};

use crate::rib::Prefix;
use crate::tables::{IfaceEntry, contains, is_link_local};

/// Labels of RFC 6724, 2.1, with what Linux adds (net/ipv6/addrlabel.c); the first that fits.
const LABELS: &[(Ipv6Addr, u8, u8)] = &[
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 5),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 11),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 6),
    (Ipv6Addr::new(0x2001, 0x10, 0, 0, 0, 0, 0, 0), 28, 7),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 2),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, 12),
];

fn label(addr: Ipv6Addr) -> u8 {
    let fits = |(net, len, _): &&(Ipv6Addr, u8, u8)| {
        contains(&Prefix { addr: IpAddr::V6(*net), len: *len }, IpAddr::V6(addr))
    };
    LABELS.iter().find(fits).map_or(1, |(.., label)| *label)
}

impl IfaceEntry {
    fn of_family_of(&self, other: IpAddr) -> impl DoubleEndedIterator<Item = &Prefix> {
        self.addresses.iter().filter(move |prefix| prefix.addr.is_ipv4() == other.is_ipv4())
    }

    /// The source address for a packet that leaves by this interface; `towards` is over IPv4 the next hop, over IPv6 the
    /// destination. IPv4: on its subnet if there is one, else the first that is not link-local (`inet_select_addr`). IPv6: of the
    /// same label, then with the longest prefix in common, then the first (RFC 6724, 5, rules 6 and 8).
    pub fn source_for(&self, towards: IpAddr) -> Option<IpAddr> {
        let usable = || self.of_family_of(towards).filter(|prefix| !is_link_local(prefix.addr));
        let on_link = |prefix: &&Prefix| contains(prefix, towards);
        let score = |prefix: &&Prefix| match (prefix.addr, towards) {
            (IpAddr::V6(addr), IpAddr::V6(towards)) => {
                let common = (addr.to_bits() ^ towards.to_bits()).leading_zeros();
                (label(addr) == label(towards), common.min(prefix.len.into()))
            }
            _ => (on_link(prefix), 0),
        };
        // Of several as good the first.
        usable().min_by_key(|prefix| Reverse(score(prefix))).map(|prefix| prefix.addr)
    }

    /// The address that packets to `dst` are redirected to: the first, of IPv6 the first of its scope (`nf_nat_redirect`).
    pub fn redirect_for(&self, dst: IpAddr) -> Option<IpAddr> {
        let same_scope =
            |prefix: &&Prefix| dst.is_ipv4() || is_link_local(prefix.addr) == is_link_local(dst);
        self.of_family_of(dst).find(same_scope).map(|prefix| prefix.addr)
    }
}

#[cfg(test)]
mod tests {
    use arrayvec::ArrayVec;

    use super::*;
    use crate::rib::{IfIndex, Iface};

    fn entry(addresses: &str) -> IfaceEntry {
        let prefix = |text: &str| {
            let (addr, len) = text.split_once('/').unwrap();
            Prefix { addr: addr.parse().unwrap(), len: len.parse().unwrap() }
        };
        IfaceEntry {
            iface: Iface {
                index: IfIndex(1),
                name: "x".into(),
                port: None,
                vlan: ArrayVec::new(),
                mac: [0; 6],
                mtu: 1500,
                up: true,
                group: 0,
                kind: String::new(),
            },
            addresses: addresses.split_whitespace().map(prefix).collect(),
        }
    }

    /// What `ip route get` of Linux 6.18 says, with addresses in the order in which it lists them.
    #[test]
    fn sources() {
        let four = entry("10.0.1.1/24 10.0.2.1/24 10.0.1.9/24");
        let six = entry("fd00:2::1/64 2001:db8:2::1/64 2001:db8:1::1/64 fd00:1::1/64 fe80::1/64");
        for (entry, towards, source) in [
            (&four, "10.0.1.254", "10.0.1.1"),
            (&four, "10.0.2.254", "10.0.2.1"),
            (&four, "192.0.2.1", "10.0.1.1"),
            (&six, "2001:db8:2::9", "2001:db8:2::1"),
            (&six, "2001:db8:1::9", "2001:db8:1::1"),
            (&six, "2a00::9", "2001:db8:2::1"),
            (&six, "2001:db8:3::9", "2001:db8:2::1"),
            (&six, "fd00:2::9", "fd00:2::1"),
            (&six, "fd09::9", "fd00:2::1"),
        ] {
            let expected = source.parse::<IpAddr>().unwrap();
            assert_eq!(entry.source_for(towards.parse().unwrap()), Some(expected), "{towards}");
        }
        assert_eq!(entry("10.0.0.1/8").source_for("fd00::1".parse().unwrap()), None);
    }

    #[test]
    fn redirects() {
        let both = entry("10.0.1.1/24 10.0.2.1/24 fe80::1/64 fd00:1::1/64 2001:db8::1/64");
        for (dst, first) in
            [("10.0.2.9", "10.0.1.1"), ("2001:db8::9", "fd00:1::1"), ("fe80::9", "fe80::1")]
        {
            let expected = first.parse::<IpAddr>().unwrap();
            assert_eq!(both.redirect_for(dst.parse().unwrap()), Some(expected), "{dst}");
        }
        assert_eq!(entry("10.0.0.1/8").redirect_for("fd00::1".parse().unwrap()), None);
    }
}
