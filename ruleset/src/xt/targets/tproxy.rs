//! `TPROXY`: gives the packet to a local socket. There is none here that would take it: it is dropped, as by Linux.

use packet::wire::ip;

use super::*;

const BASE: Extension = Extension {
    name: "TPROXY",
    help: "Gives the packet to a local socket.",
    table: Some("mangle"),
    hooks: Hooks::of([Hook::Prerouting]),
    make: |of| {
        refuse_if(!of.is_protocol(ip::TCP) && !of.is_protocol(ip::UDP))?;
        Ok(always(Verdict::Drop))
    },
    ..Extension::TARGET
};

pub(super) static ALL: &[Extension] =
    &[Extension { families: IPV4, size: 16, ..BASE }, Extension { revision: 1, size: 28, ..BASE }];
