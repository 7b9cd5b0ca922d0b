//! `SECMARK`: a security mark. No security module knows one here, as on Linux without one.

use super::*;

const BASE: Extension = Extension {
    name: "SECMARK",
    help: "Sets the packet's security mark.",
    standing: Standing::Refused("no security module knows the context"),
    size: 264,
    make: |of| {
        refuse_if(!matches!(of.table, "mangle" | "security"))?;
        refuse_if(of.info.u8(0) != 1)?;
        Err(crate::expr::refused("no security module knows the context"))
    },
    ..Extension::TARGET
};

pub(super) static ALL: &[Extension] = &[BASE, Extension { revision: 1, told: 260, ..BASE }];
