//! `dscp`: the differentiated-services code point.

use super::*;
use crate::xt::header::tos;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "dscp",
    help: "Matches by the differentiated-services code point.",
    size: 2,
    make: |of| {
        let (dscp, not) = (of.info.u8(0), of.info.is_set(1));
        if dscp > 0x3f {
            return Err(Errno::EDOM.into());
        }
        Ok(matches(move |cx| tos(cx).is_some_and(|tos| (tos >> 2 == dscp) != not)))
    },
    ..Extension::MATCH
}];
