//! `recent`: addresses seen not long ago.

use super::*;

const BASE: Extension = Extension {
    name: "recent",
    help: "Remembers addresses, and matches those seen not long ago.",
    standing: Standing::Stored("remembers no address: each is seen for the first time"),
    make,
    ..Extension::MATCH
};

pub(super) static ALL: &[Extension] =
    &[Extension { size: 212, ..BASE }, Extension { revision: 1, size: 228, ..BASE }];

const SET: u8 = 2;
const REMOVE: u8 = 8;
const REAP: u8 = 0x20;
const MODIFIERS: u8 = 0x30;
const ALL_BITS: u8 = 0x3f;
/// One of check, set, update and remove.
const WAYS: u8 = 0xf;
/// Times that are remembered of an address (`XT_RECENT_MAX_NSTAMPS`).
const HITS: u32 = 65536;
const NAME: usize = 200;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let (seconds, hits) = (of.info.u32(0), of.info.u32(4));
    let [asked, inverted] = of.info.bytes(8);
    refuse_if(asked & !ALL_BITS != 0 || (asked & WAYS).count_ones() != 1)?;
    let conditions = seconds != 0 || hits != 0 || asked & MODIFIERS != 0;
    refuse_if(asked & (SET | REMOVE) != 0 && conditions)?;
    refuse_if(asked & REAP != 0 && seconds == 0 || hits >= HITS)?;
    file_name(of.info, 10, NAME)?;
    Ok(matches(move |_| (asked & SET != 0) != (inverted != 0)))
}
