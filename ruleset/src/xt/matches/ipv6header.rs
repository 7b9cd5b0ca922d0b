//! `ipv6header`: which headers an IPv6 packet has.

use packet::wire::ip;

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "ipv6header",
    help: "Matches by which headers an IPv6 packet has.",
    families: IPV6,
    size: 3,
    make,
    ..Extension::MATCH
}];

/// What stands behind all extension headers.
const PAYLOAD: u8 = 1;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let [wanted, inverted, soft] = of.info.bytes(0);
    refuse_if(soft == 0 && inverted != 0 && inverted != 0xff)?;
    Ok(matches(move |cx| {
        let Some(found) = headers(cx) else { return false };
        match (soft, inverted) {
            (0, 0) => found == wanted,
            (0, _) => found != wanted,
            _ => (found ^ wanted ^ inverted) & wanted == 0,
        }
    }))
}

const fn bit(header: u8) -> Option<u8> {
    Some(match header {
        ip::HOP_BY_HOP => 0x80,
        ip::DEST_OPTIONS => 0x40,
        ip::ROUTING => 0x20,
        ip::FRAGMENT => 0x10,
        ip::AH => 8,
        ip::ESP => 4,
        ip::NO_NEXT => 2,
        _ => return None,
    })
}

fn headers(cx: &Cx<'_>) -> Option<u8> {
    let network = cx.network();
    let ([mut header], mut at, mut found): ([u8; 1], _, u8) =
        (cx.peek(network + 6)?, network + 40, 0);
    while let Some(bit) = bit(header) {
        found |= bit;
        if matches!(header, ip::NO_NEXT | ip::ESP) {
            return Some(found);
        }
        let [next, len]: [u8; 2] = cx.peek(at)?;
        at += match header {
            ip::FRAGMENT => 8,
            ip::AH => (usize::from(len) + 2) * 4,
            _ => (usize::from(len) + 1) * 8,
        };
        header = next;
        if at > cx.end() {
            break;
        }
    }
    Some(if matches!(header, ip::NO_NEXT | ip::ESP) { found } else { found | PAYLOAD })
}
