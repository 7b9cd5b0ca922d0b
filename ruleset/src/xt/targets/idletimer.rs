//! `IDLETIMER`: tells when nothing has matched for a while.

use super::*;

const BASE: Extension = Extension {
    name: "IDLETIMER",
    help: "Tells programs when nothing has matched for a while.",
    standing: Standing::Stored("tells nobody"),
    ..Extension::TARGET
};

pub(super) static ALL: &[Extension] = &[
    Extension { size: 40, told: 32, make: |of| make(of), ..BASE },
    Extension {
        revision: 1,
        size: 48,
        told: 40,
        make: |of| {
            // Nobody is told by netlink either: Linux has that no more.
            if of.info.is_set(32) {
                return Err(Errno::EOPNOTSUPP.into());
            }
            let act = make(of)?;
            // A timer of the clock, or one that also runs asleep.
            refuse_if(of.info.u8(33) > 1)?;
            Ok(act)
        },
        ..BASE
    },
];

/// The longest time in seconds: its milliseconds must fit.
const LONGEST: u32 = i32::MAX as u32 / 1000;
const LABEL: usize = 28;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let timeout = of.info.u32(0);
    refuse_if(timeout == 0 || timeout >= LONGEST || !of.info.is_set(4))?;
    refuse_if(of.info.name(4, LABEL).is_none())?;
    Ok(always(Verdict::Continue))
}
