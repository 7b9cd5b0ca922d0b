//! Neighbours that the active node knows, known to the others as well: the one that takes over need not ask for each by ARP first.
//!
//! # Overview
//!
//! The active node looks at what the mirror knows of the kernel's neighbours, says what is new or differs, and all of it every few
//! seconds, for those that came meanwhile. The others put what they do not know into their kernel's tables, as *stale*: it is used at
//! once, and the kernel confirms it at its first use. From there the mirror brings it to the workers. Interfaces go by name; what the
//! kernel here knows already is left alone, and so are this node's own addresses.
//!
//! # Who may touch what
//!
//! A thread of its own ([`Topic`]), for the kernel may keep it waiting.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use dataplane::rib::{IfIndex, NeighbourState, Rib};
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourMessage, NeighbourState as Nud,
};
use netlink_packet_route::route::RouteType;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use sync::records::{Neighbour, Record, Role};
use sync::standing::Standing;
use sync::wire;

use crate::mirror::socket::{NetlinkError, Requests};

use super::super::control::Control;
use super::beside::{Mouth, Silenced, Topic};

/// Between looks.
const EVERY: Duration = Duration::from_millis(100);
/// Between times that all are said.
const ALL: Duration = Duration::from_secs(3);
/// Neighbours that are said at most.
const MOST: usize = 8192;
/// Bytes of the longest record.
const RECORD: usize = 64;

/// What a node knows of one: the interface's name as CRC32C, the address, the link-layer address.
type Known = HashMap<(u32, IpAddr), [u8; 6], RandomState>;

/// See the module's overview.
pub(super) struct Neighbours {
    control: Arc<Control>,
    standing: Arc<Standing>,
    said: Known,
    /// When all were said last.
    all: Option<Instant>,
    /// What is known here, and since when that is so.
    here: Known,
    looked: Option<Instant>,
    requests: Requests,
}

/// What is usable, and whose.
fn known(rib: &Rib) -> Known {
    let names: HashMap<IfIndex, u32, RandomState> = rib
        .ifaces()
        .map(|entry| (entry.iface.index, crc32c::crc32c(entry.iface.name.as_bytes())))
        .collect();
    let usable = rib.neighbours().filter_map(|(iface, addr, state)| match state {
        NeighbourState::Reachable(mac) | NeighbourState::Stale(mac) => {
            Some(((*names.get(&iface)?, addr), mac))
        }
        NeighbourState::Failed => None,
    });
    usable.take(MOST).collect()
}

/// A record of a neighbour.
fn record(name: u32, addr: IpAddr, mac: [u8; 6]) -> Option<Vec<u8>> {
    let mut bytes = [0; 16];
    let family = match addr {
        IpAddr::V4(addr) => {
            bytes[..4].copy_from_slice(&addr.octets());
            4
        }
        IpAddr::V6(addr) => {
            bytes = addr.octets();
            6
        }
    };
    let mut out = [0; RECORD];
    let neighbour = Record::Neighbour(Neighbour { port: name, family, addr: bytes, mac });
    let len = wire::encode(&neighbour, &mut out).ok()?;
    Some(out.get(..len)?.to_vec())
}

/// What a record says.
fn read(record: &[u8]) -> Option<(u32, IpAddr, [u8; 6])> {
    let Ok(Record::Neighbour(found)) = wire::decode(record) else { return None };
    let addr = match found.family {
        4 => IpAddr::from(*found.addr.first_chunk::<4>()?),
        6 => IpAddr::from(found.addr),
        _ => return None,
    };
    let usable = !addr.is_multicast() && !addr.is_unspecified() && !addr.is_loopback();
    // A station's address: neither nobody's nor many stations'.
    (usable && found.mac != [0; 6] && found.mac[0] & 1 == 0)
        .then_some((found.port, addr, found.mac))
}

impl Topic for Neighbours {
    const NAME: &'static str = "ha-neighbours";
    const EVERY: Duration = EVERY;

    fn tell(&mut self, all: bool, mouth: &Mouth) -> Result<(), Silenced> {
        let known = self.control.read(known);
        if all || self.all.is_none_or(|at| at.elapsed() >= ALL) {
            self.all = Some(Instant::now());
            self.said.clear();
        }
        for ((name, addr), mac) in &known {
            if self.said.get(&(*name, *addr)) != Some(mac)
                && let Some(record) = record(*name, *addr, *mac)
            {
                mouth.say(record)?;
            }
        }
        self.said = known;
        Ok(())
    }

    fn hear(&mut self, records: &[Vec<u8>]) {
        records.iter().for_each(|record| self.apply(record));
    }
}

impl Neighbours {
    pub(super) fn new(
        control: Arc<Control>,
        standing: Arc<Standing>,
    ) -> Result<Self, NetlinkError> {
        Ok(Self {
            control,
            standing,
            said: Known::default(),
            all: None,
            here: Known::default(),
            looked: None,
            requests: Requests::open()?,
        })
    }

    /// Puts another node's neighbour into the kernel's table, where it is not known yet.
    fn apply(&mut self, record: &[u8]) {
        let Some((name, addr, mac)) = read(record) else { return };
        if self.standing.role() == Role::Active {
            return;
        }
        if self.looked.is_none_or(|at| at.elapsed() >= EVERY) {
            self.looked = Some(Instant::now());
            self.here = self.control.read(known);
        }
        if self.here.insert((name, addr), mac).is_some() {
            return;
        }
        let place = self.control.read(|rib| {
            let mut ifaces = rib.ifaces();
            let named = ifaces.find(|entry| crc32c::crc32c(entry.iface.name.as_bytes()) == name)?;
            let own = named.addresses.iter().any(|own| own.addr == addr);
            (!own).then_some(named.iface.index)
        });
        let Some(iface) = place else { return };
        let asked = self.requests.ask(stale(iface, addr, mac), NLM_F_CREATE, || {
            format!("take in {addr} on interface {}", iface.0)
        });
        if let Err(error) = asked {
            tracing::debug!(%error, "another node's neighbour was not taken in");
        }
    }
}

/// `ip neigh add ADDR lladdr MAC dev IFACE nud stale`; an entry that has an address already keeps it.
fn stale(iface: IfIndex, addr: IpAddr, mac: [u8; 6]) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.ifindex = iface.0;
    message.header.state = Nud::Stale;
    message.header.kind = RouteType::Unspec;
    message.attributes.push(NeighbourAttribute::Destination(addr.into()));
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
    RouteNetlinkMessage::NewNeighbour(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_is_read_as_it_was_written() {
        for addr in ["192.0.2.7", "2001:db8::7", "fe80::7"] {
            let addr: IpAddr = addr.parse().unwrap();
            let mac = [2, 0, 0, 0, 0, 7];
            assert_eq!(read(&record(9, addr, mac).unwrap()), Some((9, addr, mac)));
            assert_eq!(read(&record(9, addr, [0; 6]).unwrap()), None);
            assert_eq!(read(&record(9, addr, [1, 0, 0x5e, 0, 0, 1]).unwrap()), None);
        }
        for addr in ["224.0.0.1", "0.0.0.0", "127.0.0.1", "ff02::1", "::"] {
            assert_eq!(read(&record(9, addr.parse().unwrap(), [2; 6]).unwrap()), None, "{addr}");
        }
        assert_eq!(read(&[]), None);
    }
}
