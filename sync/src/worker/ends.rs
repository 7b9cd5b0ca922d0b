//! The node's ends of a worker's rings.

use super::message::{Words, read_outbound, write_inbound};
use crate::hands::{Inbound, Outbound, RingFull};
use crate::ring::{Consumer, LONGEST, Producer};

/// What the node has of a worker.
pub struct NodeEnds {
    /// Changes, ends, deferred flows, answers. To be drained first.
    pub urgent: Heard,
    /// Repairs, bulk, refreshes.
    pub lazy: Heard,
    /// What the worker is told.
    pub inbound: Told,
}

/// A ring from the worker.
pub struct Heard {
    ring: Consumer,
    words: Box<Words>,
}

impl Heard {
    pub(super) fn new(ring: Consumer) -> Self {
        Self { ring, words: Box::new([0; LONGEST]) }
    }

    /// The next message. What is none is passed over.
    #[allow(clippy::should_implement_trait, reason = "what it gives lies in itself")]
    pub fn next(&mut self) -> Option<Outbound<'_>> {
        let many = loop {
            let words = self.ring.pop(&mut self.words)?;
            if read_outbound(words).is_some() {
                break words.len();
            }
        };
        read_outbound(self.words.get(..many)?)
    }

    /// Whether there is none.
    pub fn is_empty(&mut self) -> bool {
        self.ring.is_empty()
    }

    /// How far this was read; counts up.
    pub fn position(&self) -> u64 {
        self.ring.position()
    }

    /// Up to where there is something now.
    pub fn end(&mut self) -> u64 {
        self.ring.position() + self.ring.waiting() as u64
    }

    /// Words that wait.
    pub fn waiting(&mut self) -> usize {
        self.ring.waiting()
    }
}

/// The ring to the worker.
pub struct Told {
    ring: Producer,
    words: Box<Words>,
}

impl Told {
    pub(super) fn new(ring: Producer) -> Self {
        Self { ring, words: Box::new([0; LONGEST]) }
    }

    /// Tells the worker, which sees it at its next turn.
    ///
    /// # Errors
    /// There is no room.
    pub fn tell(&mut self, message: &Inbound<'_>) -> Result<(), RingFull> {
        let many = write_inbound(message, &mut self.words).ok_or(RingFull)?;
        let words = self.words.get(..many).ok_or(RingFull)?;
        self.ring.push(words).map_err(|_| RingFull)
    }

    /// Messages, of whatever length, that there is room for at least.
    pub fn room(&mut self) -> usize {
        self.ring.room() / (LONGEST + 1)
    }

    /// Whether the worker has taken all in.
    pub fn is_drained(&self) -> bool {
        self.ring.is_drained()
    }
}
