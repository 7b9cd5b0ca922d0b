//! Expectations: there are none until there are helpers, and this says so as a kernel does that has none.

use std::sync::Arc;

use nfnetlink::message::NLM_F_CREATE;
use nfnetlink::subsystem::unknown_command;
use nfnetlink::{
    Client, Dump, Errno, Events, Header, Message, NfGen, Reply, Result, Subsystem, Table, Writer,
};

use super::cta::{SUBSYSTEM, SUBSYSTEM_EXP, expect};
use super::{Named, Nothing, Shards, ask, kind, tuple};

/// The ctnetlink_exp subsystem.
pub struct CtExpect {
    shards: Arc<dyn Shards>,
}

impl CtExpect {
    /// Answers for the workers of `shards`.
    pub fn new(shards: Arc<dyn Shards>) -> Self {
        Self { shards }
    }

    /// Whether there is this flow.
    fn has(&self, flow: Named) -> Result<bool> {
        for shard in 0..self.shards.count() {
            if ask(&*self.shards, shard, move |shard, _| flow.find(shard).is_some())? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Subsystem for CtExpect {
    fn id(&self) -> u8 {
        SUBSYSTEM_EXP
    }

    fn request(
        &mut self,
        message: &Message<'_>,
        _reply: &mut Reply<'_>,
        _events: &mut Events,
    ) -> Result<()> {
        let [_, master, named, mask, _, _, _, zone]: Table<'_, 8> = message.attrs().table();
        let family = message.nfgen()?.family;
        match message.command() {
            expect::MSG_NEW => {
                let (Some(master), Some(named), Some(_)) = (master, named, mask) else {
                    return Err(Errno::EINVAL.into());
                };
                let zone = zone.map(|zone| zone.u16()).transpose()?.unwrap_or(0);
                tuple::parse(&named, family)?;
                let master = Named { key: tuple::parse(&master, family)?.key, zones: [zone; 2] };
                // No flow has a helper, and only one that has can expect another.
                let known = message.has(NLM_F_CREATE) && self.has(master)?;
                Err(if known { Errno::EOPNOTSUPP } else { Errno::ENOENT }.into())
            }
            expect::MSG_GET => {
                tuple::parse(&named.or(master).ok_or(Errno::EINVAL)?, family)?;
                Err(Errno::ENOENT.into())
            }
            expect::MSG_DELETE => {
                // Without a tuple: all of them.
                let Some(named) = named else { return Ok(()) };
                tuple::parse(&named, family)?;
                Err(Errno::ENOENT.into())
            }
            expect::MSG_GET_STATS_CPU => Ok(()),
            _ => Err(unknown_command()),
        }
    }

    fn is_dump(&self, message: &Message<'_>) -> bool {
        matches!(message.command(), expect::MSG_GET | expect::MSG_GET_STATS_CPU)
    }

    fn dump(&mut self, message: &Message<'_>, _client: Client) -> Result<Box<dyn Dump>> {
        if message.command() == expect::MSG_GET_STATS_CPU {
            return Ok(Box::new(PerWorker { workers: self.shards.count(), next: 0 }));
        }
        Ok(Box::new(Nothing))
    }
}

/// What each worker counted of expectations: nothing.
struct PerWorker {
    workers: usize,
    next: usize,
}

impl Dump for PerWorker {
    fn next(&mut self, header: Header, _room: usize, out: &mut Writer) -> bool {
        if self.next >= self.workers {
            return false;
        }
        // The kernel gives these ctnetlink's own number.
        let header = Header { kind: kind(SUBSYSTEM, expect::MSG_GET_STATS_CPU), ..header };
        let nfgen = NfGen { res_id: self.next as u16, ..NfGen::default() };
        out.message(header, nfgen, |out| {
            for counter in expect::STATS {
                out.u32(counter, 0);
            }
        });
        self.next += 1;
        true
    }
}
