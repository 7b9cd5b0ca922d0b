//! `connbytes`: how much a connection has carried. Where connections are not accounted (`nf_conntrack_acct`), nothing; a rule
//! does not switch that on, other than on Linux.

use super::*;

/// `enum xt_connbytes_what`.
const PACKETS: u8 = 0;
const BYTES: u8 = 1;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "connbytes",
    help: "Matches by how much the connection has carried.",
    families: ANY,
    size: 24,
    make: |of| {
        let (from, to, [what, direction]) = (of.info.u64(0), of.info.u64(8), of.info.bytes(16));
        refuse_if(what > 2 || direction > 2)?;
        of.tracked()?;
        let direction = Some(direction).filter(|direction| *direction < 2);
        Ok(matches(move |cx| {
            let Some(connection) = cx.connection_or_template() else { return false };
            let (packets, bytes) = connection.account(direction);
            let carried = match what {
                PACKETS => packets,
                BYTES => bytes,
                _ => bytes.checked_div(packets).unwrap_or(0),
            };
            if from <= to { (from..=to).contains(&carried) } else { carried < to || carried > from }
        }))
    },
    ..Extension::MATCH
}];
