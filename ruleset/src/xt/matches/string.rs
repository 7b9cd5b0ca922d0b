//! `string`: bytes somewhere in the packet.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "string",
    revision: 1,
    help: "Matches packets with these bytes in them.",
    families: ANY,
    size: 160,
    told: 152,
    make,
    ..Extension::MATCH
}];

/// The longest text (`XT_STRING_MAX_PATTERN_SIZE`).
const LONGEST: usize = 128;
const INVERT: u8 = 1;
const ANY_CASE: u8 = 2;
/// Bytes that are looked at at once.
const CHUNK: usize = 512;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let info = of.info;
    let (from, to) = (usize::from(info.u16(0)), usize::from(info.u16(2)));
    let (len, flags) = (usize::from(info.u8(148)), info.u8(149));
    refuse_if(from > to)?;
    let algorithm = info.name(4, 16).ok_or(Errno::EINVAL)?;
    refuse_if(len > LONGEST || flags & !(INVERT | ANY_CASE) != 0)?;
    refuse_if(len == 0)?;
    // Both find the same; a state machine (fsm) would not be a text.
    if !matches!(algorithm, b"bm" | b"kmp") {
        return Err(Errno::ENOENT.into());
    }
    let text = info.bytes::<LONGEST>(20);
    let any_case = flags & ANY_CASE != 0;
    Ok(matches(move |cx| {
        let text = text.get(..len).unwrap_or_default();
        let start = cx.data() + from;
        let end = cx.end().min(cx.data() + to);
        has(cx, start, end, text, any_case) != (flags & INVERT != 0)
    }))
}

/// Whether the text stands between these places of the frame.
fn has(cx: &Cx<'_>, mut start: usize, end: usize, text: &[u8], any_case: bool) -> bool {
    let mut chunk = [0; CHUNK];
    while start + text.len() <= end {
        let len = CHUNK.min(end - start);
        let Some(chunk) = chunk.get_mut(..len) else { return false };
        if !cx.bytes.read_at(start, chunk) {
            return false;
        }
        let same = |window: &[u8]| {
            if any_case { window.eq_ignore_ascii_case(text) } else { window == text }
        };
        if chunk.windows(text.len()).any(same) {
            return true;
        }
        // What may begin here and end in the next.
        start += len + 1 - text.len();
    }
    false
}
