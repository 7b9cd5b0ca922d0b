//! A batch: a copy of the state that its messages change, what they named, and what must be checked before it counts.

use std::collections::{HashMap, HashSet};

use ahash::RandomState;
use nfnetlink::message::NLM_F_ECHO;
use nfnetlink::{Client, Errno, Error, Events, Header, Result};

use crate::counters::CounterPool;
use crate::expr::{Encode, Ref};
use crate::ids::{ChainId, Generation, Handle, SetId};
use crate::model::{BatchIds, ChainFlags, Course, Key, State};

use super::op::Told;
use super::validate::Fault;
use super::{Op, chain, elem, flowtable, generation, msg, object, rule, set, table, validate};

/// See the module's overview.
pub(crate) struct Batch {
    /// The state that becomes the state.
    pub(crate) state: State,
    /// What the batch calls by numbers of its own.
    pub(crate) ids: BatchIds,
    /// Where counters come from.
    pub(crate) counters: CounterPool,
    /// A base chain came, went or changed.
    pub(crate) hooks_changed: bool,
    /// Tables whose graph of chains may have got a loop, too deep, or an expression where it must not be.
    /// For each, the messages that made it so, with the chains that they changed.
    pub(crate) unchecked: HashMap<Handle, Vec<(Header, ChainId)>, RandomState>,
    /// Anything at all was changed; a batch that changes nothing makes no generation. Set by [`Op::is_heard`], which every
    /// change asks.
    pub(crate) changed: bool,
    /// Called once the batch is committed, for what is shared with the packet path and must not change before: elements of
    /// dynamic sets, updates of objects.
    pub(crate) on_commit: Vec<Box<dyn FnOnce() + Send>>,
    /// The message that was found at fault when this batch was tried before, by its sequence number, and why.
    pub(super) fault: Option<(u32, Error)>,
    /// The sequence number of its first message.
    pub(super) seq: Option<u32>,
    /// It is an [image](super::image), made of listings.
    pub(super) listed: bool,
    /// Its sender asked for an echo.
    pub(super) echo: bool,
    /// Elements that packets had put in and that the batch deletes: for the batch they are gone already.
    pub(crate) gone: HashSet<(SetId, Key), RandomState>,
    /// What it did last to sets of ranges.
    pub(crate) courses: HashMap<SetId, Course, RandomState>,
    /// Anonymous sets that this batch made: a rule must have come that uses them.
    pub(crate) unbound: Vec<SetId>,
    /// Chains of rules' own that this batch made, likewise.
    pub(crate) unbound_chains: Vec<ChainId>,
    /// Anonymous sets that no rule uses any more.
    pub(crate) unused: Vec<SetId>,
    /// What listeners will hear.
    pub(crate) told: Vec<Told>,
}

impl Batch {
    pub(super) fn new(state: &State, counters: CounterPool) -> Self {
        Self {
            state: state.clone(),
            ids: BatchIds::default(),
            counters,
            hooks_changed: false,
            unchecked: HashMap::default(),
            changed: false,
            on_commit: Vec::new(),
            fault: None,
            listed: false,
            seq: None,
            echo: false,
            gone: HashSet::default(),
            courses: HashMap::default(),
            unbound: Vec::new(),
            unbound_chains: Vec::new(),
            unused: Vec::new(),
            told: Vec::new(),
        }
    }

    /// The generation that the commit makes.
    pub(crate) fn generation(&self) -> Generation {
        // 0 means "none" to programs that ask (`nft_net->base_seq`).
        Generation(self.state.generation.0.wrapping_add(1).max(1))
    }

    /// Checks the whole.
    pub(super) fn check(&mut self) -> Result<(), Fault> {
        for (table, causes) in std::mem::take(&mut self.unchecked) {
            validate::table(&mut self.state, table, &causes)?;
        }
        let unbound = |id: &SetId| self.state.set(*id).is_some_and(|set| set.uses == 0);
        let loose = |id: &ChainId| self.state.chain(*id).is_some_and(|chain| chain.uses == 0);
        if self.unbound.iter().any(unbound) || self.unbound_chains.iter().any(loose) {
            return Err(Fault { error: Errno::EINVAL.into(), seq: None });
        }
        Ok(())
    }

    /// The state to commit, once it was checked, or nothing where nothing changed. Tells what is to be told.
    pub(super) fn finish(mut self, client: Client, now: u64, events: &mut Events) -> Option<State> {
        if !self.changed {
            return None;
        }
        self.state.generation = self.generation();
        let cx = Encode { state: &self.state, reset: false, now };
        self.told.drain(..).for_each(|told| told.tell(&cx, events));
        generation::announce(&self.state, client, self.seq.unwrap_or(0), self.echo, events);
        self.on_commit.drain(..).for_each(|act| act());
        Some(self.state)
    }

    /// Whether this batch deletes the element of this key that a packet had put in.
    pub(crate) fn is_gone(&self, set: SetId, key: Option<&Key>) -> bool {
        !self.gone.is_empty() && key.is_some_and(|key| self.gone.contains(&(set, key.clone())))
    }

    /// Counts a reference. `from` is the chain whose rule it stands in, for the graph of chains.
    pub(crate) fn link(&mut self, from: Option<ChainId>, to: Ref) {
        match to {
            Ref::Chain(id) => {
                if let Some(chain) = self.state.chains.get_mut(id.0) {
                    chain.uses += 1;
                }
            }
            Ref::Set(id) => {
                if let Some(set) = self.state.sets.get_mut(id.0) {
                    set.uses += 1;
                }
            }
            Ref::Object(id) => {
                if let Some(object) = self.state.objects.get_mut(id.0) {
                    object.uses += 1;
                }
            }
            Ref::Flowtable(id) => {
                if let Some(flowtable) = self.state.flowtables.get_mut(id.0) {
                    flowtable.uses += 1;
                }
            }
            Ref::Tracking(family) => {
                self.hooks_changed |= self.state.tracking.begin(family);
            }
        }
        if let Some(chain) = from.and_then(|id| self.state.chains.get_mut(id.0)) {
            *chain.jumps.entry(to).or_insert(0) += 1;
        }
    }

    /// Takes a reference back.
    pub(crate) fn unlink(&mut self, from: Option<ChainId>, to: Ref) {
        match to {
            Ref::Chain(id) => {
                if let Some(chain) = self.state.chains.get_mut(id.0) {
                    chain.uses = chain.uses.saturating_sub(1);
                    if chain.uses == 0 && chain.flags.has(ChainFlags::BINDING) {
                        rule::drop_binding(self, id);
                    }
                }
            }
            Ref::Set(id) => {
                if let Some(set) = self.state.sets.get_mut(id.0) {
                    set.uses = set.uses.saturating_sub(1);
                    if set.uses == 0 && set.is_anonymous() {
                        self.unused.push(id);
                    }
                }
            }
            Ref::Object(id) => {
                if let Some(object) = self.state.objects.get_mut(id.0) {
                    object.uses = object.uses.saturating_sub(1);
                }
            }
            Ref::Flowtable(id) => {
                if let Some(flowtable) = self.state.flowtables.get_mut(id.0) {
                    flowtable.uses = flowtable.uses.saturating_sub(1);
                }
            }
            Ref::Tracking(family) => {
                self.hooks_changed |= self.state.tracking.end(family);
            }
        }
        if let Some(chain) = from.and_then(|id| self.state.chains.get_mut(id.0))
            && let Some(count) = chain.jumps.get_mut(&to)
        {
            *count -= 1;
            if *count == 0 {
                chain.jumps.remove(&to);
            }
        }
    }
}

/// Applies one message.
pub(super) fn apply(op: &mut Op<'_>) -> Result<()> {
    op.batch.seq.get_or_insert(op.message.header.seq);
    op.batch.echo |= op.message.has(NLM_F_ECHO);
    if let Some((_, error)) = op.batch.fault.take_if(|(seq, _)| *seq == op.message.header.seq) {
        return Err(error);
    }
    match op.message.command() {
        msg::NEWTABLE => table::new(op),
        msg::DELTABLE | msg::DESTROYTABLE => table::delete(op),
        msg::NEWCHAIN => chain::new(op),
        msg::DELCHAIN | msg::DESTROYCHAIN => chain::delete(op),
        msg::NEWRULE => rule::new(op),
        msg::DELRULE | msg::DESTROYRULE => rule::delete(op),
        msg::NEWSET => set::new(op),
        msg::DELSET | msg::DESTROYSET => set::delete(op),
        msg::NEWSETELEM => elem::new(op),
        msg::DELSETELEM | msg::DESTROYSETELEM => elem::delete(op),
        msg::NEWOBJ => object::new(op),
        msg::DELOBJ | msg::DESTROYOBJ => object::delete(op),
        msg::NEWFLOWTABLE => flowtable::new(op),
        msg::DELFLOWTABLE | msg::DESTROYFLOWTABLE => flowtable::delete(op),
        _ => Err(Errno::EINVAL.into()),
    }
}
