//! `limit`: a rate.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "limit",
    help: "Matches as long as a rate is kept.",
    size: 32,
    told: 8,
    make: |of| super::super::matches::limit::make(of, Errno::EINVAL),
    ..MATCH
}];
