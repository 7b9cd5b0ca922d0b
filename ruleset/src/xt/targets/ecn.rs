//! `ECN`: takes explicit congestion notification out of packets.

use packet::wire::ip;

use super::*;
use crate::xt::header::{rewrite, set_tos, tos};

pub(super) static ALL: &[Extension] = &[Extension {
    name: "ECN",
    help: "Changes the bits of explicit congestion notification in IPv4 and TCP.",
    families: IPV4,
    table: Some("mangle"),
    size: 3,
    make,
    ..Extension::TARGET
}];

const SET_IP: u8 = 1;
const SET_ECE: u8 = 0x10;
const SET_CWR: u8 = 0x20;
const UNKNOWN: u8 = 0xce;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let [asked, ect, bits] = of.info.bytes(0);
    refuse_if(asked & UNKNOWN != 0 || ect & !3 != 0)?;
    refuse_if(asked & (SET_ECE | SET_CWR) != 0 && !of.is_protocol(ip::TCP))?;
    Ok(Box::new(move |cx| {
        if asked & SET_IP != 0
            && let Some(old) = tos(cx).filter(|old| old & 3 != ect)
        {
            set_tos(cx, old & !3 | ect);
        }
        // As on Linux, which does not ask whether the packet is a later fragment, what follows IPv4's header is TCP's.
        let tcp = cx.transport.filter(|found| found.protocol == ip::TCP);
        if asked & (SET_ECE | SET_CWR) == 0 || tcp.is_none() {
            return Verdict::Continue;
        }
        let base = tcp.map_or(0, |tcp| tcp.offset.into());
        let header: Option<[u8; 20]> = cx.peek(base);
        let Some([.., flags, _, _, _, _, _, _]) = header else { return Verdict::Drop };
        let mut new = flags;
        for (asked, wanted, bit) in
            [(asked & SET_ECE, bits & 1, 0x40), (asked & SET_CWR, bits & 2, 0x80)]
        {
            match (asked, wanted) {
                (0, _) => {}
                (_, 0) => new &= !bit,
                _ => new |= bit,
            }
        }
        if new != flags {
            rewrite(cx, base, base + 13, &[new], base + 16);
        }
        Verdict::Continue
    }))
}
