//! `SYNPROXY`: answers the start of TCP connections itself.

use packet::wire::ip;

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "SYNPROXY",
    help: "Answers the start of TCP connections in place of the server.",
    standing: Standing::Stored("lets packets on to the server"),
    hooks: Hooks::of([Hook::Input, Hook::Forward]),
    protocol: ip::TCP,
    size: 4,
    make: |of| {
        of.tracked()?;
        Ok(always(Verdict::Continue))
    },
    ..Extension::TARGET
}];
