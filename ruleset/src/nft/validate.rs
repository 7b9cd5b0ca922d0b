//! What a commit checks of a table: no loop, no jumps too deep, no expression where it must not be.
//!
//! One walk over the graph of chains from its base chains, linear in chains and jumps: a chain's depth below it is found once
//! and kept. Rules are not looked at; what they ask of base chains is summed up in their chain as they come and go.

use std::collections::HashMap;

use ahash::RandomState;
use nfnetlink::{Errno, Result};

use crate::expr::{Ref, Requires};
use crate::ids::{ChainId, Handle};
use crate::model::{Chain, State};
use crate::reference::MAX_DEPTH;

/// What is known of a chain.
#[derive(Clone, Copy)]
enum Seen {
    /// It is being walked: to meet it again is a loop.
    Grey,
    /// It is done.
    Black(Below),
}

/// What lies below a chain, itself included.
#[derive(Clone, Copy)]
struct Below {
    /// Chains on the longest way down.
    depth: usize,
    /// What all of them ask.
    requires: Requires,
}

/// Checks the table of this handle.
///
/// # Errors
///
/// `ELOOP` for a loop, `EMLINK` for jumps too deep, `EOPNOTSUPP` for an expression that a base chain must not reach.
pub(super) fn table(state: &State, handle: Handle) -> Result<()> {
    let Some(table) = state.table_by_handle(handle) else { return Ok(()) };
    let mut seen = HashMap::default();
    for chain in table.chains.iter().filter_map(|id| state.chain(id)) {
        // Every chain is walked, so that a loop that no base chain reaches is found before one does.
        let below = walk(state, chain, &mut seen)?;
        let Some(base) = &chain.base else { continue };
        let types = below.requires.types & (1 << base.kind as u8) != 0;
        if !types || !below.requires.hooks.has(base.hook) {
            return Err(Errno::EOPNOTSUPP.into());
        }
    }
    Ok(())
}

/// One chain of the walk, with the chains that it leads to and have still to be walked.
struct Frame {
    chain: ChainId,
    targets: Vec<ChainId>,
    below: Below,
}

impl Frame {
    fn new(state: &State, chain: &Chain) -> Self {
        let below = Below { depth: 1, requires: chain.requires };
        Self { chain: chain.id, targets: targets(state, chain), below }
    }

    fn add(&mut self, below: Below) {
        self.below.depth = self.below.depth.max(1 + below.depth);
        self.below.requires = self.below.requires.and(below.requires);
    }
}

fn walk(
    state: &State,
    root: &Chain,
    seen: &mut HashMap<ChainId, Seen, RandomState>,
) -> Result<Below> {
    if let Some(Seen::Black(below)) = seen.get(&root.id) {
        return Ok(*below);
    }
    seen.insert(root.id, Seen::Grey);
    let mut way = vec![Frame::new(state, root)];
    loop {
        let Some(frame) = way.last_mut() else { return Err(Errno::EINVAL.into()) };
        if let Some(target) = frame.targets.pop() {
            match seen.get(&target) {
                Some(Seen::Grey) => return Err(Errno::ELOOP.into()),
                Some(Seen::Black(below)) => frame.add(*below),
                None => {
                    if let Some(chain) = state.chain(target) {
                        seen.insert(target, Seen::Grey);
                        way.push(Frame::new(state, chain));
                    }
                }
            }
            continue;
        }
        let Some(Frame { chain, below, .. }) = way.pop() else { return Err(Errno::EINVAL.into()) };
        if below.depth > MAX_DEPTH {
            return Err(Errno::EMLINK.into());
        }
        seen.insert(chain, Seen::Black(below));
        match way.last_mut() {
            Some(frame) => frame.add(below),
            None => return Ok(below),
        }
    }
}

/// The chains that a chain's rules lead to, directly and through verdict maps.
fn targets(state: &State, chain: &Chain) -> Vec<ChainId> {
    let mut all = Vec::new();
    for to in chain.jumps.keys() {
        match to {
            Ref::Chain(id) => all.push(*id),
            Ref::Set(id) => {
                if let Some(set) = state.set(*id) {
                    all.extend(set.jumps.keys().copied());
                }
            }
            Ref::Object(_) => {}
        }
    }
    all
}
