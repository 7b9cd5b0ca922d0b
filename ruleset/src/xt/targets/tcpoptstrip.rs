//! `TCPOPTSTRIP`: takes options out of TCP headers.

use packet::wire::ip;

use super::*;
use crate::xt::header::{Transport, rewrite, tcp_options, transport};

pub(super) static ALL: &[Extension] = &[Extension {
    name: "TCPOPTSTRIP",
    help: "Puts padding in the place of TCP options.",
    table: Some("mangle"),
    protocol: ip::TCP,
    size: 32,
    make: |of| {
        let wanted: [u32; 8] = std::array::from_fn(|n| of.info.u32(4 * n));
        Ok(Box::new(move |cx| match strip(cx, &wanted) {
            Some(()) => Verdict::Continue,
            None => Verdict::Drop,
        }))
    },
    ..Extension::TARGET
}];

/// An option that only fills.
const PADDING: u8 = 1;
const LONGEST: usize = 40;

/// `None` where the packet cannot be right.
fn strip(cx: &mut Cx<'_>, wanted: &[u32; 8]) -> Option<()> {
    let Transport::At(header) = transport(cx) else { return Some(()) };
    let options = tcp_options(cx, header)?;
    if options.start > options.end || options.end > cx.end() {
        return None;
    }
    let mut at = options.start;
    while at + 1 < options.end {
        let [kind, len]: [u8; 2] = cx.peek(at)?;
        let len = if kind <= PADDING { 1 } else { usize::from(len.max(1)) };
        if at + len > options.end {
            break;
        }
        let bit = wanted.get(usize::from(kind / 32)).is_some_and(|w| w >> (kind % 32) & 1 == 1);
        if bit && let Some(padding) = [PADDING; LONGEST].get(..len) {
            rewrite(cx, header, at, padding, header + 16);
        }
        at += len;
    }
    Some(())
}
