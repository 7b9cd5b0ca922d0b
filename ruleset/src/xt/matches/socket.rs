//! `socket`: whether a local socket takes the packet. What passes through is for none.

use super::*;

const BASE: Extension = Extension {
    name: "socket",
    help: "Matches where a local socket takes the packet.",
    hooks: Hooks::of([Hook::Prerouting, Hook::Input]),
    ..Extension::MATCH
};

pub(super) static ALL: &[Extension] = &[
    Extension { families: IPV4, make: |_| Ok(always(Verdict::Break)), ..BASE },
    Extension { revision: 1, size: 1, make: |of| make(of, 1), ..BASE },
    Extension { revision: 2, size: 1, make: |of| make(of, 3), ..BASE },
    Extension { revision: 3, size: 1, make: |of| make(of, 7), ..BASE },
];

fn make(of: &mut Use<'_>, known: u8) -> Result<Act> {
    refuse_if(of.info.u8(0) & !known != 0)?;
    Ok(always(Verdict::Break))
}
