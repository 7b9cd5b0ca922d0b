//! `sctp`: ports and chunks.

use packet::wire::ip;

use super::*;
use crate::xt::header::judge;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "sctp",
    help: "Matches SCTP packets by ports and chunks.",
    protocol: ip::SCTP,
    size: 292,
    make,
    ..Extension::MATCH
}];

const SOURCE: u32 = 1;
const DESTINATION: u32 = 2;
const CHUNKS: u32 = 4;

/// Which chunks a packet must have.
#[derive(Clone, Copy, PartialEq)]
enum Which {
    Any,
    AllOf,
    Only,
}

/// What is asked of a packet's chunks.
struct Chunks {
    which: Which,
    /// A bit for each type.
    types: [u32; 8],
    /// Type, flags and those of the flags that count.
    flags: Box<[[u8; 3]]>,
}

fn make(of: &mut Use<'_>) -> Result<Act> {
    let info = of.info;
    let (destination, source) = (info.range16(0), info.range16(4));
    let (count, asked, inverted) = (info.u32(280), info.u32(284), info.u32(288));
    refuse_if((asked | inverted) & !7 != 0 || inverted & !asked != 0 || count > 4)?;
    let which = match info.u32(264) {
        1 => Which::Any,
        2 => Which::AllOf,
        4 => Which::Only,
        _ => {
            refuse_if(asked & CHUNKS != 0)?;
            Which::Any
        }
    };
    let chunks = Chunks {
        which,
        types: std::array::from_fn(|n| info.u32(8 + 4 * n)),
        flags: (0..count as usize).map(|n| info.bytes(268 + 3 * n)).collect(),
    };
    Ok(judges(move |cx| {
        let is = |found: bool, what| asked & what == 0 || found != (inverted & what != 0);
        judge(cx, |at, [s0, s1, d0, d1, ..]: [u8; 12]| {
            let so = is(source.contains(&u16::from_be_bytes([s0, s1])), SOURCE)
                && is(destination.contains(&u16::from_be_bytes([d0, d1])), DESTINATION);
            if !so || asked & CHUNKS == 0 {
                return Some(so);
            }
            chunks.are(cx, at + 12).map(|found| is(found, CHUNKS))
        })
    }))
}

impl Chunks {
    /// Whether the chunks from here on are as asked; `None` for a packet that is cut off.
    fn are(&self, cx: &Cx<'_>, mut at: usize) -> Option<bool> {
        let mut missing = self.types;
        loop {
            let [kind, flags, l0, l1]: [u8; 4] = cx.peek(at)?;
            let len = u16::from_be_bytes([l0, l1]);
            if len == 0 {
                return None;
            }
            at += usize::from(len).next_multiple_of(4);
            let (word, bit) = (usize::from(kind) / 32, 1 << (kind % 32));
            let listed = self.types.get(word).is_some_and(|word| word & bit != 0);
            let flagged = listed && self.flags_are(kind, flags);
            match self.which {
                Which::Any if flagged => return Some(true),
                Which::Only if !flagged => return Some(false),
                Which::AllOf if flagged => {
                    if let Some(word) = missing.get_mut(word) {
                        *word &= !bit;
                    }
                }
                _ => {}
            }
            if at >= cx.end() {
                break;
            }
        }
        Some(match self.which {
            Which::Any => false,
            Which::Only => true,
            Which::AllOf => missing == [0; 8],
        })
    }

    fn flags_are(&self, kind: u8, flags: u8) -> bool {
        let wanted = self.flags.iter().find(|[of, _, _]| *of == kind);
        wanted.is_none_or(|[_, wanted, mask]| flags & mask == *wanted)
    }
}
