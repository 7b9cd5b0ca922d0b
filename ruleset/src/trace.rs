//! What listeners hear of a traced packet's way (`meta nftrace set 1`, `nft monitor trace`).

use crate::model::Chain;
use crate::model::Rule;
use crate::packet::Cx;
use crate::verdict::Verdict;

/// One step of a traced packet.
pub struct Trace<'a> {
    /// The chain that it is in.
    pub chain: &'a Chain,
    /// What happened.
    pub step: Step<'a>,
    /// The verdict.
    pub verdict: Verdict,
}

/// What happened to a traced packet (`NFT_TRACETYPE_…`).
pub enum Step<'a> {
    /// A rule decided.
    Rule(&'a Rule),
    /// The chain returned, by a verdict or its end.
    Return,
    /// The base chain's policy decided.
    Policy,
}

/// Tells of a step, for a packet that is traced.
pub(crate) fn tell(cx: &mut Cx<'_>, chain: &Chain, step: Step<'_>, verdict: Verdict) {
    if cx.meta.trace {
        cx.env.trace(&Trace { chain, step, verdict });
    }
}
