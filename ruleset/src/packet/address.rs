//! What kind of address one is, as Linux's rules see it: they ask what the node calls its own, not what a packet's way would be.

use super::{Cx, FibAnswer, FibQuery};
use crate::family::Family;

/// `RTN_…` (linux/rtnetlink.h).
const UNSPEC: u32 = 0;
const UNICAST: u32 = 1;
const LOCAL: u32 = 2;
const BROADCAST: u32 = 3;
const ANYCAST: u32 = 4;
const MULTICAST: u32 = 5;
const UNREACHABLE: u32 = 7;

impl Cx<'_> {
    /// The kind of an address (`RTN_…`; `inet_dev_addr_type`, `nft_fib6_eval_type`). What is the node's own on another interface
    /// than `iface`, where one is named, is like a stranger's.
    pub fn address_kind(
        &self,
        family: Family,
        addr: [u8; 16],
        iface: Option<u32>,
        mark: u32,
    ) -> u32 {
        let found = self.env.fib(&FibQuery { family, addr, iface: None, mark });
        kind(family, addr, iface, &found)
    }
}

fn kind(family: Family, addr: [u8; 16], iface: Option<u32>, found: &FibAnswer<'_>) -> u32 {
    match (family, addr) {
        (Family::Ipv4, [0, 0, 0, 0, ..] | [255, 255, 255, 255, ..]) => return BROADCAST,
        (Family::Ipv4, [224..=239, ..]) | (Family::Ipv6, [0xff, ..]) => return MULTICAST,
        _ => {}
    }
    let is_here = iface.is_none() || found.iface.map(|found| found.index) == iface;
    match (family, found.kind) {
        (_, LOCAL | BROADCAST | ANYCAST | MULTICAST) if is_here => found.kind,
        // IPv4's table of what is the node's own knows no other kinds.
        (Family::Ipv4, _) | (_, LOCAL | BROADCAST | ANYCAST | MULTICAST) => UNICAST,
        (_, UNICAST) if addr == [0; 16] => UNSPEC,
        (_, UNSPEC) => UNREACHABLE,
        (_, kind) => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Iface;

    /// Family, how the address begins, the FIB's kind and interface (0: none), and the kind of `type` and of `. iif type`.
    type Case<'a> = (Family, &'a [u8], u32, u32, [u32; 2]);

    /// What `fib daddr type` and `fib daddr . iif type` were seen to answer on Linux 6.18 for packets that came in by 1.
    #[test]
    fn kinds_are_linux_own() {
        let (v4, v6) = (Family::Ipv4, Family::Ipv6);
        let (blackhole, prohibit) = (6, 8);
        let cases: &[Case<'_>] = &[
            (v4, &[10, 0, 0, 1], LOCAL, 1, [LOCAL, LOCAL]),
            (v4, &[10, 0, 1, 1], LOCAL, 2, [LOCAL, UNICAST]),
            (v4, &[10, 0, 0, 255], BROADCAST, 1, [BROADCAST, BROADCAST]),
            (v4, &[10, 0, 1, 9], UNICAST, 2, [UNICAST, UNICAST]),
            (v4, &[10, 9, 1, 1], blackhole, 0, [UNICAST, UNICAST]),
            (v4, &[8, 8, 8, 8], UNSPEC, 0, [UNICAST, UNICAST]),
            (v4, &[255, 255, 255, 255], UNSPEC, 0, [BROADCAST, BROADCAST]),
            (v4, &[0, 1, 2, 3], UNICAST, 2, [UNICAST, UNICAST]),
            (v4, &[224, 0, 0, 5], UNSPEC, 0, [MULTICAST, MULTICAST]),
            (v6, &[0xfd, 1], LOCAL, 1, [LOCAL, LOCAL]),
            (v6, &[0xfd, 2], LOCAL, 2, [LOCAL, UNICAST]),
            (v6, &[0xfd, 3], UNICAST, 2, [UNICAST, UNICAST]),
            (v6, &[0xfd, 4], blackhole, 0, [blackhole, blackhole]),
            (v6, &[0xfd, 5], prohibit, 0, [prohibit, prohibit]),
            (v6, &[0x20, 1], UNSPEC, 0, [UNREACHABLE, UNREACHABLE]),
            (v6, &[0xff, 2], MULTICAST, 0, [MULTICAST, MULTICAST]),
            (v6, &[0], UNICAST, 2, [UNSPEC, UNSPEC]),
        ];
        for &(family, start, found, index, wanted) in cases {
            let mut addr = [0; 16];
            addr.iter_mut().zip(start).for_each(|(to, from)| *to = *from);
            let iface = Iface { index, name: "", kind: 1, group: 0, link_kind: "", mac: [0; 6] };
            let iface = (index != 0).then_some(iface);
            let answer = FibAnswer { kind: found, iface, ..FibAnswer::default() };
            let got = [None, Some(1)].map(|by| kind(family, addr, by, &answer));
            assert_eq!(got, wanted, "{start:?}");
        }
    }
}
