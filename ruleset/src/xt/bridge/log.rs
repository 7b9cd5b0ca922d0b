//! `log`, `nflog`: tells of the frame.

use super::*;
use crate::expr::LogRecord;

pub(super) static ALL: &[Extension] = &[
    Extension {
        name: "log",
        help: "Tells of the frame in the log.",
        size: 36,
        make: |of| {
            let level = of.info.u8(0);
            refuse_if(of.info.u32(32) & !0xb != 0 || level >= 8)?;
            end(of.told, 30);
            let prefix = Info(of.told).text(1, 30);
            Ok(does(move |cx| {
                // It always tells MAC addresses.
                cx.log(&LogRecord { prefix: &prefix, level, flags: 0x20 });
            }))
        },
        ..TARGET
    },
    Extension {
        name: "nflog",
        help: "Tells the listeners of a group of the frame.",
        standing: Standing::Stored("tells nobody"),
        size: 76,
        make: |of| {
            refuse_if(of.info.u16(8) != 0)?;
            end(of.told, 75);
            Ok(always(Verdict::Continue))
        },
        ..TARGET
    },
];

/// A text ends at this byte at last.
fn end(told: &mut [u8], at: usize) {
    if let Some(last) = told.get_mut(at) {
        *last = 0;
    }
}
