//! `comment`: a remark for whoever reads the rules.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "comment",
    constancy: Constancy::Flow,
    help: "Carries a remark for whoever reads the rules.",
    families: ANY,
    size: 256,
    make: |_| Ok(always(Verdict::Continue)),
    ..Extension::MATCH
}];
