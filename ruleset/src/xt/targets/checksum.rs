//! `CHECKSUM`: fills in checksums that were left to a device. Frames from the wire have theirs.

use super::*;

const FILL: u8 = 1;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "CHECKSUM",
    help: "Fills in a checksum that was left to a device.",
    table: Some("mangle"),
    size: 1,
    make: |of| {
        refuse_if(of.info.u8(0) != FILL)?;
        Ok(always(Verdict::Continue))
    },
    ..Extension::TARGET
}];
