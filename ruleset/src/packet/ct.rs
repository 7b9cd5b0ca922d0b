//! What rules see of a packet's connection, and ask of it. The dataplane answers over its flow table, see [`Env`].
//!
//! [`Env`]: super::Env

use packet::FlowKey;

use crate::family::Family;

/// `NF_CT_STATE_INVALID_BIT`: what `ct state` reads of a packet that has no connection.
pub const INVALID: u32 = 1;
/// `NF_CT_STATE_UNTRACKED_BIT`: of one that is not tracked.
pub const UNTRACKED: u32 = 1 << 6;

/// A packet's connection. Directions: 0 is the first packet's, 1 is back.
pub trait Connection {
    /// `enum ip_conntrack_info`: established, related, new; the same in reply direction.
    fn info(&self) -> u8;
    /// The packet's direction.
    fn direction(&self) -> u8 {
        u8::from(self.info() >= 3)
    }
    /// What packets of a direction have in their headers when they arrive.
    fn key(&self, direction: u8) -> FlowKey;
    /// `enum ip_conntrack_status`.
    fn status(&self) -> u32;
    /// Its mark.
    fn mark(&self) -> u32;
    /// Changes it.
    fn set_mark(&mut self, mark: u32);
    /// Its security mark.
    fn secmark(&self) -> u32;
    /// Changes it.
    fn set_secmark(&mut self, secmark: u32);
    /// Milliseconds until it expires.
    fn expires_in(&self) -> u32;
    /// Its labels.
    fn labels(&self) -> [u8; 16];
    /// Changes the labels in `mask` to `bits`.
    fn set_labels(&mut self, bits: [u8; 16], mask: [u8; 16]);
    /// Packets and bytes of a direction, or of both; zeros where accounting is off.
    fn account(&self, direction: Option<u8>) -> (u64, u64);
    /// The zone of a direction.
    fn zone(&self, direction: u8) -> u16;
    /// Its id, random-looking and constant.
    fn id(&self) -> u32;
    /// Which events are told of it (`IPCT_…` bits).
    fn set_event_mask(&mut self, mask: u32);
    /// How long it lives by state, `CTA_TIMEOUT_…` in order, from its confirmation on. Without effect on one that is confirmed.
    fn set_timeouts(&mut self, protocol: u8, seconds: &[u32]);
}

/// Which side of a connection NAT changes (`enum nft_nat_types`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// Another address for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// What it has (only ports are changed).
    Same,
    /// One of these, both ends included; IPv4 in the first four bytes.
    Range([u8; 16], [u8; 16]),
    /// That of the interface that the packet leaves by (`masquerade`).
    Leaving,
    /// That of the interface that the packet came by, or loopback for what this node sends (`redirect`).
    Here,
}

/// What a NAT statement asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translate {
    /// Which side.
    pub side: Side,
    /// The family of `to`.
    pub family: Family,
    /// The address.
    pub to: To,
    /// Ports, in host order, both ends included.
    pub ports: Option<(u16, u16)>,
    /// With `NF_NAT_RANGE_PROTO_OFFSET`: the port that stands for the first of `ports`.
    pub base: u16,
    /// `NF_NAT_RANGE_…`, as far as they choose: 4 random, 8 persistent, 16 fully random, 32 offset, 64 addresses one to one.
    pub flags: u32,
}

/// How a packet is to be tracked (Linux: the template that it carries), said before it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// The zone, by direction: `ct original zone set`, `ct reply zone set`, or both.
    pub zone: [u16; 2],
}
