//! `state`: the state of the packet's connection.

use super::*;

/// `XT_STATE_INVALID`, `XT_STATE_UNTRACKED`.
const INVALID: u32 = 1;
const UNTRACKED: u32 = 1 << 6;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "state",
    help: "Matches by the state of the packet's connection.",
    standing: Standing::Stored(NO_CONNECTION),
    families: ANY,
    size: 4,
    make: |of| {
        let states = of.info.u32(0);
        of.tracked()?;
        Ok(matches(move |cx| states & if cx.meta.untracked { UNTRACKED } else { INVALID } != 0))
    },
    ..Extension::MATCH
}];
