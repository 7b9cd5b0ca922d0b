//! The sockets that nodes talk through: a UDP socket for each link, multicast or to named peers.
//!
//! # Overview
//!
//! [`Links::send`] collects datagrams, [`Links::flush`] gives them to every link that is up, as many as possible with one
//! system call. [`Links::receive`] puts what came into an [`Inbox`], link by link: a datagram that came on two links comes twice, and the
//! node's replay window drops the second. A datagram whose TTL or hop limit is not 255 came through a router and is dropped
//! (RFC 5082). Nothing here blocks, and nothing is repeated: what is lost is for the protocol to repair.
//!
//! # Life cycle
//!
//! [`Links::open`] succeeds whatever the interfaces are; a link that is down, or whose interface was made anew, is opened
//! again by [`Links::tend`], while the others go on. What happens to links is told once, by [`Links::news`].
//!
//! # Who may touch what
//!
//! All of it is one thread's, the sync thread's, which opens it, too (it is not `Send`). Time is an argument.

mod socket;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use arrayvec::ArrayVec;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg,
    sendmmsg,
};
use packet::Tick;

use socket::Socket;

/// Datagrams that one system call sends or receives at most.
pub const BATCH: usize = 64;
/// Bytes of the longest datagram.
pub const DATAGRAM: usize = 2048;
/// What the kernel is asked to hold of received datagrams for us, in bytes, and of sent ones.
const RECEIVE_BUFFER: usize = 32 << 20;
const SEND_BUFFER: usize = 8 << 20;
/// How often a link is looked at.
const TEND: Duration = Duration::from_millis(200);
/// TTL and hop limit of all that is sent, and so of all that did not come through a router.
const HOPS: u8 = 255;

/// One link as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// The kernel's interface.
    pub interface: String,
    /// Whom datagrams go to.
    pub target: Target,
    /// The UDP port, here and there.
    pub port: u16,
}

/// Whom a link's datagrams go to. All addresses are of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All who listen to a multicast group.
    Group(IpAddr),
    /// These.
    Peers(Vec<IpAddr>),
}

/// What a link counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Datagrams that came, and were handed on.
    pub rx_datagrams: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Datagrams that came through a router, or do not say whether they did.
    pub rx_routed: u64,
    /// Datagrams that are too long to be ours.
    pub rx_too_long: u64,
    /// Times that the socket could not be read.
    pub rx_errors: u64,
    /// Datagrams that the kernel took, a copy for each peer.
    pub tx_datagrams: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Datagrams that found the socket's buffer full.
    pub tx_full: u64,
    /// Datagrams that the kernel refused for another reason.
    pub tx_errors: u64,
    /// Times that the socket was opened.
    pub opened: u64,
}

/// A link as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// The kernel's interface.
    pub interface: String,
    /// Whether its socket is open and the kernel takes what we send.
    pub up: bool,
    /// When something last came on it.
    pub heard: Option<Tick>,
    /// What is wrong, where it is not up.
    pub error: Option<String>,
    /// What it counted.
    pub counters: LinkCounters,
}

/// What happened to a link, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It works (again).
    Up {
        /// Which.
        interface: String,
    },
    /// It does not, and is tried again.
    Down {
        /// Which.
        interface: String,
        /// Why.
        error: String,
    },
    /// The kernel gives less memory than asked for, so bursts may be lost.
    SmallBuffer {
        /// Of which link.
        interface: String,
        /// What is received, or sent.
        receive: bool,
        /// Bytes that were asked for.
        wanted: usize,
        /// Bytes that there are.
        got: usize,
    },
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up { interface } => write!(f, "the sync link {interface} is up"),
            Self::Down { interface, error } => {
                write!(f, "the sync link {interface} is down: {error}")
            }
            Self::SmallBuffer { interface, receive, wanted, got } => {
                let (what, sysctl) =
                    if *receive { ("receive", "rmem_max") } else { ("send", "wmem_max") };
                write!(
                    f,
                    "the kernel gives the sync link {interface} a {what} buffer of {got} bytes instead of {wanted}, so bursts of changes \
                     may be lost and repaired: grant CAP_NET_ADMIN, or sysctl -w net.core.{sysctl}={wanted}"
                )
            }
        }
    }
}

/// Datagrams that wait to be sent.
struct Outgoing {
    bytes: Box<[[u8; DATAGRAM]; BATCH]>,
    lens: ArrayVec<usize, BATCH>,
}

impl Outgoing {
    fn slices(&self) -> ArrayVec<[IoSlice<'_>; 1], BATCH> {
        let filled = self.bytes.iter().zip(&self.lens);
        filled.map(|(bytes, len)| [IoSlice::new(bytes.get(..*len).unwrap_or_default())]).collect()
    }
}

struct Link {
    config: LinkConfig,
    socket: Option<Socket>,
    /// By target: its address once for each datagram of a batch, as `sendmmsg` wants it.
    addresses: Vec<Vec<Option<SockaddrStorage>>>,
    headers: MultiHeaders<SockaddrStorage>,
    heard: Option<Tick>,
    error: Option<String>,
    counters: LinkCounters,
}

/// Datagrams that came, until the next are received.
pub struct Inbox {
    bytes: Box<[[u8; DATAGRAM]; BATCH]>,
    /// Of each row that was filled: its length, if it is worth anything.
    lens: ArrayVec<Option<usize>, BATCH>,
}

impl Inbox {
    /// Nothing has come.
    pub fn new() -> Self {
        Self { bytes: room(), lens: ArrayVec::new() }
    }

    /// What came.
    pub fn datagrams(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let rows = self.bytes.iter_mut().zip(&self.lens);
        rows.filter_map(|(row, len)| row.get_mut(..(*len)?))
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

/// All links.
pub struct Links {
    links: Vec<Link>,
    outgoing: Outgoing,
    tended: Option<Tick>,
    news: Vec<News>,
}

/// Room for a batch of datagrams.
fn room() -> Box<[[u8; DATAGRAM]; BATCH]> {
    // Made on the heap: it is 128 KiB.
    let rows = vec![[0; DATAGRAM]; BATCH].into_boxed_slice();
    rows.try_into().unwrap_or_else(|_| Box::new([[0; DATAGRAM]; BATCH]))
}

impl Links {
    /// Opens all that can be opened; the rest is tried again by [`Self::tend`].
    pub fn open(configs: Vec<LinkConfig>, now: Tick) -> Self {
        let links = configs.into_iter().map(|config| Link {
            config,
            socket: None,
            addresses: Vec::new(),
            headers: MultiHeaders::preallocate(BATCH, None),
            heard: None,
            error: None,
            counters: LinkCounters::default(),
        });
        let mut links = Self {
            links: links.collect(),
            outgoing: Outgoing { bytes: room(), lens: ArrayVec::new() },
            tended: None,
            news: Vec::new(),
        };
        links.tend(now);
        links
    }

    /// Looks after links that are down, every 200 ms; to be called at least as often.
    pub fn tend(&mut self, now: Tick) {
        if self.tended.is_some_and(|at| now.since(at) < TEND) {
            return;
        }
        self.tended = Some(now);
        for link in &mut self.links {
            link.tend(&mut self.news);
        }
    }

    /// What has happened to links since this was asked last.
    pub fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Takes a datagram to be sent to all nodes at the next [`Self::flush`], or at once where a batch is full. One that is longer
    /// than [`DATAGRAM`] is not sent: false.
    pub fn send(&mut self, datagram: &[u8]) -> bool {
        if self.outgoing.lens.is_full() {
            self.flush();
        }
        let next = self.outgoing.bytes.get_mut(self.outgoing.lens.len());
        let Some(row) = next.and_then(|row| row.get_mut(..datagram.len())) else { return false };
        row.copy_from_slice(datagram);
        self.outgoing.lens.push(datagram.len());
        true
    }

    /// Sends what was taken.
    pub fn flush(&mut self) {
        if self.outgoing.lens.is_empty() {
            return;
        }
        for link in &mut self.links {
            link.send(&self.outgoing, &mut self.news);
        }
        self.outgoing.lens.clear();
    }

    /// How many links there are, up or down.
    pub fn count(&self) -> usize {
        self.links.len()
    }

    /// Receives what came on a link, up to a batch. True: there may be more.
    pub fn receive(&mut self, link: usize, now: Tick, inbox: &mut Inbox) -> bool {
        inbox.lens.clear();
        if let Some(link) = self.links.get_mut(link) {
            link.receive(inbox, now);
        }
        inbox.lens.is_full()
    }

    /// What to wait on for datagrams to come.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.links.iter().filter_map(|link| Some(link.socket.as_ref()?.fd.as_fd()))
    }

    /// The links as they are now.
    pub fn status(&self) -> Vec<LinkStatus> {
        let links = self.links.iter().map(|link| LinkStatus {
            interface: link.config.interface.clone(),
            up: link.socket.is_some() && link.error.is_none(),
            heard: link.heard,
            error: link.error.clone(),
            counters: link.counters,
        });
        links.collect()
    }
}

impl Link {
    /// Opens it where it is not open, or open on an interface that is gone.
    fn tend(&mut self, news: &mut Vec<News>) {
        if self.socket.as_ref().is_some_and(|socket| !socket.is_current(&self.config.interface)) {
            self.socket = None;
        }
        if self.socket.is_some() {
            return;
        }
        match Socket::open(&self.config) {
            Ok(opened) => {
                let row = |address| vec![Some(address); BATCH];
                self.addresses = opened.addresses.iter().copied().map(row).collect();
                let interface = &self.config.interface;
                for (receive, wanted, got) in [
                    (true, RECEIVE_BUFFER, opened.buffers.0),
                    (false, SEND_BUFFER, opened.buffers.1),
                ] {
                    if got < wanted && self.counters.opened == 0 {
                        let interface = interface.clone();
                        news.push(News::SmallBuffer { interface, receive, wanted, got });
                    }
                }
                // Options are kept in the socket; headers hold what the last one's control messages left.
                self.headers = MultiHeaders::preallocate(BATCH, None);
                self.socket = Some(opened);
                self.counters.opened += 1;
                self.fine(news, true);
            }
            Err(error) => self.failed(&error, news),
        }
    }

    /// It works; said where it did not, or is new.
    fn fine(&mut self, news: &mut Vec<News>, new: bool) {
        if self.error.take().is_some() || new {
            news.push(News::Up { interface: self.config.interface.clone() });
        }
    }

    /// It does not work; said where it did.
    fn failed(&mut self, error: &io::Error, news: &mut Vec<News>) {
        let text = error.to_string();
        if self.error.as_ref() != Some(&text) {
            let interface = self.config.interface.clone();
            news.push(News::Down { interface, error: text.clone() });
            self.error = Some(text);
        }
    }

    fn send(&mut self, outgoing: &Outgoing, news: &mut Vec<News>) {
        let Some(socket) = &self.socket else { return };
        let fd = socket.fd.as_raw_fd();
        let slices = outgoing.slices();
        let mut outcome = Ok(false);
        for address in &self.addresses {
            let mut done = 0;
            while done < slices.len() {
                let rest = slices.get(done..).unwrap_or_default();
                let none: [ControlMessage<'_>; 0] = [];
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                let sent = sendmmsg(fd, &mut self.headers, rest, address, none, flags);
                match sent.map(|results| results.count()) {
                    Ok(sent @ 1..) => {
                        let lens = outgoing.lens.get(done..done + sent).unwrap_or_default();
                        self.counters.tx_datagrams += sent as u64;
                        self.counters.tx_bytes += lens.iter().sum::<usize>() as u64;
                        done += sent;
                        outcome = outcome.map(|_| true);
                    }
                    Ok(0) => break,
                    Err(Errno::EINTR) => {}
                    // The rest would not fit either.
                    Err(Errno::EAGAIN | Errno::ENOBUFS) => {
                        self.counters.tx_full += rest.len() as u64;
                        break;
                    }
                    // A filter of this machine drops it (netfilter's verdict on output); the next may pass.
                    Err(Errno::EPERM) => {
                        self.counters.tx_errors += 1;
                        done += 1;
                    }
                    Err(error) => {
                        self.counters.tx_errors += rest.len() as u64;
                        outcome = Err(error);
                        break;
                    }
                }
            }
        }
        match outcome {
            Ok(true) => self.fine(news, false),
            Ok(false) => {}
            Err(error) => self.failed(&error.into(), news),
        }
    }

    fn receive(&mut self, inbox: &mut Inbox, now: Tick) {
        let Some(socket) = &mut self.socket else { return };
        let Inbox { bytes, lens } = inbox;
        let mut rows = bytes.iter_mut();
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] = std::array::from_fn(|_| {
            [IoSliceMut::new(rows.next().map_or(&mut [][..], |row| &mut row[..]))]
        });
        let (fd, flags) = (socket.fd.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let received = match recvmmsg(fd, &mut socket.headers, slices.iter_mut(), flags, None) {
            Ok(received) => received,
            Err(Errno::EAGAIN | Errno::EINTR) => return,
            Err(_) => {
                self.counters.rx_errors += 1;
                return;
            }
        };
        for message in received {
            let too_long = message.flags.contains(MsgFlags::MSG_TRUNC);
            let direct = message.cmsgs().is_ok_and(|mut said| {
                said.any(|said| {
                    matches!(said,
                        ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops)
                            if hops == i32::from(HOPS))
                })
            });
            self.counters.rx_too_long += u64::from(too_long);
            self.counters.rx_routed += u64::from(!too_long && !direct);
            if direct && !too_long {
                self.counters.rx_datagrams += 1;
                self.counters.rx_bytes += message.bytes as u64;
                self.heard = Some(now);
            }
            lens.push((direct && !too_long).then_some(message.bytes));
        }
    }
}
