//! `among`: lists of addresses. Its structure has no fixed size, for which Linux refuses it here; ebtables-nft sends sets.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "among",
    help: "Matches by lists of addresses.",
    standing: Standing::Refused("ebtables-nft sends sets"),
    size: usize::MAX / 2,
    ..MATCH
}];
