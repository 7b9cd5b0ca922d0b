//! `connmark`: the connection's mark.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "connmark",
    revision: 1,
    constancy: Constancy::Flow,
    help: "Matches by the connection's mark.",
    families: ANY,
    size: 12,
    make: |of| {
        let (mark, mask, not) = (of.info.u32(0), of.info.u32(4), of.info.is_set(8));
        of.tracked()?;
        Ok(matches(move |cx| {
            let connection = cx.connection_or_template();
            connection.is_some_and(|connection| (connection.mark() & mask == mark) != not)
        }))
    },
    ..Extension::MATCH
}];
