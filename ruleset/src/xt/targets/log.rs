//! `LOG`: tells of the packet in the daemon's log.

use super::*;
use crate::expr::LogRecord;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "LOG",
    help: "Tells of the packet in the log.",
    size: 32,
    make: |of| {
        let [level, flags] = of.info.bytes(0);
        let prefix: Box<str> = of.info.text(2, 30).ok_or(Errno::EINVAL)?.into();
        refuse_if(level >= 8)?;
        Ok(does(move |cx| {
            cx.log(&LogRecord { prefix: &prefix, level, flags: flags.into() });
        }))
    },
    ..Extension::TARGET
}];
