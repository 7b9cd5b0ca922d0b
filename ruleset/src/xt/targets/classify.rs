//! `CLASSIFY`: the packet's traffic class.

use super::*;

const BASE: Extension = Extension {
    name: "CLASSIFY",
    constancy: Constancy::Flow,
    help: "Sets the packet's priority, a traffic class.",
    hooks: OUTBOUND,
    size: 4,
    make: |of| {
        let class = of.info.u32(0);
        Ok(does(move |cx| cx.meta.priority = class))
    },
    ..Extension::TARGET
};

pub(super) static ALL: &[Extension] = &[
    BASE,
    // ARP's hooks have numbers of their own: out is 1, forward 2.
    Extension { families: ARP, hooks: Hooks(0b110), ..BASE },
];
