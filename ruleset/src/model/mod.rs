//! The ruleset as it is: tables, chains, rules, sets, objects, flowtables.
//!
//! # Overview
//!
//! [`State`] is a persistent value: a clone costs nothing and shares everything, a change copies only what it touches. A
//! batch changes a clone; when it is refused the clone is dropped, when it is committed the clone becomes the state. A dump
//! reads the state that it began with, and the workers' [`Program`](crate::program::Program) is made of the same parts.
//!
//! # Who may touch what
//!
//! The control side owns the `State`. What workers share with it never changes but for counters and atomics.

mod chain;
mod device;
mod flowtable;
mod index;
mod list;
mod object;
mod rule;
mod set;
mod slots;
mod state;
mod table;

pub use chain::{Base, Chain, ChainFlags};
pub use device::Device;
pub use flowtable::Flowtable;
pub use index::Index;
pub use list::{Cursor, List};
pub use object::{Object, ObjectBody, ObjectKind, ObjectType};
pub use rule::{Compat, Rule};
pub use set::{
    Ask, Course, Element, Extra, Hearing, Inserted, Key, Layout, Lifetime, Match, NewSet, Removed,
    Rest, Said, Set, SetFlags, SharedSpec, Spec, Tuning, Values, same_kinds,
};
pub use slots::Slots;
pub use state::{BatchIds, State, Tracking};
pub use table::{Table, TableFlags, TableKey};

/// A name, shared by all that mention it.
pub type Name = std::sync::Arc<str>;

/// What a program keeps beside a thing and only it understands (`NFTA_…_USERDATA`), comments for example.
pub type Userdata = std::sync::Arc<[u8]>;
