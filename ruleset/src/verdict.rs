//! Verdicts: what a rule says of a packet, and what a hook says in the end.

use crate::ids::ChainId;

/// What a rule, or a verdict map's element, says (`enum nft_verdicts` and netfilter's own verdicts).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next rule.
    Continue,
    /// The rule does not match: the next rule.
    Break,
    /// That chain, then back here.
    Jump(ChainId),
    /// That chain, then back to who called this one.
    Goto(ChainId),
    /// Back to who called this chain; in a base chain, its policy.
    Return,
    /// The packet goes on to the next base chain.
    Accept,
    /// The packet ends.
    Drop,
    /// The packet goes to a program.
    Queue(Queue),
    /// The rule took the packet for itself.
    Stolen,
}

/// Which program a packet goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// The queue's number.
    pub number: u16,
    /// Accept the packet when nobody listens there.
    pub bypass: bool,
}

/// `NF_DROP`.
pub const NF_DROP: i32 = 0;
/// `NF_ACCEPT`.
pub const NF_ACCEPT: i32 = 1;
/// `NF_STOLEN`.
pub const NF_STOLEN: i32 = 2;
/// `NF_QUEUE`.
pub const NF_QUEUE: i32 = 3;
/// `NFT_CONTINUE`.
pub const NFT_CONTINUE: i32 = -1;
/// `NFT_BREAK`.
pub const NFT_BREAK: i32 = -2;
/// `NFT_JUMP`.
pub const NFT_JUMP: i32 = -3;
/// `NFT_GOTO`.
pub const NFT_GOTO: i32 = -4;
/// `NFT_RETURN`.
pub const NFT_RETURN: i32 = -5;

impl Verdict {
    /// Its number on the wire (`NFTA_VERDICT_CODE`).
    pub const fn code(self) -> i32 {
        match self {
            Self::Continue => NFT_CONTINUE,
            Self::Break => NFT_BREAK,
            Self::Jump(_) => NFT_JUMP,
            Self::Goto(_) => NFT_GOTO,
            Self::Return => NFT_RETURN,
            Self::Accept => NF_ACCEPT,
            Self::Drop => NF_DROP,
            Self::Queue(queue) => NF_QUEUE | ((queue.number as i32) << 16),
            Self::Stolen => NF_STOLEN,
        }
    }
}
