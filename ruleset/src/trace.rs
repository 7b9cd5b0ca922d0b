//! What listeners hear of a traced packet's way (`meta nftrace set 1`, `nft monitor trace`).

use std::sync::Arc;

use arrayvec::ArrayVec;
use packet::L3;

use crate::family::{Family, Hook};
use crate::ids::Handle;
use crate::model::{Chain, Name, Rule, TableKey};
use crate::packet::{Cx, Iface, Seen};
use crate::program::Program;
use crate::verdict::Verdict;

/// One step of a traced packet.
pub struct Trace<'a> {
    /// The base chain that the packet went into.
    pub base: &'a Chain,
    /// The chain that it is in.
    pub chain: &'a Chain,
    /// What happened.
    pub step: Step<'a>,
    /// The verdict.
    pub verdict: Verdict,
    /// Listeners have not heard of the packet in this base chain before: they are told what it looks like.
    pub first: bool,
}

/// What happened to a traced packet (`NFT_TRACETYPE_…`).
#[derive(Clone, Copy)]
pub enum Step<'a> {
    /// A rule decided, or matched and went on.
    Rule(&'a Rule),
    /// The chain returned: by this rule, or by its end.
    Return(Option<&'a Rule>),
    /// The base chain's policy decided.
    Policy,
}

/// Bytes of each header that are told, at most (`NFT_TRACETYPE_…_HSIZE`).
const LINK: usize = 20;
const NETWORK: usize = 40;
const TRANSPORT: usize = 20;
/// The MAC addresses in front of a frame.
const MACS: usize = 12;
/// `ETH_P_8021Q`.
const TPID: u16 = 0x8100;

/// A device that a packet came or goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// The kernel's index.
    pub index: u32,
    /// `ARPHRD_…`.
    pub kind: u16,
}

/// What a packet looked like: a plain value, to be told by another thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// What handled it.
    pub family: Family,
    /// Where.
    pub hook: Hook,
    /// The device that it came by.
    pub iif: Option<Device>,
    /// The device that it goes by.
    pub oif: Option<Device>,
    /// Its mark.
    pub mark: u32,
    /// Its length from the network header on, in bytes.
    pub len: u32,
    /// Its network layer.
    pub l3: L3,
    /// The protocol above.
    pub protocol: u8,
    /// Its Ethernet header, with one tag where it has one; nothing where there is none yet.
    pub link: ArrayVec<u8, LINK>,
    /// Its network header.
    pub network: ArrayVec<u8, NETWORK>,
    /// Its transport header and what follows.
    pub transport: ArrayVec<u8, TRANSPORT>,
}

impl Sight {
    /// What `seen` looks like.
    pub fn of(seen: &Seen<'_>) -> Self {
        let Seen { bytes, layers, meta, place } = seen;
        let device = |iface: Iface<'_>| Device { index: iface.index, kind: iface.kind };
        let start = usize::from(layers.l3_offset);
        let end = match layers.l3 {
            L3::Ipv4 | L3::Ipv6 => layers.end as usize,
            L3::Arp | L3::Other => bytes.size(),
        };
        // What is no IP packet is all transport to the kernel.
        let transport = match layers.l3 {
            L3::Ipv4 | L3::Ipv6 => usize::from(layers.l4_offset),
            L3::Arp | L3::Other => start,
        };
        Self {
            family: place.family,
            hook: place.hook,
            iif: place.iif.map(device),
            oif: place.oif.map(device),
            mark: meta.mark,
            len: end.saturating_sub(start) as u32,
            l3: layers.l3,
            protocol: layers.protocol,
            link: link(seen),
            network: cut(seen, start, transport),
            transport: cut(seen, transport, end),
        }
    }
}

/// As many bytes from `start` to `end` as fit.
fn cut<const N: usize>(seen: &Seen<'_>, start: usize, end: usize) -> ArrayVec<u8, N> {
    let mut bytes = ArrayVec::from([0; N]);
    bytes.truncate(end.saturating_sub(start));
    if !seen.bytes.read_at(start, &mut bytes) {
        bytes.clear();
    }
    bytes
}

/// The Ethernet header, where the hook has one.
fn link(seen: &Seen<'_>) -> ArrayVec<u8, LINK> {
    let (layers, place) = (seen.layers, &seen.place);
    let routed = matches!(place.family, Family::Ipv4 | Family::Ipv6 | Family::Inet);
    if usize::from(layers.l3_offset) < MACS || routed && place.iif.is_none() {
        return ArrayVec::new();
    }
    let mut bytes = cut(seen, 0, MACS);
    if !routed && layers.vlan_count > 0 {
        let [outer, _] = layers.vlan;
        bytes.extend([TPID, outer].into_iter().flat_map(u16::to_be_bytes));
    }
    bytes.extend(layers.ethertype.to_be_bytes());
    bytes
}

/// A step of a traced packet, as a value for another thread to tell.
#[derive(Clone, Debug)]
pub struct TraceNote {
    /// Names the packet.
    pub id: u32,
    /// The family of the base chain's table.
    pub base: Family,
    /// What handles the packet.
    pub family: Family,
    /// The table.
    pub table: Arc<TableKey>,
    /// The chain.
    pub chain: Name,
    /// The rule that decided, where one did.
    pub rule: Option<Handle>,
    /// What happened.
    pub kind: TraceKind,
    /// The packet's mark.
    pub mark: u32,
    /// What the packet looks like, the first time in a base chain.
    pub sight: Option<Sight>,
}

/// What happened (`NFT_TRACETYPE_…`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceKind {
    /// The base chain's policy.
    Policy(Verdict),
    /// A return.
    Return(Verdict),
    /// A rule's verdict, with the chain that it leads to.
    Rule(Verdict, Option<Name>),
}

impl TraceNote {
    /// What `trace` says of `seen`.
    pub fn new(seen: &Seen<'_>, trace: &Trace<'_>, program: &Program) -> Self {
        let (rule, kind) = match trace.step {
            Step::Policy => (None, TraceKind::Policy(trace.verdict)),
            Step::Return(rule) => (rule, TraceKind::Return(trace.verdict)),
            Step::Rule(rule) => {
                let to = match trace.verdict {
                    Verdict::Jump(to) | Verdict::Goto(to) => program.chain(to),
                    _ => None,
                };
                (Some(rule), TraceKind::Rule(trace.verdict, to.map(|chain| chain.name.clone())))
            }
        };
        Self {
            id: seen.meta.trace_id,
            base: trace.base.table.family,
            family: seen.place.family,
            table: trace.chain.table.clone(),
            chain: trace.chain.name.clone(),
            rule: rule.map(|rule| rule.handle),
            kind,
            mark: seen.meta.mark,
            sight: trace.first.then(|| Sight::of(seen)),
        }
    }
}

/// Tells of one packet in one base chain.
pub(crate) struct Teller<'a> {
    base: &'a Chain,
    first: bool,
}

impl<'a> Teller<'a> {
    /// For a packet that goes into `base`.
    pub(crate) fn new(base: &'a Chain) -> Self {
        Self { base, first: true }
    }

    /// Tells of a step, where the packet is traced.
    #[inline]
    pub(crate) fn tell(
        &mut self,
        cx: &mut Cx<'_>,
        chain: &Chain,
        step: Step<'_>,
        verdict: Verdict,
    ) {
        if cx.meta.trace {
            let first = std::mem::take(&mut self.first);
            cx.trace(&Trace { base: self.base, chain, step, verdict, first });
        }
    }
}
