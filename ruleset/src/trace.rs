//! What listeners hear of a traced packet's way (`meta nftrace set 1`, `nft monitor trace`).

use crate::model::Chain;
use crate::model::Rule;
use crate::packet::Cx;
use crate::verdict::Verdict;

/// One step of a traced packet.
pub struct Trace<'a> {
    /// The base chain that the packet went into.
    pub base: &'a Chain,
    /// The chain that it is in.
    pub chain: &'a Chain,
    /// What happened.
    pub step: Step<'a>,
    /// The verdict.
    pub verdict: Verdict,
    /// Listeners have not heard of the packet in this base chain before: they are told what it looks like.
    pub first: bool,
}

/// What happened to a traced packet (`NFT_TRACETYPE_…`).
#[derive(Clone, Copy)]
pub enum Step<'a> {
    /// A rule decided, or matched and went on.
    Rule(&'a Rule),
    /// The chain returned: by this rule, or by its end.
    Return(Option<&'a Rule>),
    /// The base chain's policy decided.
    Policy,
}

/// Tells of one packet in one base chain.
pub(crate) struct Teller<'a> {
    base: &'a Chain,
    first: bool,
}

impl<'a> Teller<'a> {
    /// For a packet that goes into `base`.
    pub(crate) fn new(base: &'a Chain) -> Self {
        Self { base, first: true }
    }

    /// Tells of a step, where the packet is traced.
    #[inline]
    pub(crate) fn tell(
        &mut self,
        cx: &mut Cx<'_>,
        chain: &Chain,
        step: Step<'_>,
        verdict: Verdict,
    ) {
        if cx.meta.trace {
            let first = std::mem::take(&mut self.first);
            cx.trace(&Trace { base: self.base, chain, step, verdict, first });
        }
    }
}
