//! `cpu`: the worker that handles the packet.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "cpu",
    help: "Matches by the worker that handles the packet.",
    families: ANY,
    size: 8,
    make: |of| {
        let (worker, inverted) = (of.info.u32(0), of.info.u32(4));
        refuse_if(inverted & !1 != 0)?;
        Ok(matches(move |cx| (u32::from(cx.place.worker.0) == worker) != (inverted != 0)))
    },
    ..Extension::MATCH
}];
