//! `SNAT`, `DNAT`, `MASQUERADE`, `REDIRECT`, `NETMAP`: other addresses for a connection. What that comes to decides the
//! dataplane, see [`Env::translate`](crate::packet::Env::translate).

use super::*;
use crate::packet::{Side, To, Translate};

/// `struct nf_nat_ipv4_multi_range_compat`, `struct nf_nat_range`, `struct nf_nat_range2`.
const MULTI: usize = 20;
const RANGE: usize = 40;
const RANGE2: usize = 44;

const IN: Hooks = Hooks::of([Hook::Prerouting, Hook::Output]);
const OUT: Hooks = Hooks::of([Hook::Postrouting, Hook::Input]);
const LEAVING: Hooks = Hooks::of([Hook::Postrouting]);
const BOTH: Hooks = Hooks::of([Hook::Prerouting, Hook::Postrouting, Hook::Output, Hook::Input]);

const BASE: Extension = Extension {
    table: Some("nat"),
    constancy: Constancy::Flow,
    make: |of| make(of, Some(false), What::Leaving),
    ..Extension::TARGET
};
const SNAT: Extension = Extension {
    name: "SNAT",
    help: "Gives a connection another source.",
    hooks: OUT,
    make: |of| make(of, None, What::Side(Side::Source)),
    ..BASE
};
const DNAT: Extension = Extension {
    name: "DNAT",
    help: "Gives a connection another destination.",
    hooks: IN,
    make: |of| make(of, None, What::Side(Side::Destination)),
    ..BASE
};
const MASQUERADE: Extension = Extension {
    name: "MASQUERADE",
    help: "Gives a connection the address of the interface that it leaves by as its source.",
    hooks: LEAVING,
    ..BASE
};
const REDIRECT: Extension = Extension {
    name: "REDIRECT",
    help: "Gives a connection this host as its destination.",
    hooks: IN,
    make: |of| make(of, Some(false), What::Here),
    ..BASE
};
const NETMAP: Extension = Extension {
    name: "NETMAP",
    help: "Gives a connection an address of another network, with the same host part.",
    hooks: BOTH,
    make: |of| make(of, Some(true), What::Network),
    ..BASE
};

pub(super) static ALL: &[Extension] = &[
    Extension { families: IPV4, size: MULTI, ..SNAT },
    Extension { revision: 1, families: ANY, size: RANGE, ..SNAT },
    Extension { revision: 2, families: ANY, size: RANGE2, ..SNAT },
    Extension { families: IPV4, size: MULTI, ..DNAT },
    Extension { revision: 1, families: ANY, size: RANGE, ..DNAT },
    Extension { revision: 2, families: ANY, size: RANGE2, ..DNAT },
    Extension { families: IPV4, size: MULTI, ..MASQUERADE },
    Extension { families: IPV6, size: RANGE, ..MASQUERADE },
    Extension { families: IPV4, size: MULTI, ..REDIRECT },
    Extension { families: IPV6, size: RANGE, ..REDIRECT },
    Extension { families: IPV4, size: MULTI, ..NETMAP },
    Extension { families: IPV6, size: RANGE, ..NETMAP },
];

/// `NF_NAT_RANGE_MAP_IPS`: addresses are said.
const ADDRESSES: u32 = 1;

/// `NF_NAT_RANGE_PROTO_SPECIFIED`: ports are.
const PORTS: u32 = 2;

/// What becomes of a connection.
#[derive(Clone, Copy)]
enum What {
    /// One of the addresses that are said.
    Side(Side),
    /// That of the interface that the packet leaves by.
    Leaving,
    /// That of the interface that it came by.
    Here,
    /// The same host of another network; which side, the hook tells.
    Network,
}

/// `struct nf_nat_range2`, whichever structure it came in.
#[derive(Clone, Copy)]
struct Range {
    flags: u32,
    min: [u8; 16],
    max: [u8; 16],
    ports: (u16, u16),
    base: u16,
}

impl Range {
    fn read(info: Info<'_>, multi: bool) -> Self {
        let port = |at| u16::from_be_bytes(info.bytes(at));
        let ipv4 = |at| {
            let [a, b, c, d] = info.bytes(at);
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        };
        if multi {
            let ports = (port(16), port(18));
            return Self { flags: info.u32(4), min: ipv4(8), max: ipv4(12), ports, base: 0 };
        }
        Self {
            flags: info.u32(0),
            min: info.bytes(4),
            max: info.bytes(20),
            ports: (port(36), port(38)),
            base: if info.0.len() >= RANGE2 { port(40) } else { 0 },
        }
    }

    fn translate(&self, what: What, cx: &Cx<'_>) -> Translate {
        let side = match (what, cx.place.hook) {
            (What::Side(side), _) => side,
            (What::Leaving, _) => Side::Source,
            (What::Here, _) => Side::Destination,
            (What::Network, Hook::Prerouting | Hook::Output) => Side::Destination,
            (What::Network, _) => Side::Source,
        };
        let mut how = Translate::new(side, cx.place.family, self.flags);
        how.to = match what {
            What::Side(_) if self.flags & ADDRESSES != 0 => To::Range(self.min, self.max),
            What::Side(_) => To::Same,
            What::Leaving => To::Leaving,
            What::Here => To::Here,
            What::Network => how.mapped(&cx.layers.key, self.min, self.max),
        };
        how.ports = Some(self.ports).filter(|_| self.flags & PORTS != 0);
        how.base = self.base;
        how
    }
}

/// `addresses` tells whether addresses must be said, or must not.
fn make(of: &mut Use<'_>, addresses: Option<bool>, what: What) -> Result<Act> {
    // The first structure of all counts its ranges, and then has their flags.
    let multi = of.family == Family::Ipv4 && of.told.len() == MULTI.next_multiple_of(8);
    let range = Range::read(of.info, multi);
    refuse_if(addresses.is_some_and(|wanted| wanted != (range.flags & ADDRESSES != 0)))?;
    refuse_if(multi && of.info.u32(0) != 1)?;
    refuse_if(of.family == Family::Bridge)?;
    of.tracked()?;
    Ok(Box::new(move |cx| {
        let how = range.translate(what, cx);
        cx.env.translate(&how)
    }))
}
