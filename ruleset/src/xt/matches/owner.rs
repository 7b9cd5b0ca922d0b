//! `owner`: whose socket a packet comes from. What passes through comes from none.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "owner",
    revision: 1,
    help: "Matches by user and group of the local socket.",
    hooks: Hooks::of([Hook::Output, Hook::Postrouting]),
    size: 20,
    make,
    ..Extension::MATCH
}];

const USER: u8 = 1;
const GROUP: u8 = 2;
const NOBODY: u32 = u32::MAX;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let (users, groups) = (of.info.range32(0), of.info.range32(8));
    let (asked, inverted) = (of.info.u8(16), of.info.u8(17));
    refuse_if(asked & !0xf != 0)?;
    for (bit, ids) in [(USER, users), (GROUP, groups)] {
        let (min, max) = ids.into_inner();
        refuse_if(asked & bit != 0 && (min == NOBODY || max == NOBODY || max < min))?;
    }
    Ok(matches(move |_| asked == inverted))
}
