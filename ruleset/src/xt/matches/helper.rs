//! `helper`: what helped to expect the connection. Here nothing does.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "helper",
    constancy: Constancy::Flow,
    help: "Matches by the helper that expected the connection.",
    families: ANY,
    size: 36,
    make: |of| {
        let inverted = of.info.u32(0) != 0;
        of.tracked()?;
        if let Some(last) = of.told.get_mut(33) {
            *last = 0;
        }
        Ok(matches(move |_| inverted))
    },
    ..Extension::MATCH
}];
