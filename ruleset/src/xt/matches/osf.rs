//! `osf`: the sender's operating system. No fingerprints are loaded, so none is known, as on Linux without them.

use packet::wire::ip;

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "osf",
    help: "Matches by the sender's operating system, guessed from its first packet.",
    families: IPV4,
    hooks: INBOUND,
    protocol: ip::TCP,
    size: 48,
    make: |_| Ok(always(Verdict::Break)),
    ..Extension::MATCH
}];
