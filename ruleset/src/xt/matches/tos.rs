//! `tos`: type of service or traffic class.

use super::*;
use crate::xt::header::tos;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "tos",
    revision: 1,
    help: "Matches by type of service or traffic class.",
    size: 3,
    make: |of| {
        let [mask, wanted, inverted] = of.info.bytes(0);
        Ok(matches(move |cx| tos(cx).is_some_and(|tos| (tos & mask == wanted) != (inverted != 0))))
    },
    ..Extension::MATCH
}];
