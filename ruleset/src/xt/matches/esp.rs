//! `esp`: IPsec's encapsulation.

use packet::wire::ip;

use super::*;
use crate::xt::header::judge;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "esp",
    help: "Matches encapsulated security payloads by their security parameter index.",
    protocol: ip::ESP,
    size: 12,
    make: |of| {
        let (range, inverted) = (of.info.range32(0), of.info.u8(8));
        refuse_if(inverted & !1 != 0)?;
        Ok(judges(move |cx| {
            judge(cx, |_, [a, b, c, d, ..]: [u8; 8]| {
                Some(range.contains(&u32::from_be_bytes([a, b, c, d])) != (inverted != 0))
            })
        }))
    },
    ..Extension::MATCH
}];
