//! Families and hooks: the layer-3 handlers that are registered with the one table engine.
//!
//! Nothing else in the engine knows an address family: what a family's hooks are, which families' packets its tables see and
//! which chain types it has stands in [`HANDLERS`], a line for each.

use nfnetlink::{Errno, Result};

/// A table's family, and a packet's: `NFPROTO_…` (linux/netfilter.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// Both IP families.
    Inet = 1,
    /// IPv4.
    Ipv4 = 2,
    /// ARP.
    Arp = 3,
    /// A device, before or after everything else.
    Netdev = 5,
    /// Bridged frames.
    Bridge = 7,
    /// IPv6.
    Ipv6 = 10,
}

impl Family {
    /// The family of this number.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for one that has no handler, as the kernel says.
    pub fn from_number(number: u8) -> Result<Self> {
        let handler = HANDLERS.iter().find(|handler| handler.family as u8 == number);
        Ok(handler.ok_or(Errno::EOPNOTSUPP)?.family)
    }

    /// What is registered for it.
    #[expect(
        clippy::indexing_slicing,
        reason = "each family has a line in HANDLERS, a test sees to it"
    )]
    pub fn handler(self) -> &'static Handler {
        HANDLERS.iter().find(|handler| handler.family == self).unwrap_or(&HANDLERS[0])
    }
}

/// A place in the packet's path. The numbers are those of the IP families and the bridge; others have their own, see
/// [`Handler::hooks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Hook {
    /// Received, before routing.
    Prerouting = 0,
    /// For this node.
    Input = 1,
    /// On its way through.
    Forward = 2,
    /// From this node.
    Output = 3,
    /// About to be sent.
    Postrouting = 4,
    /// On a device, first of all.
    Ingress = 5,
    /// On a device, last of all.
    Egress = 6,
}

/// A set of hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hooks(pub u8);

impl Hooks {
    /// All of them.
    pub const ALL: Self = Self(0x7f);

    /// These.
    #[expect(clippy::indexing_slicing, reason = "below the array's own length")]
    pub const fn of<const N: usize>(hooks: [Hook; N]) -> Self {
        let mut bits = 0;
        let mut n = 0;
        while n < N {
            bits |= 1 << hooks[n] as u8;
            n += 1;
        }
        Self(bits)
    }

    /// Whether `hook` is one of them.
    pub const fn has(self, hook: Hook) -> bool {
        self.0 & (1 << hook as u8) != 0
    }

    /// Those in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// A base chain's type (`NFTA_CHAIN_TYPE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ChainType {
    /// Decides.
    Filter = 0,
    /// Routes again when it changed what routing depends on.
    Route = 1,
    /// Sees the first packet of a connection.
    Nat = 2,
}

impl ChainType {
    /// Its word on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Route => "route",
            Self::Nat => "nat",
        }
    }
}

/// A chain type with the hooks it may stand in.
#[derive(Clone, Copy, Debug)]
pub struct TypeHooks {
    /// The type.
    pub kind: ChainType,
    /// Where.
    pub hooks: Hooks,
}

/// What the engine knows of a family.
#[derive(Debug)]
pub struct Handler {
    /// The family.
    pub family: Family,
    /// Its name for users.
    pub name: &'static str,
    /// Its hooks by the number that they have on the wire (`NFTA_HOOK_HOOKNUM`).
    pub hooks: &'static [(u32, Hook)],
    /// Chain types and where they may stand.
    pub types: &'static [TypeHooks],
    /// The families whose packets its chains see; ARP's, the bridge's and a device's are their own.
    pub sees: &'static [Family],
}

const IP_HOOKS: &[(u32, Hook)] = &[
    (0, Hook::Prerouting),
    (1, Hook::Input),
    (2, Hook::Forward),
    (3, Hook::Output),
    (4, Hook::Postrouting),
];
const ALL_IP: Hooks =
    Hooks::of([Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting]);
const FILTER_IP: TypeHooks = TypeHooks { kind: ChainType::Filter, hooks: ALL_IP };
const ROUTE: TypeHooks = TypeHooks { kind: ChainType::Route, hooks: Hooks::of([Hook::Output]) };
const NAT: TypeHooks = TypeHooks {
    kind: ChainType::Nat,
    hooks: Hooks::of([Hook::Prerouting, Hook::Input, Hook::Output, Hook::Postrouting]),
};

/// The families. A new one is a line here.
pub static HANDLERS: &[Handler] = &[
    Handler {
        family: Family::Ipv4,
        name: "ip",
        hooks: IP_HOOKS,
        types: &[FILTER_IP, ROUTE, NAT],
        sees: &[Family::Ipv4],
    },
    Handler {
        family: Family::Ipv6,
        name: "ip6",
        hooks: IP_HOOKS,
        types: &[FILTER_IP, ROUTE, NAT],
        sees: &[Family::Ipv6],
    },
    Handler {
        family: Family::Inet,
        name: "inet",
        // NF_INET_INGRESS; only the inet family has it.
        hooks: &[
            (0, Hook::Prerouting),
            (1, Hook::Input),
            (2, Hook::Forward),
            (3, Hook::Output),
            (4, Hook::Postrouting),
            (5, Hook::Ingress),
        ],
        types: &[
            TypeHooks {
                kind: ChainType::Filter,
                hooks: Hooks(ALL_IP.0 | Hooks::of([Hook::Ingress]).0),
            },
            ROUTE,
            NAT,
        ],
        sees: &[Family::Ipv4, Family::Ipv6],
    },
    Handler {
        family: Family::Arp,
        name: "arp",
        hooks: &[(0, Hook::Input), (1, Hook::Output), (2, Hook::Forward)],
        types: &[TypeHooks {
            kind: ChainType::Filter,
            hooks: Hooks::of([Hook::Input, Hook::Output]),
        }],
        sees: &[Family::Arp],
    },
    Handler {
        family: Family::Bridge,
        name: "bridge",
        hooks: IP_HOOKS,
        types: &[FILTER_IP],
        sees: &[Family::Bridge],
    },
    Handler {
        family: Family::Netdev,
        name: "netdev",
        hooks: &[(0, Hook::Ingress), (1, Hook::Egress)],
        types: &[TypeHooks {
            kind: ChainType::Filter,
            hooks: Hooks::of([Hook::Ingress, Hook::Egress]),
        }],
        sees: &[Family::Netdev],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_a_handler() {
        for family in
            [Family::Inet, Family::Ipv4, Family::Arp, Family::Netdev, Family::Bridge, Family::Ipv6]
        {
            assert_eq!(family.handler().family, family);
            assert_eq!(Family::from_number(family as u8), Ok(family));
        }
    }
}
