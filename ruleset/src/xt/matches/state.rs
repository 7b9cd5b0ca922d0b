//! `state`: the state of the packet's connection.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "state",
    constancy: Constancy::Flow,
    help: "Matches by the state of the packet's connection.",
    families: ANY,
    size: 4,
    make: |of| {
        let states = of.info.u32(0);
        of.tracked()?;
        // The bits are those of `ct state`.
        Ok(matches(move |cx| states & cx.state() != 0))
    },
    ..Extension::MATCH
}];
