//! The kernel twins: one TAP per routed port, and the thread that carries frames between them and the workers.
//!
//! # Overview
//!
//! ```text
//! worker ─▶ to_twin queue ─┐                    ┌─▶ TAP "lan" ─▶ the kernel (ARP, ND, local sockets, VRRP, BGP …)
//!   └──── TwinWaker::wake ─┴▶ the twin thread ──┤
//! worker ◀─ from_twin queue ◀───────────────────┴── TAP "lan" ◀─ the kernel
//! ```
//!
//! A twin has its port's name, MAC address and MTU; its carrier follows the port's link. Everything an operator does to
//! the port (`ip addr`, `ip route`, FRR, keepalived) is done to the twin; the [mirror](crate::mirror) tells the workers.
//!
//! # Life cycle
//!
//! [`Taps::create`] makes and configures the TAPs, so that their interface indices are known; [`Taps::start`] starts
//! the thread. [`Twins::stop`] (or dropping it) ends the thread and closes the TAPs, which then vanish with everything
//! that was configured on them.
//!
//! # Who may touch what
//!
//! The twin thread alone reads and writes the TAPs and writes [`TwinStats`]. Each queue end belongs to one worker. The
//! control thread changes link settings by rtnetlink.

mod carry;
mod waker;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam::queue::ArrayQueue;
use dataplane::rib::IfIndex;
use dataplane::stats::Cell;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use packet::{FramePool, PortIndex};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::mirror::NetlinkError;
use crate::mirror::socket::Requests;

pub use waker::TwinWaker;

/// The longest interface name (`IFNAMSIZ` less its terminator, linux/if.h).
pub const LONGEST_NAME: usize = 15;

/// What can go wrong with a twin.
#[derive(Debug, thiserror::Error)]
pub enum TwinError {
    /// The kernel has no TUN/TAP driver for us.
    #[error(
        "{name}: the kernel offers no TAP devices: load the driver (`modprobe tun`); in a container pass `--device /dev/net/tun`"
    )]
    NoDriver {
        /// The twin's name.
        name: String,
    },
    /// Not allowed.
    #[error(
        "{name}: not allowed to make a TAP device: the daemon needs CAP_NET_ADMIN and access to /dev/net/tun"
    )]
    NotAllowed {
        /// The twin's name.
        name: String,
    },
    /// An interface of that name is there.
    #[error(
        "{name}: an interface of that name exists: rename the port, or remove the interface (`ip link del {name}`)"
    )]
    NameTaken {
        /// The twin's name.
        name: String,
    },
    /// No interface can have that name.
    #[error(
        "{name:?} cannot be an interface's name: 1 to {LONGEST_NAME} bytes, no space, slash or colon, not . or .."
    )]
    BadName {
        /// The twin's name.
        name: String,
    },
    /// A port was named twice, or its worker does not exist, or it has no twin.
    #[error("port {}: {problem}", port.0)]
    BadPort {
        /// The port.
        port: PortIndex,
        /// What is wrong.
        problem: &'static str,
    },
    /// Something else failed.
    #[error("{name}: {doing}: {source}")]
    System {
        /// The twin's name.
        name: String,
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a setting.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// What a twin shall be.
#[derive(Clone, Debug)]
pub struct TwinSpec {
    /// Its port.
    pub port: PortIndex,
    /// The port's name.
    pub name: String,
    /// The port's MAC address.
    pub mac: [u8; 6],
    /// The port's MTU: bytes of the largest IP packet.
    pub mtu: u32,
    /// Whether the port has link now.
    pub link_up: bool,
    /// The worker (index into the queues) that sends on the port what the kernel sends on the twin.
    pub worker: usize,
}

/// The queues between the twin thread and one worker. Bounded; made by the control side.
pub struct TwinQueues<F> {
    /// The worker pushes, the twin thread pops: frames that came by this port, for the kernel.
    pub to_twin: Arc<ArrayQueue<(PortIndex, F)>>,
    /// The twin thread pushes, the worker pops: frames that the kernel sent, to leave by this port.
    pub from_twin: Arc<ArrayQueue<(PortIndex, F)>>,
}

impl<F> TwinQueues<F> {
    /// Two queues of `capacity` frames each.
    pub fn new(capacity: usize) -> Self {
        Self {
            to_twin: Arc::new(ArrayQueue::new(capacity)),
            from_twin: Arc::new(ArrayQueue::new(capacity)),
        }
    }
}

impl<F> Clone for TwinQueues<F> {
    fn clone(&self) -> Self {
        Self { to_twin: self.to_twin.clone(), from_twin: self.from_twin.clone() }
    }
}

/// What the twin thread counted for one twin. It alone writes.
#[derive(Debug, Default)]
pub struct TwinStats {
    /// Frames given to the kernel.
    pub to_kernel: Cell,
    /// Their bytes.
    pub to_kernel_bytes: Cell,
    /// Frames that the kernel did not take: the twin is down, the frame is too short or in too many pieces.
    pub kernel_refused: Cell,
    /// Frames that the kernel sent.
    pub from_kernel: Cell,
    /// Their bytes.
    pub from_kernel_bytes: Cell,
    /// Of those, dropped because no frame was free.
    pub no_memory: Cell,
    /// Of those, dropped because the worker's queue was full.
    pub queue_full: Cell,
}

/// A twin as the control side knows it.
struct Twin {
    spec: TwinSpec,
    index: IfIndex,
    device: Arc<SyncDevice>,
    stats: Arc<TwinStats>,
}

/// Twins that are made and configured, but carry nothing yet.
pub struct Taps {
    twins: Vec<Twin>,
    requests: Requests,
}

impl Taps {
    /// Makes a TAP for each of `specs` in the calling thread's network namespace, sets its MAC address, MTU and carrier,
    /// and brings it up. On an error those made before vanish again.
    pub fn create(specs: Vec<TwinSpec>) -> Result<Self, TwinError> {
        let mut taps = Self { twins: Vec::with_capacity(specs.len()), requests: Requests::open()? };
        for spec in specs {
            if taps.twins.iter().any(|twin| twin.spec.port == spec.port) {
                return Err(TwinError::BadPort { port: spec.port, problem: "named twice" });
            }
            let twin = create(spec)?;
            let name = &twin.spec.name;
            let mut settings = vec![
                LinkAttribute::Address(twin.spec.mac.to_vec()),
                LinkAttribute::Mtu(twin.spec.mtu),
            ];
            set(&mut taps.requests, twin.index, settings, None, || {
                format!("set MAC address and MTU of {name}")
            })?;
            // Before it is up, so that IPv6 does not look for other users of its address on a port without link.
            settings = vec![LinkAttribute::Carrier(u8::from(twin.spec.link_up))];
            set(&mut taps.requests, twin.index, settings, None, || {
                format!("set the carrier of {name}")
            })?;
            set(&mut taps.requests, twin.index, Vec::new(), Some(true), || {
                format!("bring {name} up")
            })?;
            warn_without_ipv6(name);
            taps.twins.push(twin);
        }
        Ok(taps)
    }

    /// The interface index of each twin, for the mirror.
    pub fn indices(&self) -> Vec<(IfIndex, PortIndex)> {
        self.twins.iter().map(|twin| (twin.index, twin.spec.port)).collect()
    }

    /// Starts the thread. `queues` has one element per worker; frames that the kernel sends are copied into frames of
    /// `pool`. Workers call `waker` after they queued something.
    pub fn start<P: FramePool>(
        self,
        pool: P,
        queues: Vec<TwinQueues<P::Frame>>,
        waker: Arc<TwinWaker>,
    ) -> Result<Twins, TwinError> {
        if let Some(twin) = self.twins.iter().find(|twin| twin.spec.worker >= queues.len()) {
            return Err(TwinError::BadPort {
                port: twin.spec.port,
                problem: "its worker does not exist",
            });
        }
        let taps = self.twins.iter().map(|twin| carry::Tap {
            port: twin.spec.port,
            worker: twin.spec.worker,
            name: twin.spec.name.clone(),
            device: twin.device.clone(),
            stats: twin.stats.clone(),
        });
        let stop = Arc::new(AtomicBool::new(false));
        let carrier = carry::Carrier {
            taps: taps.collect(),
            queues,
            pool,
            waker: waker.clone(),
            stop: stop.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("twin".to_owned())
            .spawn(move || carrier.run())
            .map_err(|source| TwinError::System {
                name: "twins".to_owned(),
                doing: "start the twin thread",
                source,
            })?;
        Ok(Twins { taps: self, thread: Some(thread), stop, waker })
    }
}

/// Twins that carry frames. Dropping stops them and removes the TAPs.
pub struct Twins {
    taps: Taps,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    waker: Arc<TwinWaker>,
}

impl Twins {
    /// The interface index of each twin.
    pub fn indices(&self) -> Vec<(IfIndex, PortIndex)> {
        self.taps.indices()
    }

    /// Makes the twin's carrier follow the port's link. Nothing is asked of the kernel when it does already.
    pub fn set_link(&mut self, port: PortIndex, up: bool) -> Result<(), TwinError> {
        let twin = find(&mut self.taps.twins, port)?;
        if twin.spec.link_up == up {
            return Ok(());
        }
        let name = &twin.spec.name;
        let settings = vec![LinkAttribute::Carrier(u8::from(up))];
        set(&mut self.taps.requests, twin.index, settings, None, || {
            format!("set the carrier of {name}")
        })?;
        twin.spec.link_up = up;
        Ok(())
    }

    /// What the twin thread counted for a port.
    pub fn stats(&self, port: PortIndex) -> Option<&Arc<TwinStats>> {
        self.taps.twins.iter().find(|twin| twin.spec.port == port).map(|twin| &twin.stats)
    }

    /// Ends the thread and removes the TAPs. Frames left in the queues stay there, for the control side to free.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Twins {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.waker.ring();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the twin thread panicked");
        }
    }
}

fn find(twins: &mut [Twin], port: PortIndex) -> Result<&mut Twin, TwinError> {
    twins
        .iter_mut()
        .find(|twin| twin.spec.port == port)
        .ok_or(TwinError::BadPort { port, problem: "it has no twin" })
}

/// Makes one TAP, down and with settings of the kernel's choice.
fn create(spec: TwinSpec) -> Result<Twin, TwinError> {
    let name = spec.name.clone();
    let bad = name.is_empty()
        || name.len() > LONGEST_NAME
        || name == "."
        || name == ".."
        // A percent sign would make the kernel choose a number.
        || name.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%' | '\0'));
    if bad {
        return Err(TwinError::BadName { name });
    }
    let system = |doing| {
        let name = name.clone();
        move |source: io::Error| TwinError::System { name, doing, source }
    };
    // Of a name that is taken the driver would say EINVAL or EBUSY, or adopt an idle persistent TAP with its settings.
    if index_of(&name).map_err(system("look it up"))?.is_some() {
        return Err(TwinError::NameTaken { name });
    }
    let device = DeviceBuilder::new()
        .name(&name)
        .layer(Layer::L2)
        .with(|builder| {
            builder.packet_information(false);
        })
        .enable(false)
        .build_sync()
        .map_err(|source| match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::NXIO | Errno::NODEV) => {
                TwinError::NoDriver { name: name.clone() }
            }
            Some(Errno::ACCESS | Errno::PERM) => TwinError::NotAllowed { name: name.clone() },
            Some(Errno::BUSY | Errno::EXIST) => TwinError::NameTaken { name: name.clone() },
            _ => TwinError::System { name: name.clone(), doing: "make the TAP device", source },
        })?;
    device.set_nonblocking(true).map_err(system("make the TAP non-blocking"))?;
    let index = index_of(&name)
        .map_err(system("look it up"))?
        .ok_or_else(|| system("look it up")(io::ErrorKind::NotFound.into()))?;
    Ok(Twin { spec, index, device: Arc::new(device), stats: Arc::new(TwinStats::default()) })
}

/// The index of the interface `name`, if there is one.
fn index_of(name: &str) -> io::Result<Option<IfIndex>> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    match rustix::net::netdevice::name_to_index(&socket, name) {
        Ok(index) => Ok(Some(IfIndex(index))),
        Err(Errno::NODEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Changes settings of an interface; `up` brings it up or down.
fn set(
    requests: &mut Requests,
    index: IfIndex,
    settings: Vec<LinkAttribute>,
    up: Option<bool>,
    doing: impl FnOnce() -> String,
) -> Result<(), NetlinkError> {
    let mut message = LinkMessage::default();
    message.header.index = index.0;
    if let Some(up) = up {
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    }
    message.attributes = settings;
    requests.ask(RouteNetlinkMessage::SetLink(message), 0, doing)
}

/// Whether IPv6 runs on interfaces is the administrator's choice, but one that is easily made unknowingly: containers
/// often come with it switched off.
fn warn_without_ipv6(name: &str) {
    let setting = Path::new("/proc/sys/net/ipv6/conf").join(name).join("disable_ipv6");
    if std::fs::read_to_string(&setting).is_ok_and(|value| value.trim() == "1") {
        tracing::warn!(
            twin = name,
            "IPv6 is switched off on the twin, so this node speaks none there: `sysctl net.ipv6.conf.{name}.disable_ipv6=0`"
        );
    }
}
