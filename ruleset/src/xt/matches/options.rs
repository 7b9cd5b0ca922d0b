//! `hbh`, `dst`: options for each hop, or for the destination.

use packet::wire::ip;

use super::*;

pub(super) static ALL: &[Extension] = &[
    Extension {
        name: "hbh",
        help: "Matches by IPv6's hop-by-hop options.",
        families: IPV6,
        size: 40,
        make: |of| make(of, ip::HOP_BY_HOP),
        ..Extension::MATCH
    },
    Extension {
        name: "dst",
        help: "Matches by IPv6's destination options.",
        families: IPV6,
        size: 40,
        make: |of| make(of, ip::DEST_OPTIONS),
        ..Extension::MATCH
    },
];

const LENGTH: u8 = 1;
const OPTIONS: u8 = 2;
const LOOSE: u8 = 4;
/// An option of any length.
const ANY_LENGTH: u8 = 0xff;
/// Options that may be listed.
const MOST: usize = 16;

fn make(of: &mut Use<'_>, header: u8) -> Result<Act> {
    let info = of.info;
    let (length, asked, inverted) = (info.u32(0), info.u8(4), info.u8(5));
    let count = usize::from(info.u8(38));
    refuse_if(inverted & !1 != 0 || asked & LOOSE != 0 || count > MOST)?;
    let wanted: Box<[[u8; 2]]> = (0..count).map(|n| info.u16(6 + 2 * n).to_be_bytes()).collect();
    Ok(matches(move |cx| {
        let Some(found) = cx.ext_header(Some(header)).filter(|found| !found.later) else {
            return false;
        };
        let Some([_, len]): Option<[u8; 2]> = cx.peek(found.offset) else { return false };
        let size = (usize::from(len) + 1) * 8;
        if found.offset + size > cx.end() {
            return false;
        }
        let so = asked & LENGTH == 0 || (length as usize == size) != (inverted != 0);
        so && (asked & OPTIONS == 0 || has(cx, found.offset + 2, found.offset + size, &wanted))
    }))
}

/// Whether the options that begin here are these, in this order.
fn has(cx: &Cx<'_>, mut at: usize, end: usize, wanted: &[[u8; 2]]) -> bool {
    let mut wanted = wanted.iter().peekable();
    while let Some([kind, len]) = wanted.next() {
        let Some([found]) = (at < end).then(|| cx.peek(at)).flatten() else { return false };
        if found != *kind {
            return false;
        }
        if found == 0 {
            at += 1;
        } else {
            let Some([found]) = (at + 1 < end).then(|| cx.peek(at + 1)).flatten() else {
                return false;
            };
            if *len != ANY_LENGTH && *len != found {
                return false;
            }
            at += usize::from(found) + 2;
        }
        if at > end && wanted.peek().is_some() {
            return false;
        }
    }
    true
}
