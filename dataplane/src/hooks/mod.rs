//! The hooks: where packets meet rules. What passes a hook comes out of it; what does not has ended there, accounted for.
//!
//! # Overview
//!
//! [`pipeline`](crate::pipeline) calls the methods of [`Local`] below at the places where Linux has its hooks:
//!
//! ```text
//! arrive   ingress of the device                    | pass one
//! walk     prerouting                               | pass two, then one of these:
//! passes   forward, postrouting                     |   what is routed on
//! enters   input, or ARP's input                    |   what is for this node
//! depart   output, postrouting; ARP's output        | what the kernel sends on a twin
//! leaves   output, postrouting                      | what this node makes itself
//! bridges  ingress, bridge's three                  | between the ports of a pair
//! emit     egress of the device                     | all that leaves
//! ```
//!
//! Each asks a flag first, so that a hook without rules costs nothing. At a hook a packet meets the entries of the program in
//! order (`entries`): base chains, and between them conntrack and NAT ([`flows`](crate::flows)). `settle` does what a verdict
//! says: see `act` for answers and copies.
//!
//! # Life cycle
//!
//! [`Rules`] belongs to a worker and lives as long; a new program changes its flags ([`Rules::adopt`]).

mod act;
mod entries;
mod env;
pub(crate) mod gather;
mod places;
mod reject;

pub(crate) use env::{Random, bytes};
pub(crate) use places::{arrive, depart, walk};

use std::net::IpAddr;

use packet::{DropReason, L3, Layers, PortIndex};
use ruleset::family::{Family, Hook};
use ruleset::ids::WorkerId;
use ruleset::packet::Iface;
use ruleset::program::Program;

use crate::icmp;
use crate::tables::{IfaceSlot, Tables};

/// `ARPHRD_ETHER`.
const ETHER: u16 = 1;
/// `PACKET_…` (linux/if_packet.h).
const HOST: u8 = 0;
const BROADCAST: u8 = 1;
const MULTICAST: u8 = 2;
const OTHERHOST: u8 = 3;
/// What bits 1 to 4 of the TOS make of the priority (`ip_tos2prio`).
const PRIORITY: [u32; 16] = [0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4];
/// Added to the number of a port that has no twin: the kernel's indices stay below.
const PAIR_INDEX: u32 = 1 << 31;
/// Log lines a second that one worker writes at most, beside a burst of 50.
const LOGS_PER_SECOND: u32 = 1000;
/// How deep answers and copies may bring about others.
const DEPTH: u8 = 3;

/// What a worker keeps for its rules.
pub(crate) struct Rules {
    /// IP or ARP packets may meet rules.
    routed: bool,
    /// Frames may meet rules of the device that they come by.
    ingress: bool,
    /// Frames may meet rules of the device that they leave by.
    egress: bool,
    /// Frames between the ports of a pair may meet rules.
    bridged: bool,
    worker: WorkerId,
    random: Random,
    logs: icmp::Limit,
    /// How deep answers and copies brought about others, now.
    depth: u8,
}

impl Rules {
    /// For a worker without rules.
    pub(crate) fn new(worker: WorkerId) -> Self {
        Self {
            routed: false,
            ingress: false,
            egress: false,
            bridged: false,
            worker,
            random: Random::new(),
            logs: icmp::Limit::new(LOGS_PER_SECOND),
            depth: 0,
        }
    }

    /// This program runs from now on.
    pub(crate) fn adopt(&mut self, program: &Program) {
        let any = |families: &[Family], hooks: &[Hook]| {
            let mut all = families.iter().flat_map(|family| hooks.iter().map(|h| (*family, *h)));
            all.any(|(family, hook)| !program.hooked(family, hook).is_empty())
        };
        let ip = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];
        self.routed = any(&[Family::Ipv4, Family::Ipv6, Family::Arp], &ip);
        self.bridged = any(&[Family::Bridge], &ip);
        self.ingress = any(&[Family::Netdev], &[Hook::Ingress]);
        self.egress = any(&[Family::Netdev], &[Hook::Egress]);
    }

    /// Whether frames that come in may meet rules, now or later: those at egress ask whom they came for, too.
    #[inline(always)]
    pub(crate) fn at_arrival(&self) -> bool {
        self.routed | self.ingress | self.egress
    }

    /// Whether packets may meet rules once it is known where they go.
    #[inline(always)]
    pub(crate) fn on_the_way(&self) -> bool {
        self.routed | self.egress
    }

    /// Whether frames that the kernel sends may meet rules.
    #[inline(always)]
    pub(crate) fn at_departure(&self) -> bool {
        self.routed | self.egress
    }
}

/// A hook, as a packet meets it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot<'t> {
    pub(crate) family: Family,
    pub(crate) hook: Hook,
    pub(crate) iif: Option<Iface<'t>>,
    pub(crate) oif: Option<Iface<'t>>,
}

impl Spot<'_> {
    /// Why a packet that ends here was dropped.
    fn reason(&self) -> DropReason {
        match (self.family, self.hook) {
            (Family::Arp, _) => DropReason::RuleArp,
            (Family::Bridge, _) => DropReason::RuleBridge,
            (_, Hook::Prerouting) => DropReason::RulePrerouting,
            (_, Hook::Input) => DropReason::RuleInput,
            (_, Hook::Forward) => DropReason::RuleForward,
            (_, Hook::Output) => DropReason::RuleOutput,
            (_, Hook::Postrouting) => DropReason::RulePostrouting,
            (_, Hook::Ingress) => DropReason::RuleIngress,
            (_, Hook::Egress) => DropReason::RuleEgress,
        }
    }
}

/// The family that handles a packet.
fn family_of(layers: &Layers) -> Option<Family> {
    match layers.l3 {
        L3::Ipv4 => Some(Family::Ipv4),
        L3::Ipv6 => Some(Family::Ipv6),
        L3::Arp => Some(Family::Arp),
        L3::Other => None,
    }
}

/// An interface as rules name it.
fn iface(tables: &Tables, slot: IfaceSlot) -> Option<Iface<'_>> {
    let iface = &tables.iface(slot)?.iface;
    Some(Iface {
        index: iface.index.0,
        name: &iface.name,
        kind: ETHER,
        group: iface.group,
        link_kind: &iface.kind,
        mac: iface.mac,
    })
}

/// A port as rules name it: its twin, or, where it has none, itself.
fn device(tables: &Tables, port: PortIndex) -> Option<Iface<'_>> {
    let entry = tables.port(port)?;
    if let Some(slot) = entry.untagged {
        return iface(tables, slot);
    }
    let index = PAIR_INDEX | u32::from(port.0);
    Some(Iface { index, name: &entry.name, kind: ETHER, group: 0, link_kind: "", mac: [0; 6] })
}

/// The address of the family that `addr` has, as rules hold it.
fn ip(family: Family, addr: &[u8; 16]) -> IpAddr {
    match (family, addr) {
        (Family::Ipv4, [a, b, c, d, ..]) => IpAddr::from([*a, *b, *c, *d]),
        _ => IpAddr::from(*addr),
    }
}
