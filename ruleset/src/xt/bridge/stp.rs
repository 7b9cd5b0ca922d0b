//! `stp`: what bridges say to each other about spanning trees.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "stp",
    help: "Matches by what bridges say to each other about spanning trees.",
    size: 72,
    make,
    ..MATCH
}];

/// Type, flags, root's priority, address and cost, sender's priority and address, port, ages and delays: a bit each.
const KNOWN: u16 = 0xfff;
const TYPE: u16 = 1;
const CONFIG: u16 = KNOWN & !TYPE;
/// What Linux looks for in front of a message.
const HEADER: [u8; 6] = [0x42, 0x42, 3, 0, 0, 0];

/// A number of the message: its bit, where it stands in the message and how many bytes it has, and its limits.
struct Number {
    bit: u16,
    at: usize,
    wide: bool,
    range: std::ops::RangeInclusive<u32>,
}

/// An address of the message.
struct Address {
    bit: u16,
    at: usize,
    addr: [u8; 6],
    mask: [u8; 6],
}

fn make(of: &mut Use<'_>) -> Result<Act> {
    let info = of.info;
    let (asked, inverted) = (info.u16(68), info.u16(70));
    refuse_if((asked | inverted) & !KNOWN != 0 || asked == 0)?;
    let (kind, flags) = (info.u8(0), info.u8(4));
    let number = |bit: u16, at, from| Number {
        bit,
        at,
        wide: false,
        range: info.u16(from).into()..=info.u16(from + 2).into(),
    };
    let numbers = [
        number(4, 1, 6),
        Number { bit: 0x10, at: 9, wide: true, range: info.range32(24) },
        number(0x20, 13, 32),
        number(0x80, 21, 48),
        number(0x100, 23, 52),
        number(0x200, 25, 56),
        number(0x400, 27, 60),
        number(0x800, 29, 64),
    ];
    let address =
        |bit, at, from| Address { bit, at, addr: info.bytes(from), mask: info.bytes(from + 6) };
    let addresses = [address(8, 3, 10), address(0x40, 15, 36)];
    Ok(matches(move |cx| {
        let header = cx.data();
        let is = |so: bool, bit| asked & bit == 0 || so != (inverted & bit != 0);
        // The header that is looked for ends with the type.
        if cx.peek(header) != Some(HEADER) || !is(kind == 0, TYPE) {
            return false;
        }
        let config = header + HEADER.len();
        if asked & CONFIG == 0 {
            return true;
        }
        let Some([found]) = cx.peek(config) else { return false };
        let read = |number: &Number| -> Option<u32> {
            if number.wide {
                return cx.peek(config + number.at).map(u32::from_be_bytes);
            }
            cx.peek(config + number.at).map(|bytes| u16::from_be_bytes(bytes).into())
        };
        is(found == flags, 2)
            && numbers.iter().all(|number| {
                read(number).is_some_and(|found| is(number.range.contains(&found), number.bit))
            })
            && addresses.iter().all(|Address { bit, at, addr, mask }| {
                let found: Option<[u8; 6]> = cx.peek(config + at);
                found.is_some_and(|found| is(masked(found, *mask) == masked(*addr, *mask), *bit))
            })
    }))
}
