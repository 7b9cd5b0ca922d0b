//! What the flow cache learns while rules are interpreted: whether what they say of this packet holds for every packet of
//! its flow, and which counters the others must be added to.
//!
//! # Life cycle
//!
//! The dataplane lends a [`Recorder`] to each hook that a packet passes, [recording](Recorder::recording) or, where nothing
//! is to be remembered, not ([`Recorder::default`]). If [`Recorder::is_cacheable`] still holds at the end, the verdict, the
//! packet's [`Meta`](super::Meta) and [`Recorder::counted`] are all that the rules did.

use arrayvec::ArrayVec;
use packet::Layers;

use crate::counters::Counter;
use crate::expr::Expr;

use super::Cx;

/// Counters that a recorder holds; with more, the packet's flow is not remembered.
pub const COUNTED: usize = 16;

/// Whether what an expression does is the same for all packets of a flow. See [`Expr::constancy`](crate::expr::Expr::constancy).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constancy {
    /// It depends only on the flow: addresses, ports, protocol, direction, interfaces, the state of an established
    /// connection, its status, marks and labels, and the ruleset; and it does no more than change registers, the packet's mark,
    /// priority and security mark, the connection's marks and labels to what they are from then on, and what `Cx::count` counts.
    ///
    /// What a flow remembers is forgotten with each change of its status, marks and labels. Packets with IP options or extension
    /// headers, and fragments, are not taken for others of their flow.
    Flow,
    /// It must look at each packet.
    Packet,
}

/// A counter that the packet was added to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Counted {
    /// Which.
    pub counter: Counter,
    /// Bytes in front of the network header that count.
    before: u16,
    /// Bytes behind the packet's end count, too: the frame's padding.
    padded: bool,
}

impl Counted {
    /// Bytes that a packet of the same flow, in a frame of `size` bytes, counts for.
    #[inline]
    pub fn bytes(&self, layers: &Layers, size: usize) -> u64 {
        let end = if self.padded { size } else { layers.end as usize };
        (end.saturating_sub(layers.l3_offset.into()) + usize::from(self.before)) as u64
    }
}

/// See the module's overview.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    cacheable: bool,
    counted: ArrayVec<Counted, COUNTED>,
}

impl Recorder {
    /// One that records.
    pub fn recording() -> Self {
        Self { cacheable: true, counted: ArrayVec::new() }
    }

    /// Whether all that was done so far holds for the packet's flow; never where nothing is recorded.
    #[inline(always)]
    pub const fn is_cacheable(&self) -> bool {
        self.cacheable
    }

    /// Something was done that each packet of the flow must be looked at for.
    #[inline]
    pub fn spoil(&mut self) {
        self.cacheable = false;
        self.counted.clear();
    }

    /// The counters that the packet was added to, in order; one may come twice.
    pub fn counted(&self) -> &[Counted] {
        &self.counted
    }

    fn push(&mut self, counted: Counted) {
        if self.counted.try_push(counted).is_err() {
            self.spoil();
        }
    }
}

impl Cx<'_> {
    /// Notes that an expression is about to be evaluated.
    #[inline(always)]
    pub(crate) fn record(&mut self, expr: &dyn Expr) {
        if self.recorder.is_cacheable() && expr.constancy(self) == Constancy::Packet {
            self.recorder.spoil();
        }
    }

    /// Counts the packet.
    #[inline]
    pub(crate) fn count(&mut self, counter: &Counter) {
        counter.add(self.place.worker, self.len() as u64);
        if self.recorder.is_cacheable() {
            let before = self.layers.l3_offset.saturating_sub(self.start() as u16);
            let padded = self.end() != self.layers.end as usize || !self.is_routed();
            self.recorder.push(Counted { counter: counter.clone(), before, padded });
        }
    }
}
