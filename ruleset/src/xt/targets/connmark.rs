//! `CONNMARK`: moves marks between packet and connection.

use super::*;

const BASE: Extension = Extension {
    name: "CONNMARK",
    help: "Saves the packet's mark in the connection, or restores it.",
    standing: Standing::Stored(NO_CONNECTION),
    size: 16,
    make,
    ..Extension::TARGET
};

pub(super) static ALL: &[Extension] = &[
    Extension { revision: 1, ..BASE },
    Extension {
        revision: 2,
        make: |of| {
            let [right, bits] = of.info.bytes(12);
            refuse_if(right > 1 || bits >= 32)?;
            make(of)
        },
        ..BASE
    },
];

fn make(of: &mut Use<'_>) -> Result<Act> {
    of.tracked()?;
    Ok(always(Verdict::Continue))
}
