//! A rule.

use crate::expr::{Expr, Ref, Requires};
use crate::ids::Handle;

use super::Userdata;

/// A rule: expressions in order. Immutable but for the state of its expressions.
#[derive(Debug)]
pub struct Rule {
    /// Its handle in the table.
    pub handle: Handle,
    /// What it consists of.
    pub exprs: Box<[Box<dyn Expr>]>,
    /// The program's own, comments for example.
    pub userdata: Option<Userdata>,
    /// What iptables-nft says of the rule's protocol.
    pub compat: Option<Compat>,
}

/// `NFTA_RULE_COMPAT`: which protocol the rule matches, for xt matches that want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compat {
    /// The protocol's number.
    pub protocol: u32,
    /// `NFT_RULE_COMPAT_F_…`: bit 1 means that the protocol is not this.
    pub flags: u32,
}

impl Rule {
    /// All that its expressions point at.
    pub fn refs(&self, each: &mut dyn FnMut(Ref)) {
        self.exprs.iter().for_each(|expr| expr.refs(each));
    }

    /// What its expressions together ask of base chains.
    pub fn requires(&self) -> Requires {
        self.exprs.iter().fold(Requires::ANYTHING, |all, expr| all.and(expr.requires()))
    }
}
