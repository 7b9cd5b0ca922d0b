//! `rateest`: compares estimated rates. No rate is estimated here, so there is none to name.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "rateest",
    help: "Matches by the rates that RATEEST estimates.",
    standing: Standing::Refused("rates are not estimated here: the name of one is unknown"),
    families: ANY,
    size: 72,
    told: 56,
    make: |_| Err(Errno::ENOENT.into()),
    ..Extension::MATCH
}];
