//! `CONNSECMARK`: moves security marks between packet and connection.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "CONNSECMARK",
    help: "Saves the packet's security mark in the connection, or restores it.",
    standing: Standing::Stored(NO_CONNECTION),
    size: 1,
    make: |of| {
        refuse_if(!matches!(of.table, "mangle" | "security"))?;
        refuse_if(!matches!(of.info.u8(0), 1 | 2))?;
        of.tracked()?;
        Ok(always(Verdict::Continue))
    },
    ..Extension::TARGET
}];
