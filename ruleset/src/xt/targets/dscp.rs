//! `DSCP`, `TOS`: changes the type of service or traffic class.

use super::*;
use crate::xt::header::{set_tos, tos};

pub(super) static ALL: &[Extension] = &[
    Extension {
        name: "DSCP",
        help: "Changes the differentiated-services code point.",
        table: Some("mangle"),
        size: 1,
        make: |of| {
            let dscp = of.info.u8(0);
            if dscp > 0x3f {
                return Err(Errno::EDOM.into());
            }
            Ok(change(move |tos| tos & 3 | dscp << 2))
        },
        ..Extension::TARGET
    },
    Extension {
        name: "TOS",
        revision: 1,
        help: "Changes bits of the type of service or traffic class.",
        table: Some("mangle"),
        size: 2,
        make: |of| {
            let [value, mask] = of.info.bytes(0);
            Ok(change(move |tos| tos & !mask ^ value))
        },
        ..Extension::TARGET
    },
];

fn change(new: impl Fn(u8) -> u8 + Send + Sync + 'static) -> Act {
    does(move |cx| {
        if let Some(old) = tos(cx).filter(|old| *old != new(*old)) {
            set_tos(cx, new(old));
        }
    })
}
