//! `udp`, `udplite`: ports.

use packet::wire::ip;

use super::*;
use crate::xt::header::judge;

pub(super) static ALL: &[Extension] = &[
    Extension {
        name: "udp",
        constancy: Constancy::Flow,
        help: "Matches UDP packets by ports.",
        protocol: ip::UDP,
        size: 10,
        make,
        ..Extension::MATCH
    },
    Extension {
        name: "udplite",
        constancy: Constancy::Flow,
        help: "Matches UDP-Lite packets by ports.",
        protocol: ip::UDP_LITE,
        size: 10,
        make,
        ..Extension::MATCH
    },
];

const NOT_SOURCE: u8 = 1;
const NOT_DESTINATION: u8 = 2;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let (source, destination) = (of.info.range16(0), of.info.range16(4));
    let inverted = of.info.u8(8);
    refuse_if(inverted & !3 != 0)?;
    Ok(judges(move |cx| {
        judge(cx, |_, [s0, s1, d0, d1, ..]: [u8; 8]| {
            let source = source.contains(&u16::from_be_bytes([s0, s1]));
            let destination = destination.contains(&u16::from_be_bytes([d0, d1]));
            let is = |found, not| found != (inverted & not != 0);
            Some(is(source, NOT_SOURCE) && is(destination, NOT_DESTINATION))
        })
    }))
}
