//! `AUDIT`: tells the audit daemon. Here there is none, as on Linux where none runs.

use super::*;

const BASE: Extension = Extension {
    name: "AUDIT",
    help: "Tells the audit daemon of the packet.",
    size: 1,
    make: |of| match of.info.u8(0) {
        0..=2 => Ok(always(Verdict::Continue)),
        _ => Err(Errno::ERANGE.into()),
    },
    ..Extension::TARGET
};

pub(super) static ALL: &[Extension] =
    &[Extension { families: ANY, ..BASE }, Extension { families: BRIDGE, ..BASE }];
