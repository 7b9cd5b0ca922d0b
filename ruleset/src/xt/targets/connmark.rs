//! `CONNMARK`: moves marks between packet and connection.

use super::*;

const BASE: Extension = Extension {
    name: "CONNMARK",
    help: "Saves the packet's mark in the connection, or restores it.",
    standing: Standing::Stored(NO_CONNECTION),
    size: 16,
    make: |of| {
        of.tracked()?;
        Ok(always(Verdict::Continue))
    },
    ..Extension::TARGET
};

pub(super) static ALL: &[Extension] =
    &[Extension { revision: 1, ..BASE }, Extension { revision: 2, ..BASE }];
