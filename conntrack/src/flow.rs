//! What a flow is: one record of three cache lines.
//!
//! # Overview
//!
//! A record has a [`Half`] for each direction, the line that a packet of that direction reads, and a [`Shared`] line with the
//! protocol's state and the deadline. What few flows have (labels, accounts, timestamps) is kept beside, in memory that is
//! not touched where nobody asks for it.

use packet::FlowKey;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Which of a flow's two keys: the way that its first packet went, or back (`IP_CT_DIR_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// As the first packet.
    Original = 0,
    /// Back.
    Reply = 1,
}

impl Direction {
    /// The other one.
    #[inline(always)]
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

/// A place in a shard's slab. Valid until its flow is freed; what is kept for longer keeps [`Flow::generation`] too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// What a packet is to its flow (`enum ip_conntrack_info`, same numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Info {
    /// Of an established flow, original direction.
    Established = 0,
    /// Begins a flow, or says an error, that another flow brought about.
    Related = 1,
    /// Begins a flow.
    New = 2,
    /// Of an established flow, reply direction.
    EstablishedReply = 3,
    /// As `Related`, in reply direction.
    RelatedReply = 4,
}

impl Info {
    /// The direction that it stands for.
    #[inline(always)]
    pub const fn direction(self) -> Direction {
        match self {
            Self::Established | Self::Related | Self::New => Direction::Original,
            Self::EstablishedReply | Self::RelatedReply => Direction::Reply,
        }
    }

    /// What `ct state` reads: `NF_CT_STATE_BIT`.
    #[inline(always)]
    pub const fn state_bit(self) -> u32 {
        1 << (self as u32 % 3 + 1)
    }
}

/// Bits of a flow (`enum ip_conntrack_status`, same numbers).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// Brought about by another flow.
    pub const EXPECTED: u32 = 1;
    /// Packets went both ways.
    pub const SEEN_REPLY: u32 = 1 << 1;
    /// Not to be given up early.
    pub const ASSURED: u32 = 1 << 2;
    /// In the table: its first packet has left.
    pub const CONFIRMED: u32 = 1 << 3;
    /// Its source is translated.
    pub const SRC_NAT: u32 = 1 << 4;
    /// Its destination is translated.
    pub const DST_NAT: u32 = 1 << 5;
    /// TCP sequence numbers are adjusted.
    pub const SEQ_ADJUST: u32 = 1 << 6;
    /// Its source's translation is decided, be it none.
    pub const SRC_NAT_DONE: u32 = 1 << 7;
    /// Its destination's translation is decided, be it none.
    pub const DST_NAT_DONE: u32 = 1 << 8;
    /// On its way out of the table.
    pub const DYING: u32 = 1 << 9;
    /// Packets do not renew its timeout.
    pub const FIXED_TIMEOUT: u32 = 1 << 10;
    /// A template: never in the table.
    pub const TEMPLATE: u32 = 1 << 11;
    /// The clash of two first packets was resolved for it.
    pub const NAT_CLASH: u32 = 1 << 12;
    /// A rule gave it a helper.
    pub const HELPER: u32 = 1 << 13;
    /// Offloaded.
    pub const OFFLOAD: u32 = 1 << 14;
    /// Offloaded to hardware.
    pub const HW_OFFLOAD: u32 = 1 << 15;

    /// Whether any of these bits is set.
    #[inline(always)]
    pub const fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }
}

/// What the flow cache remembers of a direction: which recipe, made in which era.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Cached {
    /// Counts changes of what recipes depend on; 0: nothing is remembered.
    pub era: u32,
    /// The recipe's number.
    pub recipe: u32,
}

/// A direction's line.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct Half {
    /// What a packet of this direction has in its headers when it arrives.
    pub key: FlowKey,
    /// What the rules said of this direction's packets.
    pub cached: Cached,
    /// The flow's mark, in both halves: a packet reads one of them.
    pub(crate) mark: u32,
    /// The original half: id, filed beat, then policy, event mask, and [`LOCAL`] and the like. The reply half: next and previous
    /// in a list, security mark.
    own: [u32; 3],
}

/// The line of both directions.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct Shared {
    /// When it ends, in [beats](BEAT); before it is confirmed: how many of them it will have.
    pub(crate) deadline: u32,
    /// [`Status`].
    pub(crate) status: u16,
    /// Events noted and not yet told, and above them what the shard knows of the record: [`IN_USE`] and the like.
    pub(crate) noted: u16,
    /// The protocol's own: `proto` has a view for each.
    pub(crate) proto: [u32; 14],
}

/// The bits of [`Shared::noted`] that are events (`enum ip_conntrack_events`).
pub(crate) const EVENTS: u16 = 0x0fff;
/// The record holds a flow.
pub(crate) const IN_USE: u16 = 1 << 12;
/// It has accounts.
pub(crate) const HAS_ACCOUNTS: u16 = 1 << 13;
/// It has a time of its beginning.
pub(crate) const HAS_START: u16 = 1 << 14;
/// It has labels.
pub(crate) const HAS_LABELS: u16 = 1 << 15;

/// Above policy and event mask: it is this node's alone.
const LOCAL: u32 = 1 << 28;
/// Above policy and event mask: another node named it.
const IMPORTED: u32 = 1 << 29;

/// Nanoseconds in a beat, in which deadlines are counted: 2²⁴, about 17 ms.
pub const BEAT: u64 = 1 << 24;

/// A flow.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub struct Flow {
    /// By [`Direction`].
    pub(crate) halves: [Half; 2],
    pub(crate) shared: Shared,
}

const _: () = assert!(size_of::<Flow>() == 192);

impl Flow {
    /// The half of a direction.
    #[inline(always)]
    pub fn half(&self, direction: Direction) -> &Half {
        let [original, reply] = &self.halves;
        match direction {
            Direction::Original => original,
            Direction::Reply => reply,
        }
    }

    #[inline(always)]
    pub(crate) fn half_mut(&mut self, direction: Direction) -> &mut Half {
        let [original, reply] = &mut self.halves;
        match direction {
            Direction::Original => original,
            Direction::Reply => reply,
        }
    }

    /// The headers of a packet of this direction when it arrives.
    #[inline(always)]
    pub fn key(&self, direction: Direction) -> &FlowKey {
        &self.half(direction).key
    }

    /// Its bits.
    #[inline(always)]
    pub fn status(&self) -> Status {
        Status(u32::from(self.shared.status))
    }

    /// Its mark.
    #[inline(always)]
    pub fn mark(&self) -> u32 {
        self.half(Direction::Original).mark
    }

    /// Its mark, from the line that a packet of this direction reads anyway.
    #[inline(always)]
    pub fn mark_at(&self, direction: Direction) -> u32 {
        self.half(direction).mark
    }

    /// Its security mark.
    pub fn secmark(&self) -> u32 {
        let [_, _, secmark] = self.half(Direction::Reply).own;
        secmark
    }

    pub(crate) fn set_secmark(&mut self, to: u32) {
        let [_, _, secmark] = &mut self.half_mut(Direction::Reply).own;
        *secmark = to;
    }

    /// Its number: random-looking, constant, another one for each flow of a shard until 2³² were there (`CTA_ID`).
    #[inline(always)]
    pub fn id(&self) -> u32 {
        let [id, _, _] = self.half(Direction::Original).own;
        id
    }

    pub(crate) fn set_id(&mut self, to: u32) {
        let [id, _, _] = &mut self.half_mut(Direction::Original).own;
        *id = to;
    }

    /// Tells this flow from those that have been, and will be, in the same slot. The same number as [`id`](Self::id).
    #[inline(always)]
    pub fn generation(&self) -> u32 {
        self.id()
    }

    /// The shard's number for the timeouts that a rule gave it; 0: those of the settings.
    #[inline(always)]
    pub fn policy(&self) -> u16 {
        let [_, _, word] = self.half(Direction::Original).own;
        word as u16
    }

    pub(crate) fn set_policy(&mut self, policy: u16) {
        let [_, _, word] = &mut self.half_mut(Direction::Original).own;
        *word = *word & 0xffff_0000 | u32::from(policy);
    }

    /// Which events are told of it (`IPCT_…` bits, see [`crate::event`]).
    #[inline(always)]
    pub fn event_mask(&self) -> u32 {
        let [_, _, word] = self.half(Direction::Original).own;
        word >> 16 & EVENTS as u32
    }

    pub(crate) fn set_event_mask(&mut self, mask: u32) {
        let [_, _, word] = &mut self.half_mut(Direction::Original).own;
        *word = (mask & EVENTS as u32) << 16 | *word & (0xffff | LOCAL | IMPORTED);
    }

    /// Whether it is this node's alone: no other node hears of it.
    #[inline(always)]
    pub fn is_local(&self) -> bool {
        self.has_own(LOCAL)
    }

    pub(crate) fn set_local(&mut self, local: bool) {
        self.set_own(LOCAL, local);
    }

    /// Whether it has another node's name ([`Shard::origin`](crate::Shard::origin)).
    #[inline(always)]
    pub fn is_imported(&self) -> bool {
        self.has_own(IMPORTED)
    }

    pub(crate) fn set_imported(&mut self, imported: bool) {
        self.set_own(IMPORTED, imported);
    }

    #[inline(always)]
    fn has_own(&self, bit: u32) -> bool {
        let [_, _, word] = self.half(Direction::Original).own;
        word & bit != 0
    }

    fn set_own(&mut self, bit: u32, on: bool) {
        let [_, _, word] = &mut self.half_mut(Direction::Original).own;
        *word = if on { *word | bit } else { *word & !bit };
    }

    /// Whether it has these keys.
    pub(crate) fn has_keys(&self, [original, reply]: &[FlowKey; 2]) -> bool {
        self.key(Direction::Original) == original && self.key(Direction::Reply) == reply
    }

    pub(crate) fn set_mark(&mut self, mark: u32) {
        for half in &mut self.halves {
            half.mark = mark;
        }
    }

    /// The protocol's own state; `proto` has a view for each protocol.
    #[inline(always)]
    pub fn proto(&self) -> &[u32; 14] {
        &self.shared.proto
    }

    /// True of a record that holds a flow.
    #[inline(always)]
    pub(crate) fn is_in_use(&self) -> bool {
        self.shared.noted & IN_USE != 0
    }

    /// Whether its packets are counted.
    #[inline(always)]
    pub(crate) fn has_accounts(&self) -> bool {
        self.shared.noted & HAS_ACCOUNTS != 0
    }

    /// The beat at which the list that it is in falls due: never after the deadline.
    #[inline(always)]
    pub(crate) fn filed(&self) -> u32 {
        let [_, filed, _] = self.half(Direction::Original).own;
        filed
    }

    pub(crate) fn set_filed(&mut self, to: u32) {
        let [_, filed, _] = &mut self.half_mut(Direction::Original).own;
        *filed = to;
    }

    /// The next and the previous in its list.
    #[inline(always)]
    pub(crate) fn links(&self) -> [u32; 2] {
        let [next, previous, _] = self.half(Direction::Reply).own;
        [next, previous]
    }

    pub(crate) fn set_next(&mut self, to: u32) {
        let [next, _, _] = &mut self.half_mut(Direction::Reply).own;
        *next = to;
    }

    pub(crate) fn set_previous(&mut self, to: u32) {
        let [_, previous, _] = &mut self.half_mut(Direction::Reply).own;
        *previous = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_bits_are_the_kernels() {
        // NF_CT_STATE_BIT(ctinfo) = 1 << (ctinfo % IP_CT_IS_REPLY + 1)
        let bits = [
            (Info::Established, 2),
            (Info::Related, 4),
            (Info::New, 8),
            (Info::EstablishedReply, 2),
            (Info::RelatedReply, 4),
        ];
        for (info, bit) in bits {
            assert_eq!(info.state_bit(), bit, "{info:?}");
        }
    }
}
