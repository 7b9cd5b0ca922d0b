//! Datagrams in fragments: later fragments have no ports, and follow their first one.
//!
//! # Overview
//!
//! ```text
//! first --> goes on, its key is kept -----> then those that waited, one by one (next_held)
//! later --> the first was there: goes on with its key
//!       \-> it was not: waits
//! ```
//!
//! Nothing is put together (Linux does, `nf_defrag`): only which bytes of a datagram were there is kept, to see overlaps and the
//! end. What a datagram's fragments say that does not agree ends it: what waits and what comes later is dropped, until its
//! time is over. A fragment whose bytes were all there already is dropped alone, as in Linux.
//!
//! Everything is bounded ([`Limits`]) and reserved at the start. Where datagrams run out, the one that has waited for longest
//! makes room: a flood of fragments that fit nothing does not lock the others out. A worker owns one, and time is an argument.

use std::collections::HashMap;

use arrayvec::ArrayVec;
use packet::wire::ipv6::{self, Ipv6ExtHeader, Ipv6FragmentHeader, Ipv6Header};
use packet::wire::{self, ip, ipv4::Ipv4Header};
use packet::{DropReason, FlowKey, FragmentPart, Frame, L3, Layers, Tick};

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Datagrams that are known of at once.
    pub datagrams: usize,
    /// Fragments that wait for their first one.
    pub held: usize,
    /// Bytes of these.
    pub bytes: usize,
    /// Seconds that an IPv4 datagram has (`net.ipv4.ipfrag_time`).
    pub seconds4: u32,
    /// Seconds that an IPv6 datagram has (`nf_conntrack_frag6_timeout`).
    pub seconds6: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { datagrams: 4096, held: 1024, bytes: 4 << 20, seconds4: 30, seconds6: 60 }
    }
}

/// What fragments of one datagram have in common. Of IPv6 the protocol is not among it (RFC 8200, 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    src: [u8; 16],
    dst: [u8; 16],
    id: u32,
    protocol: u8,
    family: u8,
    zone: u16,
}

/// Where a fragment stands in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its datagram.
    pub name: Name,
    /// Its first byte.
    pub start: u32,
    /// The byte behind its last.
    pub end: u32,
    /// Others follow.
    pub more: bool,
    /// What the first fragment's header says the datagram carries.
    protocol: u8,
}

impl Part {
    /// Reads it from a parsed packet; `None`: it is no fragment.
    pub fn of<F: Frame>(frame: &F, layers: &Layers, zone: u16) -> Option<Self> {
        if layers.fragment == FragmentPart::Whole {
            return None;
        }
        let l3 = usize::from(layers.l3_offset);
        let (id, start, more, at, named) = match layers.l3 {
            L3::Ipv4 => {
                let header: Ipv4Header = wire::read(frame, l3)?;
                let more = header.more_fragments();
                let id = u32::from(header.id.get());
                (id, header.fragment_offset(), more, l3 + header.header_len(), layers.protocol)
            }
            L3::Ipv6 => {
                let (header, at) = fragment_header(frame, l3)?;
                (header.id.get(), header.offset(), header.more_fragments(), at, 0)
            }
            L3::Arp | L3::Other => return None,
        };
        let FlowKey { src, dst, family, .. } = layers.key;
        let len = layers.end.checked_sub(u32::try_from(at).ok()?)?;
        let start = u32::try_from(start).ok()?;
        Some(Self {
            name: Name { src, dst, id, protocol: named, family, zone },
            start,
            end: start + len,
            more,
            protocol: layers.protocol,
        })
    }
}

/// An IPv6 packet's fragment header, and where what is fragmented begins.
fn fragment_header<F: Frame>(frame: &F, l3: usize) -> Option<(Ipv6FragmentHeader, usize)> {
    let mut number = wire::read::<Ipv6Header, F>(frame, l3)?.next_header;
    let mut at = l3 + ipv6::LEN;
    for _ in 0..packet::layers::MAX_EXTENSIONS {
        if number == ip::FRAGMENT {
            return Some((wire::read(frame, at)?, at + ipv6::EXT_LEN));
        }
        let header: Ipv6ExtHeader = wire::read(frame, at)?;
        at += header.size(number);
        number = header.next_header;
    }
    None
}

/// What becomes of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate<F> {
    /// It goes on. A first fragment by its own key; a later one by this, its first one's.
    Goes(F, FlowKey),
    /// It waits for its first one.
    Held,
    /// It is dropped.
    Dropped(F, DropReason),
}

const NONE: u32 = u32::MAX;
/// Pieces with gaps between them that are kept of a datagram.
const PIECES: usize = 16;

#[derive(Debug)]
struct Datagram {
    name: Name,
    /// The first fragment's key, once it was there.
    key: Option<FlowKey>,
    /// Why later fragments are dropped.
    refused: Option<DropReason>,
    /// The bytes that were there, in order, with gaps between.
    pieces: ArrayVec<(u32, u32), PIECES>,
    /// Its length, once its last fragment was there.
    len: Option<u32>,
    /// The first and last of those that wait.
    held: [u32; 2],
    /// When it ends.
    deadline: Tick,
    /// Neighbours in the order of age, of its family.
    older: u32,
    newer: u32,
}

/// A fragment that waits.
struct Held<F> {
    frame: Option<F>,
    bytes: usize,
    next: u32,
}

/// Who gets the frames that are dropped on the way.
pub type Dropped<'a, F> = &'a mut dyn FnMut(F, DropReason);

/// The datagrams of a worker.
pub struct Fragments<F> {
    limits: Limits,
    index: HashMap<Name, u32, ahash::RandomState>,
    datagrams: Vec<Option<Datagram>>,
    free: Vec<u32>,
    /// By family, 4 and 6: the oldest and the newest.
    ages: [[u32; 2]; 2],
    held: Vec<Held<F>>,
    free_held: Vec<u32>,
    bytes: usize,
}

impl<F> Fragments<F> {
    /// With nothing in it. Takes all the memory that it will need.
    pub fn new(limits: Limits) -> Self {
        let numbers = |count: usize| (0..u32::try_from(count).unwrap_or(NONE)).rev().collect();
        let empty = || Held { frame: None, bytes: 0, next: NONE };
        Self {
            limits,
            index: HashMap::with_capacity_and_hasher(limits.datagrams, ahash::RandomState::new()),
            datagrams: (0..limits.datagrams).map(|_| None).collect(),
            free: numbers(limits.datagrams),
            ages: [[NONE; 2]; 2],
            held: (0..limits.held).map(|_| empty()).collect(),
            free_held: numbers(limits.held),
            bytes: 0,
        }
    }

    /// Takes a fragment whose headers give `key`. When a first one goes on, those that waited for it can be had from
    /// [`next_held`](Self::next_held) as soon as it has its flow.
    pub fn take(
        &mut self,
        part: &Part,
        key: &FlowKey,
        frame: F,
        now: Tick,
        dropped: Dropped<'_, F>,
    ) -> Fate<F> {
        // Its second fragment begins in the middle of the TCP header: what rules read of that would not be what arrives.
        if part.protocol == ip::TCP && part.start == 8 {
            return Fate::Dropped(frame, DropReason::FragmentTiny);
        }
        let Some(at) = self.datagram(part, now, dropped) else {
            return Fate::Dropped(frame, DropReason::FragmentNoRoom);
        };
        let Some(datagram) = self.at(at) else {
            return Fate::Dropped(frame, DropReason::FragmentNoRoom);
        };
        if let Some(reason) = datagram.refused {
            return Fate::Dropped(frame, reason);
        }
        match datagram.cover(part) {
            Ok(()) => {}
            Err(DropReason::FragmentOverlap) => {
                self.refuse(&part.name, DropReason::FragmentOverlap, dropped);
                return Fate::Dropped(frame, DropReason::FragmentOverlap);
            }
            Err(reason) => return Fate::Dropped(frame, reason),
        }
        if part.start == 0 {
            datagram.key = Some(*key);
        }
        let Some(key) = datagram.key else {
            return self.hold(at, frame, (part.end - part.start) as usize);
        };
        if datagram.is_complete() && datagram.held == [NONE; 2] {
            self.forget(at, DropReason::FragmentTimeout, dropped);
        }
        Fate::Goes(frame, key)
    }

    /// The next fragment that waited for a first one that is there by now, and the first one's key.
    pub fn next_held(&mut self, name: &Name) -> Option<(F, FlowKey)> {
        let at = *self.index.get(name)?;
        let datagram = self.at(at)?;
        let key = datagram.key?;
        let [first, last] = datagram.held;
        let next = self.held.get(first as usize)?.next;
        let datagram = self.at(at)?;
        datagram.held = [next, if next == NONE { NONE } else { last }];
        let done = next == NONE && datagram.is_complete();
        let frame = self.release(first);
        if done {
            self.forget(at, DropReason::FragmentTimeout, &mut |_, _| ());
        }
        frame.map(|frame| (frame, key))
    }

    /// Drops all of a datagram that waits and will come: the first fragment did not pass, with
    /// [`DropReason::FragmentRefused`].
    pub fn refuse(&mut self, name: &Name, reason: DropReason, dropped: Dropped<'_, F>) {
        let Some(at) = self.index.get(name).copied() else { return };
        let Some(datagram) = self.at(at) else { return };
        datagram.refused = Some(reason);
        self.drop_held(at, reason, dropped);
    }

    /// Ends what has been there for too long.
    pub fn expire(&mut self, now: Tick, dropped: Dropped<'_, F>) {
        for family in [0, 1] {
            while let Some([oldest, _]) = self.ages.get(family).copied()
                && self.at(oldest).is_some_and(|datagram| datagram.deadline <= now)
            {
                self.forget(oldest, DropReason::FragmentTimeout, dropped);
            }
        }
    }

    /// How many fragments wait.
    pub fn held(&self) -> usize {
        self.held.len() - self.free_held.len()
    }

    /// How many datagrams are known of.
    pub fn datagrams(&self) -> usize {
        self.index.len()
    }

    fn at(&mut self, at: u32) -> Option<&mut Datagram> {
        self.datagrams.get_mut(at as usize)?.as_mut()
    }

    /// The datagram of a fragment, made where it is not there.
    fn datagram(&mut self, part: &Part, now: Tick, dropped: Dropped<'_, F>) -> Option<u32> {
        if let Some(at) = self.index.get(&part.name) {
            return Some(*at);
        }
        if self.free.is_empty() {
            let oldest = self.oldest()?;
            self.forget(oldest, DropReason::FragmentNoRoom, dropped);
        }
        let at = self.free.pop()?;
        let family = usize::from(part.name.family == 6);
        let seconds = if family == 0 { self.limits.seconds4 } else { self.limits.seconds6 };
        let [oldest, newest] = *self.ages.get(family)?;
        let datagram = Datagram {
            name: part.name,
            key: None,
            refused: None,
            pieces: ArrayVec::new(),
            len: None,
            held: [NONE; 2],
            deadline: Tick(now.0 + u64::from(seconds) * 1_000_000_000),
            older: newest,
            newer: NONE,
        };
        *self.datagrams.get_mut(at as usize)? = Some(datagram);
        if let Some(newest) = self.at(newest) {
            newest.newer = at;
        }
        *self.ages.get_mut(family)? = [if oldest == NONE { at } else { oldest }, at];
        self.index.insert(part.name, at);
        Some(at)
    }

    /// The oldest of both families: that which ends first.
    fn oldest(&mut self) -> Option<u32> {
        let [[four, _], [six, _]] = self.ages;
        let end = |this: &mut Self, at| this.at(at).map(|datagram| (datagram.deadline, at));
        let (four, six) = (end(self, four), end(self, six));
        four.into_iter().chain(six).min().map(|(_, at)| at)
    }

    fn hold(&mut self, at: u32, frame: F, bytes: usize) -> Fate<F> {
        let room = self.bytes + bytes <= self.limits.bytes;
        let Some(place) = self.free_held.pop_if(|_| room) else {
            // Its bytes count as seen: whoever sends it again sends the datagram again.
            return Fate::Dropped(frame, DropReason::FragmentNoRoom);
        };
        self.bytes += bytes;
        if let Some(held) = self.held.get_mut(place as usize) {
            *held = Held { frame: Some(frame), bytes, next: NONE };
        }
        if let Some(datagram) = self.at(at) {
            let [first, last] = datagram.held;
            datagram.held = [if first == NONE { place } else { first }, place];
            if let Some(last) = self.held.get_mut(last as usize) {
                last.next = place;
            }
        }
        Fate::Held
    }

    fn release(&mut self, place: u32) -> Option<F> {
        let held = self.held.get_mut(place as usize)?;
        let frame = held.frame.take()?;
        self.bytes -= held.bytes;
        self.free_held.push(place);
        Some(frame)
    }

    fn drop_held(&mut self, at: u32, reason: DropReason, dropped: Dropped<'_, F>) {
        let Some(datagram) = self.at(at) else { return };
        let [mut place, _] = std::mem::replace(&mut datagram.held, [NONE; 2]);
        while let Some(next) = self.held.get(place as usize).map(|held| held.next) {
            if let Some(frame) = self.release(place) {
                dropped(frame, reason);
            }
            place = next;
        }
    }

    /// Takes a datagram out, and what of it waits.
    fn forget(&mut self, at: u32, reason: DropReason, dropped: Dropped<'_, F>) {
        self.drop_held(at, reason, dropped);
        let Some(datagram) = self.datagrams.get_mut(at as usize).and_then(Option::take) else {
            return;
        };
        let Datagram { name, older, newer, .. } = datagram;
        if let Some(older) = self.at(older) {
            older.newer = newer;
        }
        if let Some(newer) = self.at(newer) {
            newer.older = older;
        }
        if let Some([oldest, newest]) = self.ages.get_mut(usize::from(name.family == 6)) {
            *oldest = if *oldest == at { newer } else { *oldest };
            *newest = if *newest == at { older } else { *newest };
        }
        self.index.remove(&name);
        self.free.push(at);
    }
}

impl Datagram {
    /// Adds a fragment's bytes to those that were there.
    fn cover(&mut self, part: &Part) -> Result<(), DropReason> {
        let Part { start, end, more, .. } = *part;
        let seen = self.pieces.last().map_or(0, |(_, end)| *end);
        let fits = match self.len {
            Some(len) if more => end <= len,
            Some(len) => end == len,
            None => more || end >= seen,
        };
        if !fits {
            return Err(DropReason::FragmentOverlap);
        }
        let after = self.pieces.iter().position(|(from, _)| *from > start);
        let after = after.unwrap_or(self.pieces.len());
        let before = after.checked_sub(1).and_then(|i| self.pieces.get(i).copied());
        let next = self.pieces.get(after).copied();
        if before.is_some_and(|(_, until)| end <= until) {
            return Err(DropReason::FragmentTwice);
        }
        if before.is_some_and(|(_, until)| start < until)
            || next.is_some_and(|(from, _)| from < end)
        {
            return Err(DropReason::FragmentOverlap);
        }
        let joins_before = before.filter(|(_, until)| *until == start);
        let joins_next = next.filter(|(from, _)| *from == end);
        let from = joins_before.map_or(start, |(from, _)| from);
        let until = joins_next.map_or(end, |(_, until)| until);
        let first = after - usize::from(joins_before.is_some());
        let last = after + usize::from(joins_next.is_some());
        if first == last && self.pieces.is_full() {
            return Err(DropReason::FragmentNoRoom);
        }
        self.pieces.drain(first..last);
        self.pieces.insert(first, (from, until));
        if !more {
            self.len = Some(end);
        }
        Ok(())
    }

    /// All of its bytes were there.
    fn is_complete(&self) -> bool {
        self.len.is_some_and(|len| self.pieces.as_slice() == [(0, len)])
    }
}

#[cfg(test)]
mod tests;
