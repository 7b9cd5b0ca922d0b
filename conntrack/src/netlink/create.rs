//! New flows by message: the kernel's `ctnetlink_create_conntrack`.

use std::sync::Arc;

use nfnetlink::{Errno, Result};
use packet::Tick;

use super::change::Change;
use super::cta::top;
use super::nat::{self, Bind, Choice, Side};
use super::{CtNetlink, Named, NamedBoth, Top, ask};
use crate::flow::{Direction, Slot};
use crate::shard::Shard;

/// What a new flow is to be.
struct New {
    original: Named,
    reply: Named,
    seconds: u32,
    change: Change,
    /// `None` where the message names no NAT at all.
    nat: Option<Translation>,
    cause: u32,
}

/// The NAT of a new flow.
struct Translation {
    bind: Arc<Bind>,
    /// In the order in which it is decided.
    sides: [(Side, Choice); 2],
}

impl CtNetlink {
    /// # Errors
    ///
    /// As the kernel's: `EINVAL` where a tuple or the timeout is missing, `EEXIST` where another flow has one of the tuples,
    /// `ENOMEM` where the table is full or NAT finds nothing free.
    pub(super) fn create(&self, both: &NamedBoth, attrs: &Top<'_>, cause: u32) -> Result<()> {
        let (Some(original), Some(reply)) = (both.original, both.reply) else {
            return Err(Errno::EINVAL.into());
        };
        if original.key.protocol != reply.key.protocol {
            return Err(Errno::EINVAL.into());
        }
        let change = Change::parse(original.key.protocol, attrs)?;
        let seconds = change.timeout.ok_or(Errno::EINVAL)?;
        if attrs.get(top::TUPLE_MASTER).is_some() {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let nat = self.nat(original.key.family == 6, attrs)?;
        let owner = self.shards.owner(&original.key);
        let reply_owner = self.shards.owner(&reply.key);
        if reply_owner != owner {
            let taken =
                ask(&*self.shards, reply_owner, move |shard, _| reply.find(shard).is_some())?;
            if taken {
                return Err(Errno::EEXIST.into());
            }
        }
        let new = New { original, reply, seconds, change, nat, cause };
        ask(&*self.shards, owner, move |shard, now| {
            shard.on_behalf(new.cause, |shard| new.make(shard, now))
        })?
    }

    fn nat(&self, v6: bool, attrs: &Top<'_>) -> Result<Option<Translation>> {
        let choice = |kind: u16| match attrs.get(kind) {
            Some(attr) => nat::parse(&attr, v6).map(Some),
            None => Ok(None),
        };
        let (dst, src) = (choice(top::NAT_DST)?, choice(top::NAT_SRC)?);
        if dst.is_none() && src.is_none() {
            return Ok(None);
        }
        let bind = self.bind.as_ref().ok_or(Errno::EOPNOTSUPP)?;
        let sides =
            [(Side::Destination, dst.unwrap_or_default()), (Side::Source, src.unwrap_or_default())];
        Ok(Some(Translation { bind: Arc::clone(bind), sides }))
    }
}

impl New {
    fn make(&self, shard: &mut Shard, now: Tick) -> Result<()> {
        let original = self.original.key_in(Direction::Original);
        let reply = self.reply.key_in(Direction::Reply);
        let slot = shard.create(original, reply, now).map_err(|_| Errno::ENOMEM)?;
        let done = self.complete(shard, slot, now);
        if done.is_err() {
            shard.discard(slot);
        }
        done
    }

    fn complete(&self, shard: &mut Shard, slot: Slot, now: Tick) -> Result<()> {
        if let Some(Translation { bind, sides }) = &self.nat {
            for (side, choice) in sides {
                if !bind(shard, slot, *side, choice) {
                    return Err(Errno::ENOMEM.into());
                }
            }
        }
        shard.set_timeout(slot, self.seconds, now);
        self.change.prepare(shard, slot)?;
        shard.confirm(slot, now).map_err(|_| Errno::EEXIST)?;
        self.change.tell_new(shard, slot, now);
        Ok(())
    }
}
