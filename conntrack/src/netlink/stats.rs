//! What is counted: `conntrack -C` and `-S`.

use std::sync::Arc;

use nfnetlink::message::NLM_F_MULTI;
use nfnetlink::{Dump, Header, NfGen, Reply, Result, Writer};

use super::cta::{SUBSYSTEM, msg, stats};
use super::{Shards, ask, kind};
use crate::shard::Stats;

/// How many flows there are, and may be.
///
/// # Errors
///
/// `EAGAIN` where a worker is gone.
pub(super) fn global(shards: &dyn Shards, reply: &mut Reply<'_>) -> Result<()> {
    let mut entries = 0u32;
    for shard in 0..shards.count() {
        entries = entries.saturating_add(ask(shards, shard, |shard, _| shard.stats().count)?);
    }
    let max = ask(shards, 0, |shard, _| shard.settings().max)?;
    reply.message(kind(SUBSYSTEM, msg::GET_STATS), NLM_F_MULTI, NfGen::default(), |out| {
        out.u32(stats::GLOBAL_ENTRIES, entries);
        out.u32(stats::GLOBAL_MAX_ENTRIES, max);
    });
    Ok(())
}

/// What each worker counted.
pub(super) struct PerWorker {
    shards: Arc<dyn Shards>,
    next: usize,
}

impl PerWorker {
    pub(super) fn new(shards: Arc<dyn Shards>) -> Self {
        Self { shards, next: 0 }
    }
}

impl Dump for PerWorker {
    fn next(&mut self, header: Header, _room: usize, out: &mut Writer) -> bool {
        if self.next >= self.shards.count() {
            return false;
        }
        let counted = ask(&*self.shards, self.next, |shard, _| shard.stats().clone());
        let header = Header { kind: kind(SUBSYSTEM, msg::GET_STATS_CPU), ..header };
        let nfgen = NfGen { res_id: self.next as u16, ..NfGen::default() };
        out.message(header, nfgen, |out| put(out, &counted.unwrap_or_default()));
        self.next += 1;
        true
    }
}

fn put(out: &mut Writer, counted: &Stats) {
    // The kernel's are 32 bits wide.
    let mut put = |kind, number: u64| out.u32(kind, number as u32);
    put(stats::FOUND, counted.found.get());
    put(stats::INVALID, counted.invalid);
    put(stats::INSERT, counted.insert);
    put(stats::INSERT_FAILED, counted.insert_failed);
    put(stats::DROP, counted.drop);
    put(stats::EARLY_DROP, counted.early_drop);
    put(stats::ERROR, counted.error);
    put(stats::SEARCH_RESTART, counted.search_restart);
    put(stats::CLASH_RESOLVE, counted.clash_resolve);
    put(stats::CHAIN_TOOLONG, counted.chain_toolong);
}
