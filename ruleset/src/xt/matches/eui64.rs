//! `eui64`: whether an IPv6 address was made of the sender's MAC address (RFC 4291, appendix A).

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "eui64",
    help: "Matches where the source address was made of the frame's source MAC address.",
    families: IPV6,
    hooks: INBOUND,
    size: 4,
    make: |_| {
        Ok(matches(|cx| {
            let (Some([a, b, c, d, e, f]), Some(id)) =
                (cx.read::<6>(6), cx.peek::<8>(cx.network() + 16))
            else {
                return false;
            };
            id == [a ^ 2, b, c, 0xff, 0xfe, d, e, f]
        }))
    },
    ..Extension::MATCH
}];
