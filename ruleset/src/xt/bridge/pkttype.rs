//! `pkttype`: whom a frame came for.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "pkttype",
    help: "Matches by whom the frame came for: this host, everyone, a group, another host.",
    size: 2,
    make: |of| {
        let [wanted, inverted] = of.info.bytes(0);
        refuse_if(inverted > 1)?;
        Ok(matches(move |cx| (cx.pkttype() == wanted) != (inverted != 0)))
    },
    ..MATCH
}];
