//! `ipcomp`: compressed payloads.

use super::*;
use crate::xt::header::judge;

/// `IPPROTO_COMP`.
const COMP: u8 = 108;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "ipcomp",
    help: "Matches compressed payloads by their compression parameter index.",
    protocol: COMP,
    size: 12,
    make: |of| {
        let (range, inverted) = (of.info.range32(0), of.info.u8(8));
        refuse_if(inverted & !3 != 0)?;
        Ok(judges(move |cx| {
            judge(cx, |_, [_, _, a, b]: [u8; 4]| {
                let index = u16::from_be_bytes([a, b]).into();
                Some(range.contains(&index) != (inverted & 1 != 0))
            })
        }))
    },
    ..Extension::MATCH
}];
