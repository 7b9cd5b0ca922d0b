//! What a set is, beside its elements.

use std::sync::Arc;

use crate::expr::Expr;

use super::super::ObjectKind;

/// `NFT_SET_…`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetFlags(pub u32);

impl SetFlags {
    /// It has no name of its own and goes with the one rule that uses it.
    pub const ANONYMOUS: u32 = 0x1;
    /// It does not change while a rule uses it.
    pub const CONSTANT: u32 = 0x2;
    /// Elements are ranges.
    pub const INTERVAL: u32 = 0x4;
    /// Elements have values.
    pub const MAP: u32 = 0x8;
    /// Elements may expire.
    pub const TIMEOUT: u32 = 0x10;
    /// Rules may put elements in.
    pub const EVAL: u32 = 0x20;
    /// Elements name objects.
    pub const OBJECT: u32 = 0x40;
    /// The key is a concatenation of ranges.
    pub const CONCAT: u32 = 0x80;
    /// Elements have expressions.
    pub const EXPR: u32 = 0x100;
    /// All of them.
    pub const ALL: u32 = 0x1ff;

    /// Whether this flag is set.
    pub const fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    /// Whether all of these are set.
    pub const fn has_all(self, flags: u32) -> bool {
        self.0 & flags == flags
    }
}

/// What a map's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// There are none.
    None,
    /// Bytes: their type, which only programs understand, and how many.
    Bytes {
        /// `NFTA_SET_DATA_TYPE`.
        kind: u32,
        /// `NFTA_SET_DATA_LEN`.
        len: u8,
    },
    /// Verdicts.
    Verdicts,
    /// Objects of a kind.
    Objects(ObjectKind),
}

/// How elements are kept; the kernel has an implementation for each and says its name in listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Keys of at most two bytes, known in advance (`nft_set_bitmap.c`).
    Bitmap,
    /// Single keys, so many at most (`nft_hash`, `nft_hash_fast`).
    Fixed,
    /// Single keys; rules may put some in (`nft_rhash`).
    Growing,
    /// Ranges of one field (`nft_set_rbtree.c`).
    Ranges,
    /// Ranges of several fields (`nft_set_pipapo.c`).
    Fields,
}

/// What a set is, beside its elements. It does not change but for [`Tuning`].
#[derive(Debug)]
pub struct Spec {
    /// Flags.
    pub flags: SetFlags,
    /// The type of keys, which only programs understand.
    pub key_type: u32,
    /// Bytes of a key.
    pub key_len: u8,
    /// What the values are.
    pub values: Values,
    /// `NFTA_SET_POLICY`: 0 prefers speed, 1 little memory.
    pub policy: u32,
    /// Bytes of each field of a concatenation of ranges.
    pub fields: Box<[u8]>,
    /// Run for each packet that finds an element, each element with a state of its own.
    pub exprs: Box<[Box<dyn Expr>]>,
    /// How elements are kept.
    pub layout: Layout,
}

/// What an update of a set (`add set` of one that is there) may change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// Nanoseconds that elements live for, where they do not say; 0: for ever.
    pub timeout: u64,
    /// `NFTA_SET_GC_INTERVAL`, milliseconds: stored.
    pub gc_interval: u32,
    /// Elements that fit; 0: any number.
    pub size: u32,
}

impl Spec {
    /// Bytes of a value in registers; 0 where values are verdicts, objects or nothing.
    pub const fn value_len(&self) -> usize {
        match self.values {
            Values::Bytes { len, .. } => len as usize,
            _ => 0,
        }
    }

    /// Whether it maps keys to bytes or verdicts (`NFT_SET_MAP`).
    pub const fn is_map(&self) -> bool {
        self.flags.has(SetFlags::MAP)
    }

    /// Whether an element may have these expressions: any where the set has none, else of the same kinds.
    pub fn allows(&self, exprs: &[Box<dyn Expr>]) -> bool {
        (self.exprs.is_empty() || same_kinds(&self.exprs, exprs)) && self.can_hold(exprs)
    }

    /// Whether the elements of such a set can have these expressions.
    pub fn can_hold(&self, exprs: &[Box<dyn Expr>]) -> bool {
        let visited = self.layout == Layout::Growing && !self.flags.has(SetFlags::TIMEOUT);
        visited || !exprs.iter().any(|expr| expr.is_visited())
    }

    /// Expressions for a new element.
    pub fn fresh_exprs(&self) -> Box<[Box<dyn Expr>]> {
        self.exprs.iter().filter_map(|expr| expr.fresh()).collect()
    }
}

/// Whether expressions are of the same kinds, one by one.
pub fn same_kinds(some: &[Box<dyn Expr>], others: &[Box<dyn Expr>]) -> bool {
    let names = |exprs: &[Box<dyn Expr>]| -> Vec<_> {
        exprs.iter().map(|expr| expr.kind().schema.name).collect()
    };
    names(some) == names(others)
}

/// A spec is shared by all snapshots.
pub type SharedSpec = Arc<Spec>;
