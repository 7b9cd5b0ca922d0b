//! `cluster`: the share of connections that this node of several takes.

use super::*;

/// `XT_CLUSTER_NODES_MAX`.
const NODES: u32 = 32;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "cluster",
    help: "Matches the share of connections that this node of several takes.",
    standing: Standing::Stored(NO_CONNECTION),
    size: 16,
    make: |of| {
        let (nodes, mask) = (of.info.u32(0), of.info.u32(4));
        refuse_if(nodes > NODES)?;
        if u64::from(mask) >= 1 << nodes {
            return Err(Errno::EDOM.into());
        }
        of.tracked()?;
        Ok(always(Verdict::Break))
    },
    ..Extension::MATCH
}];
