//! What expressions see of a packet, and what they may do to it.
//!
//! A [`Cx`] lives for one packet at one hook: the frame's bytes, what the parse found, the metadata that travels with the
//! packet, the interfaces, and what only the dataplane can answer ([`Env`]). Expressions change bytes and metadata at once
//! and leave what must wait for the verdict in [`Effects`].

use arrayvec::ArrayVec;
use packet::{Frame, Layers};

use crate::family::{Family, Hook};
use crate::ids::WorkerId;
use crate::program::Program;
use crate::regs::Regs;
use crate::trace::Trace;

mod address;
mod ct;
mod info;
mod record;
mod write;

pub(crate) use ct::{CONFIRMED, set_labels, set_mark};
pub use ct::{Connection, Side, Template, To, Translate};
pub use info::{ExtHeader, Transport};
pub use record::{COUNTED, Constancy, Counted, Recorder};
pub use write::arrival;

/// A frame's bytes, in segments or not.
pub trait Bytes {
    /// Length of the frame.
    fn size(&self) -> usize;
    /// Copies bytes out; false where the frame ends before.
    fn read_at(&self, offset: usize, into: &mut [u8]) -> bool;
    /// Overwrites bytes; false, with nothing written, where the frame ends before.
    fn write_at(&mut self, offset: usize, bytes: &[u8]) -> bool;
}

impl<F: Frame> Bytes for F {
    fn size(&self) -> usize {
        self.len()
    }

    fn read_at(&self, offset: usize, into: &mut [u8]) -> bool {
        if let Some(bytes) = self.head().get(offset..).and_then(|rest| rest.get(..into.len())) {
            into.copy_from_slice(bytes);
            return true;
        }
        self.copy_out(offset, into)
    }

    fn write_at(&mut self, offset: usize, bytes: &[u8]) -> bool {
        self.copy_in(offset, bytes)
    }
}

/// What travels with a packet from hook to hook (the kernel keeps it in `struct sk_buff`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The packet's mark.
    pub mark: u32,
    /// Its priority (`skb->priority`, a traffic class id).
    pub priority: u32,
    /// Its security mark.
    pub secmark: u32,
    /// `skb->pkt_type`: whom the frame came for, see [`arrival`], or what a rule made of that (`meta pkttype set`). Where it is
    /// not said, the destination MAC address says it, and what is on its way out after routing counts as this host's.
    pub pkttype: Option<u8>,
    /// It has a route (`skb_dst`): whoever routes it says so, for devices on its way out.
    pub routed: bool,
    /// Rules that it meets are told to listeners (`meta nftrace set 1`).
    pub trace: bool,
    /// Names the packet in trace messages; 0 before the first.
    pub trace_id: u32,
    /// It is not tracked (`notrack`).
    pub untracked: bool,
    /// How it is to be tracked.
    pub template: Template,
}

impl Meta {
    /// As a packet comes: nothing set.
    pub const NONE: Self = Self {
        mark: 0,
        priority: 0,
        secmark: 0,
        pkttype: None,
        routed: false,
        trace: false,
        trace_id: 0,
        untracked: false,
        template: Template { zone: [0; 2], said: false },
    };
}

/// An interface, as rules name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iface<'a> {
    /// The kernel's index of the twin.
    pub index: u32,
    /// Its name.
    pub name: &'a str,
    /// `ARPHRD_…`.
    pub kind: u16,
    /// Its group (`ip link set … group`).
    pub group: u32,
    /// Its kind as rtnetlink says it (`IFLA_INFO_KIND`), or nothing.
    pub link_kind: &'a str,
    /// Its MAC address.
    pub mac: [u8; 6],
}

/// Where the packet is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// What handles the packet here: an IP family, ARP, the bridge, a device.
    pub family: Family,
    /// The hook.
    pub hook: Hook,
    /// Where it came in, where that is known here.
    pub iif: Option<Iface<'a>>,
    /// Where it goes out, where that is known here.
    pub oif: Option<Iface<'a>>,
    /// Nanoseconds since the daemon's start.
    pub now: u64,
    /// Nanoseconds since 1970.
    pub wall: u64,
    /// The worker that decides.
    pub worker: WorkerId,
}

/// What a `fib` expression asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibQuery {
    /// IPv4 (in the first four bytes) or IPv6.
    pub family: Family,
    /// The address to look up.
    pub addr: [u8; 16],
    /// Only ways by this interface count (`fib … . iif`, `. oif`).
    pub iface: Option<u32>,
    /// The packet's mark.
    pub mark: u32,
}

/// What the FIB says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FibAnswer<'a> {
    /// `RTN_…` of the address: unicast, local, broadcast, …; 0 where there is no route.
    pub kind: u32,
    /// The interface that the way leaves by.
    pub iface: Option<Iface<'a>>,
    /// The next hop's address where there is a gateway.
    pub gateway: Option<[u8; 16]>,
    /// Bytes of IP packet that the way takes.
    pub mtu: u32,
}

/// What only the dataplane knows or can do.
pub trait Env {
    /// A random number.
    fn random(&mut self) -> u32;
    /// Looks an address up.
    fn fib(&self, query: &FibQuery) -> FibAnswer<'_>;
    /// Logs a packet (`log`); dropped and counted where the log is behind.
    fn log(&mut self, seen: &Seen<'_>, record: &crate::expr::LogRecord<'_>);
    /// Tells listeners of the packet's way (`meta nftrace`).
    fn trace(&mut self, seen: &Seen<'_>, trace: &Trace<'_>);
    /// A name for a packet in trace messages, never 0.
    fn trace_id(&mut self) -> u32;
    /// The packet's connection; none before it is tracked, and for what is not.
    fn connection(&mut self) -> Option<&mut dyn Connection> {
        None
    }
    /// Whether a connection with this key is there (`ct count`): the worker's own, by either direction. One of TCP that is closed,
    /// or only waits in TIME_WAIT, is not.
    fn is_connected(&self, _key: &packet::FlowKey) -> bool {
        false
    }
    /// Gives the packet's connection, which is new, another source or destination. [`Verdict::Accept`], or [`Verdict::Drop`]
    /// where that is impossible.
    ///
    /// [`Verdict::Accept`]: crate::verdict::Verdict::Accept
    /// [`Verdict::Drop`]: crate::verdict::Verdict::Drop
    fn translate(&mut self, _how: &Translate) -> crate::verdict::Verdict {
        crate::verdict::Verdict::Accept
    }
    /// Whether a program listens to this queue (`queue`).
    fn listens(&self, _queue: u16) -> bool {
        false
    }
}

/// What can be told of a packet.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The frame.
    pub bytes: &'a dyn Bytes,
    /// What the parse found.
    pub layers: &'a Layers,
    /// What travels with the packet.
    pub meta: &'a Meta,
    /// Where it is.
    pub place: Place<'a>,
}

/// What must wait until the hook's verdict is known, for the dataplane to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// The packet is answered (`reject`).
    pub reject: Option<crate::expr::RejectWith>,
    /// Copies to send (`dup`).
    pub dups: ArrayVec<crate::expr::SendTo, 4>,
    /// Send it there and no further (`fwd`).
    pub forward: Option<crate::expr::SendTo>,
    /// Something that routing depends on was changed (chains of type route).
    pub rewritten: bool,
}

/// One packet at one hook.
pub struct Cx<'a> {
    /// The registers; zeros for each rule.
    pub regs: Regs,
    /// The frame.
    pub bytes: &'a mut dyn Bytes,
    /// What the parse found. An expression that writes into headers keeps it true.
    pub layers: &'a mut Layers,
    /// What travels with the packet.
    pub meta: &'a mut Meta,
    /// Where it is.
    pub place: Place<'a>,
    /// What the dataplane answers.
    pub env: &'a mut dyn Env,
    /// What must wait.
    pub effects: &'a mut Effects,
    /// What the flow cache is to learn.
    pub recorder: &'a mut Recorder,
    /// The rules that are run: sets and objects are looked up here.
    pub program: &'a Program,
    /// The transport header as it was when the base chain began; [`Cx::look`] fills it in.
    pub transport: Option<Transport>,
}

impl Cx<'_> {
    /// Reads `N` bytes of the frame.
    pub fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.bytes.read_at(offset, &mut bytes).then_some(bytes)
    }

    /// Logs the packet.
    pub fn log(&mut self, record: &crate::expr::LogRecord<'_>) {
        let Self { bytes, layers, meta, place, env, .. } = self;
        env.log(&Seen { bytes: &**bytes, layers, meta, place: *place }, record);
    }

    /// Tells listeners of the packet's way.
    pub(crate) fn trace(&mut self, trace: &Trace<'_>) {
        if self.meta.trace_id == 0 {
            self.meta.trace_id = self.env.trace_id();
        }
        let Self { bytes, layers, meta, place, env, .. } = self;
        env.trace(&Seen { bytes: &**bytes, layers, meta, place: *place }, trace);
    }

    /// What `skb->len` is here.
    pub fn len(&self) -> usize {
        self.end().saturating_sub(self.start())
    }

    /// Where what counts for its length begins. A tag that goes out is beside the packet.
    fn start(&self) -> usize {
        let tag = if self.place.hook == Hook::Egress { 4 * self.tags_in_bytes().min(1) } else { 0 };
        self.data() + tag
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
