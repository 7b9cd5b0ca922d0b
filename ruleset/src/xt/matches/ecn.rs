//! `ecn`: explicit congestion notification.

use packet::wire::ip;

use super::*;
use crate::xt::header::{tos, transport_anyway};

pub(super) static ALL: &[Extension] = &[Extension {
    name: "ecn",
    help: "Matches by the bits of explicit congestion notification in IP and TCP.",
    size: 4,
    make,
    ..Extension::MATCH
}];

/// Bits of what is asked and of what is inverted.
const IP: u8 = 0x01;
const ECE: u8 = 0x10;
const CWR: u8 = 0x20;
const UNKNOWN: u8 = 0xce;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let [asked, inverted, wanted, _] = of.info.bytes(0);
    refuse_if((asked | inverted) & UNKNOWN != 0)?;
    refuse_if(asked & (ECE | CWR) != 0 && !of.is_protocol(ip::TCP))?;
    Ok(matches(move |cx| {
        let is = |found: bool, bit| asked & bit == 0 || found != (inverted & bit != 0);
        let Some(found) = tos(cx) else { return false };
        if !is(found & 3 == wanted, IP) {
            return false;
        }
        if asked & (ECE | CWR) == 0 {
            return true;
        }
        let header: Option<[u8; 20]> = cx.peek(transport_anyway(cx));
        let Some([.., flags, _, _, _, _, _, _]) = header else { return false };
        is(flags & 0x40 != 0, ECE) && is(flags & 0x80 != 0, CWR)
    }))
}
