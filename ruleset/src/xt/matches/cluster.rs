//! `cluster`: the share of connections that this node of several takes.

use super::*;
use crate::expr::{jhash, scale};

/// `XT_CLUSTER_NODES_MAX`.
const NODES: u32 = 32;
/// `XT_CLUSTER_F_INV`.
const INVERT: u32 = 1;
/// `PACKET_HOST`, `PACKET_MULTICAST`.
const HOST: u8 = 0;
const MULTICAST: u8 = 2;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "cluster",
    constancy: Constancy::Flow,
    help: "Matches the share of connections that this node of several takes.",
    size: 16,
    make: |of| {
        let (nodes, mask) = (of.info.u32(0), of.info.u32(4));
        refuse_if(nodes > NODES)?;
        if u64::from(mask) >= 1 << nodes {
            return Err(Errno::EDOM.into());
        }
        of.tracked()?;
        let (seed, not) = (of.info.u32(8), of.info.u32(12) & INVERT != 0);
        Ok(matches(move |cx| {
            // Nodes of a cluster share a MAC address that is a group's.
            let dst = cx.layers.key.dst;
            let group =
                if cx.place.family == Family::Ipv6 { dst[0] == 0xff } else { dst[0] >> 4 == 14 };
            if !group && cx.pkttype() == MULTICAST {
                cx.meta.pkttype = Some(HOST);
            }
            let Some(connection) = cx.connection_or_template() else { return false };
            let source = connection.key(0);
            let len = if source.family == 6 { 16 } else { 4 };
            let hash = jhash(source.src.get(..len).unwrap_or_default(), seed);
            (mask >> scale(hash, nodes) & 1 != 0) != not
        }))
    },
    ..Extension::MATCH
}];
