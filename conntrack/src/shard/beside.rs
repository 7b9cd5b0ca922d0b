//! What few flows have: accounts, times, labels; beside the records, in memory that is touched where they are in use.

use std::io;

use packet::Tick;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Shard;
use super::pages::Pages;
use crate::flow::{Direction, HAS_ACCOUNTS, Slot};
use crate::snapshot::Account;

#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Accounts([[u64; 2]; 2]);

/// The arrays.
pub(super) struct Beside {
    accounts: Pages<Accounts>,
    starts: Pages<u64>,
    labels: Pages<[u8; 16]>,
}

impl Beside {
    pub(super) fn new(flows: usize) -> io::Result<Self> {
        Ok(Self {
            accounts: Pages::new(flows)?,
            starts: Pages::new(flows)?,
            labels: Pages::new(flows)?,
        })
    }

    pub(super) fn clear_accounts(&mut self, slot: Slot) {
        if let Some(accounts) = self.accounts.get_mut(slot.0) {
            *accounts = Accounts::default();
        }
    }

    pub(super) fn accounts(&self, slot: Slot) -> [Account; 2] {
        let Accounts(both) = self.accounts.get(slot.0).copied().unwrap_or_default();
        both.map(|[packets, bytes]| Account { packets, bytes })
    }

    pub(super) fn set_start(&mut self, slot: Slot, now: Tick) {
        if let Some(start) = self.starts.get_mut(slot.0) {
            *start = now.0;
        }
    }

    pub(super) fn start(&self, slot: Slot) -> Tick {
        Tick(self.starts.get(slot.0).copied().unwrap_or(0))
    }

    pub(super) fn labels(&self, slot: Slot) -> [u8; 16] {
        self.labels.get(slot.0).copied().unwrap_or_default()
    }

    pub(super) fn set_labels(&mut self, slot: Slot, to: [u8; 16]) {
        if let Some(labels) = self.labels.get_mut(slot.0) {
            *labels = to;
        }
    }
}

impl Shard {
    /// Counts a packet of `bytes` bytes of layer 3; of a flow that was made while `nf_conntrack_acct` was on.
    #[inline(always)]
    pub fn account(&mut self, slot: Slot, direction: Direction, bytes: u64) {
        if self.flow(slot).is_some_and(|flow| flow.shared.noted & HAS_ACCOUNTS != 0)
            && let Some(Accounts([original, reply])) = self.beside.accounts.get_mut(slot.0)
        {
            let [packets, sum] = match direction {
                Direction::Original => original,
                Direction::Reply => reply,
            };
            *packets += 1;
            *sum += bytes;
        }
    }

    /// Asks for what [`account`](Self::account) will change.
    #[inline(always)]
    pub fn prefetch_account(&self, slot: Slot) {
        if self.settings.acct {
            self.beside.accounts.prefetch(slot.0);
        }
    }

    /// What was counted of a flow, by direction; `None`: it is not accounted.
    pub fn accounts(&self, slot: Slot) -> Option<[Account; 2]> {
        self.flow(slot)
            .filter(|flow| flow.shared.noted & HAS_ACCOUNTS != 0)
            .map(|_| self.beside.accounts(slot))
    }

    /// Begins a flow's accounts anew (`IPCTNL_MSG_CT_GET_CTRZERO`).
    pub fn clear_accounts(&mut self, slot: Slot) {
        if self.flow(slot).is_some() {
            self.beside.clear_accounts(slot);
        }
    }
}
