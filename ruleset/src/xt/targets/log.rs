//! `LOG`: tells of the packet in the daemon's log.

use super::*;
use crate::expr::LogRecord;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "LOG",
    help: "Tells of the packet in the log.",
    size: 32,
    make: |of| {
        let [level, flags] = of.info.bytes(0);
        refuse_if(level >= 8 || of.info.is_set(31))?;
        let prefix = of.info.text(2, 30);
        Ok(does(move |cx| {
            cx.log(&LogRecord { prefix: &prefix, level, flags: flags.into() });
        }))
    },
    ..Extension::TARGET
}];
