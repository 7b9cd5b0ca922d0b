//! `cgroup`: the control group of the socket that a packet comes from. What passes through comes from none.

use nfnetlink::Error;

use super::*;

const HELP: &str = "Matches by the control group of the local socket.";
const HOOKS: Hooks = Hooks::of([Hook::Input, Hook::Output, Hook::Postrouting]);
const NO_PATH: &str = "there are no control groups here that a path could name";

pub(super) static ALL: &[Extension] = &[
    Extension {
        name: "cgroup",
        help: HELP,
        families: ANY,
        hooks: HOOKS,
        size: 8,
        make: |of| {
            refuse_if(of.info.u32(4) & !1 != 0)?;
            Ok(always(Verdict::Break))
        },
        ..Extension::MATCH
    },
    Extension {
        name: "cgroup",
        revision: 1,
        help: HELP,
        families: ANY,
        hooks: HOOKS,
        size: 4112,
        told: 4104,
        make,
        ..Extension::MATCH
    },
    Extension {
        name: "cgroup",
        revision: 2,
        help: HELP,
        families: ANY,
        hooks: HOOKS,
        size: 528,
        told: 520,
        make,
        ..Extension::MATCH
    },
];

/// Its flags stand in front: a path, a class, and what is inverted.
fn make(of: &mut Use<'_>) -> Result<Act> {
    let [path, by_class, not_path, not_class] = of.info.bytes(0);
    refuse_if((not_path | not_class) & !1 != 0 || (path != 0) == (by_class != 0))?;
    // All are below the root.
    if path != 0 && !matches!(of.info.bytes(4), [0, _] | [b'/', 0]) {
        return Err(Error::new(Errno::EINVAL).because(NO_PATH));
    }
    Ok(always(Verdict::Break))
}
