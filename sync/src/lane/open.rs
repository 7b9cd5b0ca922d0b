//! The datagram that is being built.

use arrayvec::ArrayVec;
use packet::Tick;

use crate::hands::SLOTS;
use crate::wire::{self, PAYLOAD};

/// What a record is to the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// A flow's: its slot is remembered.
    Slot(u32),
    /// It is remembered as it is.
    Verbatim,
    /// It is not remembered: what it says is said again otherwise.
    Nothing,
}

/// Records that wait for company, ROLE before them.
#[derive(Debug)]
pub(super) struct Open {
    payload: Box<[u8; PAYLOAD]>,
    len: usize,
    records: usize,
    slots: ArrayVec<u32, SLOTS>,
    control: Vec<u8>,
    /// When the first of them came.
    pub(super) since: Tick,
    /// It is not to wait.
    pub(super) soon: bool,
    /// It is to be acknowledged.
    pub(super) want_ack: bool,
    /// There are records of a bulk in it.
    pub(super) bulk: bool,
}

impl Open {
    pub(super) fn new() -> Self {
        Self {
            payload: Box::new([0; PAYLOAD]),
            len: 0,
            records: 0,
            slots: ArrayVec::new(),
            control: Vec::with_capacity(PAYLOAD),
            since: Tick(0),
            soon: false,
            want_ack: false,
            bulk: false,
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Whether this record goes in, too. All slots of a datagram go into one request to the worker.
    #[inline]
    pub(super) fn fits(&self, bytes: usize) -> bool {
        self.len + bytes <= PAYLOAD && !self.slots.is_full()
    }

    /// The first record comes.
    pub(super) fn begin(&mut self, role: &[u8], now: Tick) {
        self.since = now;
        self.len = 0;
        self.write(role);
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(to) = self.payload.get_mut(self.len..self.len + bytes.len()) {
            to.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// Puts a record in which fits.
    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8], keep: Keep) {
        self.write(bytes);
        self.records += 1;
        match keep {
            Keep::Slot(slot) => {
                let _ = self.slots.try_push(slot);
            }
            Keep::Verbatim => self.control.extend_from_slice(bytes),
            Keep::Nothing => {}
        }
    }

    /// Whether this record, of those that are remembered as they are, is in it.
    pub(super) fn has(&self, record: &[u8]) -> bool {
        let mut rest = &self.control[..];
        while let Some((other, behind)) = wire::split(rest) {
            if other == record {
                return true;
            }
            rest = behind;
        }
        false
    }

    /// What is to be sent: the payload, and for the window the slots and records that it carries.
    pub(super) fn parts(&self) -> (&[u8], &[u32], &[u8]) {
        (self.payload.get(..self.len).unwrap_or_default(), &self.slots, &self.control)
    }

    /// It was sent.
    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.records = 0;
        self.slots.clear();
        self.control.clear();
        self.soon = false;
        self.want_ack = false;
        self.bulk = false;
    }
}
