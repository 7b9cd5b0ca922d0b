//! `mac`: the sender's MAC address.

use super::*;

/// `ARPHRD_ETHER`.
const ETHERNET: u16 = 1;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "mac",
    help: "Matches by the frame's source MAC address.",
    hooks: INBOUND,
    size: 12,
    make: |of| {
        let (mac, not) = (of.info.bytes::<6>(0), of.info.u32(8) != 0);
        Ok(matches(move |cx| {
            let ethernet = cx.place.iif.is_some_and(|iif| iif.kind == ETHERNET);
            ethernet && cx.read(6).is_some_and(|found| (found == mac) != not)
        }))
    },
    ..Extension::MATCH
}];
