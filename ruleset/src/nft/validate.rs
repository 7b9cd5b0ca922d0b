//! What a commit checks of a table: no jumps too deep or in a circle, no expression where it must not be.
//!
//! One coloured walk over the graph of chains from its base chains, linear in chains and jumps: what lies below a chain is
//! found once and kept. Rules are not looked at; what they ask of base chains is summed up in their chain as they come and go.
//! As in the kernel, chains that no base chain reaches may do as they like until one does.

use ahash::HashMap;
use nfnetlink::{Errno, Error, Header};

use crate::expr::{Ref, Requires};
use crate::family::ChainType;
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

/// What is wrong with a table, and the message that made it so, by its sequence number, where one is known.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// What is wrong.
    pub(super) error: Error,
    /// The message to blame.
    pub(super) seq: Option<u32>,
}

/// Checks the table of this handle. `causes` are the messages of the batch, with the chain that each changed, by which it may
/// have become wrong: the refusal names the last that did.
///
/// # Errors
///
/// `EMLINK` for jumps too deep or a loop, `EOPNOTSUPP` for an expression that a base chain must not reach, `EINVAL` where that
/// is an extension of iptables.
pub(super) fn table(
    state: &mut State,
    handle: Handle,
    causes: &[(Header, ChainId)],
) -> Result<(), Fault> {
    let Some(table) = state.table_by_handle(handle) else { return Ok(()) };
    let chains: Vec<ChainId> = table.chains.iter().collect();
    for id in &chains {
        if state.chain(*id).is_some_and(|chain| chain.stale)
            && let Some(chain) = state.chains.get_mut(id.0)
        {
            let all = chain.rules.iter().map(|rule| rule.requires());
            chain.requires = all.fold(Requires::ANYTHING, Requires::and);
            chain.stale = false;
        }
    }
    let mut walk = Walk { state, seen: HashMap::default(), way: Vec::new() };
    for chain in chains.iter().filter_map(|id| walk.state.chain(*id)) {
        let Some(base) = &chain.base else { continue };
        let below = walk.down(chain).map_err(|error| walk.blame(error, causes))?;
        let Requires { types, hooks, compat } = below.requires;
        let has = |types: u8, kind: ChainType| types & (1 << kind as u8) != 0;
        if !has(types, base.kind) || !hooks.has(base.hook) {
            return Err(walk.blame(Errno::EOPNOTSUPP.into(), causes));
        }
        if !has(compat.types, base.kind) || !compat.hooks.has(base.hook) {
            return Err(walk.blame(Errno::EINVAL.into(), causes));
        }
    }
    Ok(())
}

/// A chain on the way, and where it leads that was not walked yet.
struct Stop {
    chain: ChainId,
    targets: Vec<ChainId>,
    below: Below,
}

impl Stop {
    fn new(state: &State, chain: &Chain) -> Self {
        let below = Below { depth: 1, requires: chain.requires };
        Self { chain: chain.id, targets: targets(state, chain), below }
    }

    fn add(&mut self, below: Below) {
        self.below.depth = self.below.depth.max(1 + below.depth);
        self.below.requires = self.below.requires.and(below.requires);
    }
}

struct Walk<'s> {
    state: &'s State,
    seen: HashMap<ChainId, Seen>,
    /// From the base chain to where the walk is.
    way: Vec<Stop>,
}

impl Walk<'_> {
    fn down(&mut self, base: &Chain) -> Result<Below, Error> {
        if let Some(Seen::Black(below)) = self.seen.get(&base.id) {
            return Ok(*below);
        }
        self.enter(base);
        loop {
            let Some(stop) = self.way.last_mut() else { return Err(Errno::EINVAL.into()) };
            if let Some(target) = stop.targets.pop() {
                match self.seen.get(&target) {
                    Some(Seen::Grey) => return Err(Errno::EMLINK.into()),
                    Some(Seen::Black(below)) => stop.add(*below),
                    None => {
                        if let Some(chain) = self.state.chain(target) {
                            self.enter(chain);
                        }
                    }
                }
                continue;
            }
            let (chain, below) = (stop.chain, stop.below);
            if below.depth > MAX_DEPTH {
                return Err(Errno::EMLINK.into());
            }
            self.seen.insert(chain, Seen::Black(below));
            self.way.pop();
            match self.way.last_mut() {
                Some(stop) => stop.add(below),
                None => return Ok(below),
            }
        }
    }

    fn enter(&mut self, chain: &Chain) {
        self.seen.insert(chain.id, Seen::Grey);
        self.way.push(Stop::new(self.state, chain));
    }

    /// Names the message that is to blame: the last that changed a chain of those that were walked.
    fn blame(&self, error: Error, causes: &[(Header, ChainId)]) -> Fault {
        let on_the_way = |chain: &ChainId| self.seen.contains_key(chain);
        let cause = causes.iter().rev().find(|(_, chain)| on_the_way(chain));
        Fault { error, seq: cause.map(|(header, _)| header.seq) }
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
            Ref::Object(_) | Ref::Flowtable(_) | Ref::Tracking(_) => {}
        }
    }
    all
}
