//! `mh`: Mobile IPv6's header.

use packet::wire::ip;

use super::*;
use crate::xt::header::judge;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "mh",
    help: "Matches mobility headers by type.",
    families: IPV6,
    protocol: ip::MOBILITY,
    size: 3,
    make: |of| {
        let [least, most, inverted] = of.info.bytes(0);
        refuse_if(inverted & !1 != 0)?;
        Ok(judges(move |cx| {
            judge(cx, |_, [payload, _, kind, ..]: [u8; 6]| {
                // Such a header must be the last.
                let so = (least..=most).contains(&kind) != (inverted != 0);
                (payload == ip::NO_NEXT).then_some(so)
            })
        }))
    },
    ..Extension::MATCH
}];
