//! `TRACE`: tells listeners of the packet's way.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "TRACE",
    help: "Tells listeners of the packet's way through the rules.",
    table: Some("raw"),
    make: |_| Ok(does(|cx| cx.meta.trace = true)),
    ..Extension::TARGET
}];
