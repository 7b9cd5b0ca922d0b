//! Changing a flow by message: the kernel's `ctnetlink_change_conntrack`.

use nfnetlink::{Attr, Errno, Result, Table};
use packet::Tick;

use super::cta::top;
use super::state::{State, Update};
use super::{Top, text};
use crate::event;
use crate::flow::{Slot, Status};
use crate::settings::MAX_SECONDS;
use crate::shard::Shard;

/// Bits that a message must leave as they are: those that say what became of the flow, not what users want of it
/// (`IPS_UNCHANGEABLE_MASK`).
const FIXED_BITS: u32 = Status::SRC_NAT_DONE
    | Status::DST_NAT_DONE
    | Status::SRC_NAT
    | Status::DST_NAT
    | Status::EXPECTED
    | Status::CONFIRMED
    | Status::DYING
    | Status::SEQ_ADJUST
    | Status::TEMPLATE
    | Status::NAT_CLASH
    | Status::OFFLOAD
    | Status::HW_OFFLOAD;

/// Bytes of a helper's name without its NUL (`NF_CT_HELPER_NAME_LEN`).
const HELPER_NAME: usize = 15;

/// What the kernel tells of a flow that a message has changed, whatever it was.
const TOLD: u32 = event::REPLY
    | event::ASSURED
    | event::HELPER
    | event::PROTOINFO
    | event::SEQADJ
    | event::MARK
    | event::SYNPROXY;

/// New labels: words that are missing are cleared.
#[derive(Clone, Copy, Debug)]
struct Labels {
    bits: u128,
    keep: u128,
}

/// What a message wants of a flow. For a new one and for one that is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    /// NAT or a master is named, which only a new flow can have.
    only_new: bool,
    /// A helper is named.
    helper: bool,
    /// Seconds, as many as Linux can count.
    pub(super) timeout: Option<u32>,
    status: Option<u32>,
    state: Update,
    /// The new bits, and which of the old ones stay.
    mark: Option<(u32, u32)>,
    labels: Option<Labels>,
}

impl Change {
    /// Reads it, for a flow of `protocol`.
    ///
    /// # Errors
    ///
    /// As the kernel's: `EINVAL` for labels that are no whole words, a helper without a name; those of [`Update::parse`].
    pub(super) fn parse(protocol: u8, attrs: &Top<'_>) -> Result<Self> {
        let has = |kind: u16| attrs.get(kind).is_some();
        let keep = attrs.u32(top::MARK_MASK)?.map_or(0, |mask| !mask);
        Ok(Self {
            only_new: has(top::NAT_SRC) || has(top::NAT_DST) || has(top::TUPLE_MASTER),
            helper: attrs
                .get(top::HELP)
                .map(|attr| names_helper(&attr))
                .transpose()?
                .unwrap_or(false),
            timeout: attrs.u32(top::TIMEOUT)?.map(|seconds| seconds.min(MAX_SECONDS)),
            status: attrs.u32(top::STATUS)?,
            state: match attrs.get(top::PROTOINFO) {
                Some(attr) => Update::parse(&attr, protocol)?,
                None => Update::default(),
            },
            mark: attrs.u32(top::MARK)?.map(|mark| (mark, keep)),
            labels: match attrs.get(top::LABELS) {
                Some(attr) => Some(parse_labels(&attr, attrs.get(top::LABELS_MASK))?),
                None => None,
            },
        })
    }

    /// Changes a flow that is in the table, and tells of it.
    ///
    /// # Errors
    ///
    /// As the kernel's: `EOPNOTSUPP` for NAT, a master, a helper; `EPERM` for the timeout of a flow that has it fixed; `EBUSY`
    /// for bits that can't be changed so.
    pub(super) fn apply(self, shard: &mut Shard, slot: Slot, now: Tick) -> Result<()> {
        if self.only_new || self.helper {
            return Err(Errno::EOPNOTSUPP.into());
        }
        if let Some(seconds) = self.timeout {
            let status = shard.flow(slot).map_or(Status::default(), |flow| flow.status());
            if status.has(Status::FIXED_TIMEOUT) {
                return Err(Errno::EPERM.into());
            }
            shard.set_timeout(slot, seconds, now);
        }
        self.set_status(shard, slot)?;
        self.set_rest(shard, slot);
        self.set_labels(shard, slot);
        shard.note(slot, TOLD | event::LABEL);
        shard.deliver(slot, now);
        Ok(())
    }

    /// Gives a flow that is to be confirmed all but its timeout.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for a helper, `EBUSY` for a status that no new flow can have.
    pub(super) fn prepare(&self, shard: &mut Shard, slot: Slot) -> Result<()> {
        if self.helper {
            return Err(Errno::EOPNOTSUPP.into());
        }
        self.set_status(shard, slot)?;
        self.set_rest(shard, slot);
        Ok(())
    }

    /// Labels and events of a flow that was confirmed just now.
    pub(super) fn tell_new(&self, shard: &mut Shard, slot: Slot, now: Tick) {
        self.set_labels(shard, slot);
        let labels = if self.labels.is_some() { event::LABEL } else { 0 };
        shard.note(slot, TOLD | labels);
        shard.deliver(slot, now);
    }

    fn set_status(&self, shard: &mut Shard, slot: Slot) -> Result<()> {
        let Some(wanted) = self.status else { return Ok(()) };
        let Some(flow) = shard.flow(slot) else { return Err(Errno::ENOENT.into()) };
        // One that is to be confirmed counts as confirmed.
        let status = flow.status().0 | Status::CONFIRMED;
        let changed = status ^ wanted;
        let cleared = changed & !wanted;
        if changed & (Status::EXPECTED | Status::CONFIRMED | Status::DYING) != 0
            || cleared & (Status::SEEN_REPLY | Status::ASSURED) != 0
        {
            return Err(Errno::EBUSY.into());
        }
        shard.set_status(slot, wanted & !FIXED_BITS);
        Ok(())
    }

    fn set_rest(&self, shard: &mut Shard, slot: Slot) {
        if let Some(before) = shard.flow(slot).map(State::of_flow) {
            let after = self.state.apply(before);
            if after != before
                && let Some(words) = shard.proto_mut(slot)
            {
                after.store(words);
            }
        }
        if let Some((mark, keep)) = self.mark
            && let Some(before) = shard.flow(slot).map(|flow| flow.mark())
        {
            shard.set_mark(slot, before & keep ^ mark);
        }
    }

    fn set_labels(&self, shard: &mut Shard, slot: Slot) {
        if let Some(Labels { bits, keep }) = self.labels {
            let before = u128::from_le_bytes(shard.labels(slot).unwrap_or_default());
            let after = before & keep ^ bits;
            shard.set_labels(slot, after.to_le_bytes(), [u8::MAX; 16]);
        }
    }
}

/// Whether a helper is named; an empty name takes it away, and no flow has one.
fn names_helper(attr: &Attr<'_>) -> Result<bool> {
    let [_, name]: Table<'_, 2> = attr.table();
    let name = name.ok_or(Errno::EINVAL)?;
    Ok(!text(&name, HELPER_NAME)?.is_empty())
}

fn parse_labels(attr: &Attr<'_>, mask: Option<Attr<'_>>) -> Result<Labels> {
    let len = attr.data.len();
    if !len.is_multiple_of(4)
        || mask.is_some_and(|mask| mask.data.is_empty() || mask.data.len() != len)
    {
        return Err(attr.error(Errno::EINVAL));
    }
    let whole = |data: &[u8]| {
        let mut all = [0; 16];
        for (to, from) in all.iter_mut().zip(data) {
            *to = *from;
        }
        u128::from_le_bytes(all)
    };
    let keep = mask.map_or(0, |mask| {
        let named = 1u128.checked_shl(len as u32 * 8).map_or(u128::MAX, |bit| bit - 1);
        !whole(mask.data) & named
    });
    Ok(Labels { bits: whole(attr.data), keep })
}
