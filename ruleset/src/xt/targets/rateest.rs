//! `RATEEST`: estimates a rate.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "RATEEST",
    help: "Estimates the rate of the packets that reach it.",
    standing: Standing::Stored("estimates nothing"),
    size: 32,
    told: 24,
    make,
    ..Extension::TARGET
}];

const NAME: usize = 16;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let [interval, log] = of.info.bytes(16);
    of.info.name(0, NAME).ok_or(Errno::ENAMETOOLONG)?;
    let interval = interval as i8;
    refuse_if(!(-2..=3).contains(&interval) || log == 0 || log >= 31)?;
    Ok(always(Verdict::Continue))
}
