//! `HMARK`: a mark made of the packet's addresses and ports.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "HMARK",
    help: "Sets the packet's mark to a hash of its addresses and ports.",
    standing: Standing::Stored("leaves the mark as it is"),
    size: 60,
    make,
    ..Extension::TARGET
}];

fn make(_of: &mut Use<'_>) -> Result<Act> {
    Ok(always(Verdict::Continue))
}
