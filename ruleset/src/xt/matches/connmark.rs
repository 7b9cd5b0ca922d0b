//! `connmark`: the connection's mark.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "connmark",
    revision: 1,
    help: "Matches by the connection's mark.",
    standing: Standing::Stored(NO_CONNECTION),
    families: ANY,
    size: 12,
    make: |of| {
        of.tracked()?;
        Ok(always(Verdict::Break))
    },
    ..Extension::MATCH
}];
