//! What rules see of a packet's connection, and ask of it. The dataplane answers over its flow table, see [`Env`].
//!
//! [`Env`]: super::Env

use packet::FlowKey;

use crate::family::Family;

use super::Cx;

/// `NF_CT_STATE_INVALID_BIT`: what `ct state` reads of a packet that has no connection.
const INVALID: u32 = 1;
/// `NF_CT_STATE_UNTRACKED_BIT`: of one that is not tracked.
const UNTRACKED: u32 = 1 << 6;
/// `IPS_CONFIRMED`: of a connection without it, the status is not what it will be.
pub(crate) const CONFIRMED: u32 = 1 << 3;
/// `IP_CT_NEW`.
const NEW: u8 = 2;
/// `IPS_TEMPLATE` and `IPS_CONFIRMED`.
/// What [`Translate::flags`] may have.
const CHOICES: u32 = 4 | 8 | 16 | 32 | 64;
const TEMPLATE: u32 = 1 << 11 | CONFIRMED;

/// `NF_CT_STATE_BIT`.
const fn state_bit(info: u8) -> u32 {
    1 << (info % 3 + 1)
}

/// Gives a connection another mark. Whether it was another.
#[inline]
pub(crate) fn set_mark(connection: &mut dyn Connection, mark: u32) -> bool {
    let changes = connection.mark() != mark;
    if changes {
        connection.set_mark(mark);
    }
    changes
}

/// Gives a connection these labels, too. Whether it lacked one.
#[inline]
pub(crate) fn set_labels(connection: &mut dyn Connection, labels: [u8; 16]) -> bool {
    let lacks = connection.labels().iter().zip(labels).any(|(has, wanted)| wanted & !has != 0);
    if lacks {
        connection.set_labels(labels, labels);
    }
    lacks
}

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

impl Translate {
    /// One that changes nothing so far.
    pub(crate) const fn new(side: Side, family: Family, flags: u32) -> Self {
        Self { side, family, to: To::Same, ports: None, base: 0, flags: flags & CHOICES }
    }

    /// One to one: the host part of what the packet has on this side, in the network that the addresses `min` and `max` have in
    /// common (`NF_NAT_RANGE_NETMAP`).
    pub(crate) fn mapped(&self, key: &FlowKey, min: [u8; 16], max: [u8; 16]) -> To {
        let mut addr = match self.side {
            Side::Source => key.src,
            Side::Destination => key.dst,
        };
        for ((to, min), max) in addr.iter_mut().zip(min).zip(max) {
            let host = min ^ max;
            *to = *to & host | min & !host;
        }
        To::Range(addr, addr)
    }
}

/// How a packet is to be tracked (Linux: the template that it carries), said before it is: what tracks it takes it away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// The zone, by direction: `ct original zone set`, `ct reply zone set`, or both.
    pub zone: [u16; 2],
    /// Something was said, be it zone 0. What is said first counts.
    pub said: bool,
}

/// Until it is tracked, a packet that has a template reads as a new connection of which nothing is known, and stays so.
impl Connection for Template {
    fn info(&self) -> u8 {
        NEW
    }

    fn key(&self, _direction: u8) -> FlowKey {
        FlowKey::default()
    }

    fn status(&self) -> u32 {
        TEMPLATE
    }

    fn mark(&self) -> u32 {
        0
    }

    fn set_mark(&mut self, _mark: u32) {}

    fn secmark(&self) -> u32 {
        0
    }

    fn set_secmark(&mut self, _secmark: u32) {}

    fn expires_in(&self) -> u32 {
        0
    }

    fn labels(&self) -> [u8; 16] {
        [0; 16]
    }

    fn set_labels(&mut self, _bits: [u8; 16], _mask: [u8; 16]) {}

    fn account(&self, _direction: Option<u8>) -> (u64, u64) {
        (0, 0)
    }

    fn zone(&self, direction: u8) -> u16 {
        let [original, reply] = self.zone;
        if direction == 0 { original } else { reply }
    }

    fn id(&self) -> u32 {
        0
    }

    fn set_event_mask(&mut self, _mask: u32) {}

    fn set_timeouts(&mut self, _protocol: u8, _seconds: &[u32]) {}
}

impl Cx<'_> {
    /// What `ct state` reads.
    #[inline]
    pub(crate) fn state(&mut self) -> u32 {
        let none = if self.meta.untracked { UNTRACKED } else { INVALID };
        self.connection_or_template().map_or(none, |connection| state_bit(connection.info()))
    }

    /// The packet's connection, or what stands for one before it is tracked.
    #[inline]
    pub(crate) fn connection_or_template(&mut self) -> Option<&mut dyn Connection> {
        match self.env.connection() {
            Some(connection) => Some(connection),
            None if self.meta.template.said => Some(&mut self.meta.template),
            None => None,
        }
    }

    /// Has the packet not tracked, unless it is already, or it is said how (`notrack`).
    pub(crate) fn do_not_track(&mut self) {
        if self.connection_or_template().is_none() {
            self.meta.untracked = true;
        }
    }

    /// Has the packet tracked in a zone, in one direction or both, on the same condition.
    pub(crate) fn track_in(&mut self, zone: u16, direction: Option<u8>) {
        if self.connection_or_template().is_some() {
            return;
        }
        self.meta.untracked = false;
        let zone = match direction {
            Some(0) => [zone, 0],
            Some(_) => [0, zone],
            None => [zone; 2],
        };
        self.meta.template = Template { zone, said: true };
    }
}
