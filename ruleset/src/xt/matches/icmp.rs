//! `icmp`, `icmp6`: types and codes.

use packet::wire::ip;

use super::*;
use crate::xt::header::judge;

pub(super) static ALL: &[Extension] = &[
    Extension {
        name: "icmp",
        constancy: Constancy::Flow,
        help: "Matches ICMP messages by type and code.",
        families: IPV4,
        protocol: ip::ICMP,
        size: 4,
        make: |of| make(of, Some(0xff)),
        ..Extension::MATCH
    },
    Extension {
        name: "icmp6",
        constancy: Constancy::Flow,
        help: "Matches ICMPv6 messages by type and code.",
        families: IPV6,
        protocol: ip::ICMP6,
        size: 4,
        make: |of| make(of, None),
        ..Extension::MATCH
    },
];

/// `any` is the type that means all.
fn make(of: &mut Use<'_>, any: Option<u8>) -> Result<Act> {
    let [kind, least, most, inverted] = of.info.bytes(0);
    refuse_if(inverted & !1 != 0)?;
    Ok(judges(move |cx| {
        judge(cx, |_, [found, code, ..]: [u8; 8]| {
            let so = any == Some(kind) || kind == found && (least..=most).contains(&code);
            Some(so != (inverted != 0))
        })
    }))
}
