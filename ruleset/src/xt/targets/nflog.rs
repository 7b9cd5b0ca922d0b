//! `NFLOG`: tells listeners of a group. There are none until there is that subsystem.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "NFLOG",
    help: "Tells the listeners of a group of the packet.",
    standing: Standing::Stored("tells nobody"),
    size: 76,
    make: |of| {
        refuse_if(of.info.u16(8) & !1 != 0 || of.info.is_set(75))?;
        Ok(always(Verdict::Continue))
    },
    ..Extension::TARGET
}];
