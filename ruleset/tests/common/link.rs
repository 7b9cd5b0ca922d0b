//! A connection that is what a test says.

use super::{Connection, FlowKey};

/// A connection, and what was done to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Link {
    pub(crate) info: u8,
    pub(crate) keys: [FlowKey; 2],
    pub(crate) status: u32,
    pub(crate) mark: u32,
    pub(crate) secmark: u32,
    pub(crate) expires_in: u32,
    pub(crate) labels: [u8; 16],
    /// Packets and bytes by direction.
    pub(crate) accounts: [(u64, u64); 2],
    pub(crate) zones: [u16; 2],
    pub(crate) event_mask: Option<u32>,
    pub(crate) timeouts: Vec<u32>,
}

/// Numbers of `enum ip_conntrack_info`.
pub(crate) const ESTABLISHED: u8 = 0;
pub(crate) const RELATED: u8 = 1;
pub(crate) const NEW: u8 = 2;
pub(crate) const REPLY: u8 = 3;

impl Link {
    /// Of a UDP flow from 10.0.0.1:10 to 10.0.0.2:20, which is really 10.0.0.9:2020.
    pub(crate) fn udp(info: u8) -> Self {
        let key = |src: [u8; 4], sport: u16, dst: [u8; 4], dport: u16| {
            let mut key = FlowKey { protocol: 17, family: 4, ..FlowKey::default() };
            key.src[..4].copy_from_slice(&src);
            key.dst[..4].copy_from_slice(&dst);
            (key.sport, key.dport) = (sport.to_be_bytes(), dport.to_be_bytes());
            key
        };
        let keys = [
            key([10, 0, 0, 1], 10, [10, 0, 0, 2], 20),
            key([10, 0, 0, 9], 2020, [10, 0, 0, 1], 10),
        ];
        Self { info, keys, ..Self::default() }
    }
}

impl Connection for Link {
    fn info(&self) -> u8 {
        self.info
    }

    fn key(&self, direction: u8) -> FlowKey {
        self.keys[usize::from(direction)]
    }

    fn status(&self) -> u32 {
        self.status
    }

    fn mark(&self) -> u32 {
        self.mark
    }

    fn set_mark(&mut self, mark: u32) {
        self.mark = mark;
    }

    fn secmark(&self) -> u32 {
        self.secmark
    }

    fn set_secmark(&mut self, secmark: u32) {
        self.secmark = secmark;
    }

    fn expires_in(&self) -> u32 {
        self.expires_in
    }

    fn labels(&self) -> [u8; 16] {
        self.labels
    }

    fn set_labels(&mut self, bits: [u8; 16], mask: [u8; 16]) {
        for ((label, bits), mask) in self.labels.iter_mut().zip(bits).zip(mask) {
            *label = *label & !mask | bits & mask;
        }
    }

    fn account(&self, direction: Option<u8>) -> (u64, u64) {
        let [(packets, bytes), (back, bytes_back)] = self.accounts;
        match direction {
            Some(direction) => self.accounts[usize::from(direction)],
            None => (packets + back, bytes + bytes_back),
        }
    }

    fn zone(&self, direction: u8) -> u16 {
        self.zones[usize::from(direction)]
    }

    fn id(&self) -> u32 {
        0x1d1d
    }

    fn set_event_mask(&mut self, mask: u32) {
        self.event_mask = Some(mask);
    }

    fn set_timeouts(&mut self, _protocol: u8, seconds: &[u32]) {
        self.timeouts = seconds.to_vec();
    }
}
