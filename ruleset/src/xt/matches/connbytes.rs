//! `connbytes`: how much a connection has carried.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "connbytes",
    help: "Matches by how much the connection has carried.",
    standing: Standing::Stored(NO_CONNECTION),
    families: ANY,
    size: 24,
    make: |of| {
        refuse_if(of.info.u8(16) > 2 || of.info.u8(17) > 2)?;
        of.tracked()?;
        Ok(always(Verdict::Break))
    },
    ..Extension::MATCH
}];
