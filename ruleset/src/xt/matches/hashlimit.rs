//! `hashlimit`: a rate for each address or port.

use super::*;

const BASE: Extension = Extension {
    name: "hashlimit",
    help: "Matches as long as each address, port or network keeps a rate, or once it does not.",
    standing: Standing::Stored("takes every rate for kept"),
    ..Extension::MATCH
};

pub(super) static ALL: &[Extension] = &[
    Extension { revision: 1, size: 56, told: 48, make: first, ..BASE },
    Extension { revision: 2, size: 304, told: 296, make: |of| later(of, false), ..BASE },
    Extension { revision: 3, size: 312, told: 304, make: |of| later(of, true), ..BASE },
];

const INVERT: u32 = 1 << 4;
const BYTES: u32 = 1 << 5;
const RATE: u32 = 1 << 6;
/// All ways of counting (`XT_HASHLIMIT_ALL`).
const MODES: u32 = 0x7f;

/// What a limit is, of whatever revision.
struct Limit {
    average: u64,
    burst: u64,
    mode: u32,
    collect: u32,
    expire: u32,
    interval: Option<u32>,
    masks: [u8; 2],
}

fn first(of: &mut Use<'_>) -> Result<Act> {
    let info = of.info;
    let limit = Limit {
        mode: info.u32(16),
        average: info.u32(20).into(),
        burst: info.u32(24).into(),
        collect: info.u32(36),
        expire: info.u32(40),
        interval: None,
        masks: info.bytes(44),
    };
    limit.make(of, 16)
}

fn later(of: &mut Use<'_>, third: bool) -> Result<Act> {
    let info = of.info;
    let limit = Limit {
        average: info.u64(256),
        burst: info.u64(264),
        mode: info.u32(272),
        collect: info.u32(284),
        expire: info.u32(288),
        interval: third.then(|| info.u32(292)),
        masks: info.bytes(if third { 296 } else { 292 }),
    };
    limit.make(of, 255)
}

impl Limit {
    fn make(&self, of: &mut Use<'_>, name: usize) -> Result<Act> {
        file_name(of.info, 0, name)?;
        let bits = if of.family == Family::Ipv4 { 32 } else { 128 };
        refuse_if(self.collect == 0 || self.expire == 0)?;
        refuse_if(self.masks.iter().any(|mask| *mask > bits))?;
        refuse_if(self.mode & !MODES != 0)?;
        let by_rate = self.interval.is_some() && self.mode & RATE != 0;
        if by_rate {
            let average = self.average;
            refuse_if(average == 0 || average > u32::MAX.into() || self.interval == Some(0))?;
        } else if self.mode & BYTES != 0 {
            refuse_if(self.average < 2)?;
        } else if self.burst == 0 || self.average.wrapping_mul(self.burst) < self.average {
            return Err(Errno::ERANGE.into());
        }
        let over = self.mode & INVERT != 0;
        Ok(matches(move |_| !over))
    }
}
