//! `SNAT`, `DNAT`, `MASQUERADE`, `REDIRECT`, `NETMAP`: other addresses for a connection. What NAT there is reads what stands
//! here.

use super::*;

/// `struct nf_nat_ipv4_multi_range_compat`, `struct nf_nat_range`, `struct nf_nat_range2`.
const MULTI: usize = 20;
const RANGE: usize = 40;
const RANGE2: usize = 44;

const IN: Hooks = Hooks::of([Hook::Prerouting, Hook::Output]);
const OUT: Hooks = Hooks::of([Hook::Postrouting, Hook::Input]);
const LEAVING: Hooks = Hooks::of([Hook::Postrouting]);
const BOTH: Hooks = Hooks::of([Hook::Prerouting, Hook::Postrouting, Hook::Output, Hook::Input]);

const BASE: Extension = Extension {
    standing: Standing::Stored("accepts; connections are changed where there is NAT"),
    table: Some("nat"),
    make: |of| make(of, Some(false)),
    ..Extension::TARGET
};
const SNAT: Extension = Extension {
    name: "SNAT",
    help: "Gives a connection another source.",
    hooks: OUT,
    make: |of| make(of, None),
    ..BASE
};
const DNAT: Extension = Extension {
    name: "DNAT",
    help: "Gives a connection another destination.",
    hooks: IN,
    make: |of| make(of, None),
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
    ..BASE
};
const NETMAP: Extension = Extension {
    name: "NETMAP",
    help: "Gives a connection an address of another network, with the same host part.",
    hooks: BOTH,
    make: |of| make(of, Some(true)),
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

/// `addresses` tells whether addresses must be said, or must not.
fn make(of: &mut Use<'_>, addresses: Option<bool>) -> Result<Act> {
    // The first structure of all counts its ranges, and then has their flags.
    let multi = of.family == Family::Ipv4 && of.told.len() == MULTI.next_multiple_of(8);
    let flags = of.info.u32(if multi { 4 } else { 0 });
    refuse_if(addresses.is_some_and(|wanted| wanted != (flags & ADDRESSES != 0)))?;
    refuse_if(multi && of.info.u32(0) != 1)?;
    refuse_if(of.family == Family::Bridge)?;
    of.tracked()?;
    Ok(always(Verdict::Accept))
}
