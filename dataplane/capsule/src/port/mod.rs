//! A DPDK port: a device opened by its string, with queues for the workers.
//!
//! # Life cycle
//!
//! [`Port::open`] probes and configures, [`Port::start`] lets frames flow, [`PortIo`](crate::PortIo) takes the queues,
//! [`Port::stop`] needs them back. The device is closed and removed when the `Port` and the last queue are gone; a Unix
//! socket that it listened on goes with it.
//!
//! # Who may touch what
//!
//! The control thread owns the `Port`. Queues belong to workers. The link's state is written by the control thread
//! ([`Port::link`]) and by DPDK's interrupt thread, and read by workers before they send.

mod capabilities;
mod device;
mod kernel_link;
mod open;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use dpdk_sys as sys;

pub use capabilities::{Capabilities, Offload, RssKey};
pub use device::Device;

use kernel_link::KernelLink;

use crate::{
    eal::Started,
    error::{Error, Result, errno_text},
    log,
    pool::{MbufPool, MbufPools},
    queue::TxLock,
};

/// Entries in a group of the redirection table, as DPDK passes it.
const GROUP: usize = 64;

/// How a port is opened.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// The port's name, for messages and metrics.
    pub name: String,
    /// The device string: a PCI address or a virtual device with its arguments.
    pub device: String,
    /// Largest layer-3 packet, bytes.
    pub mtu: u16,
    /// Queues wanted in each direction: one per worker. The device may have fewer.
    pub queues: u16,
    /// Receive descriptors per queue; adjusted to what the device can do.
    pub rx_descriptors: u16,
    /// Transmit descriptors per queue; likewise.
    pub tx_descriptors: u16,
    /// The key for RSS, where the device has it.
    pub rss_key: RssKey,
    /// Offloads not to use although the device has them (a broken driver; tests of the software's part).
    pub without: Vec<Offload>,
}

impl PortConfig {
    /// One queue, MTU 1500, 1024 descriptors.
    pub fn new(name: impl Into<String>, device: impl Into<String>) -> PortConfig {
        PortConfig {
            name: name.into(),
            device: device.into(),
            mtu: 1500,
            queues: 1,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            rss_key: RssKey::symmetric([0x6d, 0x5a]),
            without: Vec::new(),
        }
    }
}

/// A link's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether frames can flow.
    pub up: bool,
    /// Megabits per second, where the device knows.
    pub speed_mbps: Option<u32>,
    /// Whether both ends may send at once.
    pub full_duplex: bool,
}

/// What the device counted since its start. (rte_ethdev.h, `rte_eth_stats`)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that the device dropped because no worker fetched them in time.
    pub rx_missed: u64,
    /// Frames that came broken.
    pub rx_errors: u64,
    /// Frames that could not be sent.
    pub tx_errors: u64,
    /// Receives that failed because the pool was empty.
    pub rx_no_mbuf: u64,
}

/// What was done in software at sending, because the device cannot. Counted since the port was opened, all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SoftwareTx {
    /// VLAN tags put into the bytes.
    pub vlan_inserted: u64,
    /// Frames of several segments copied into one.
    pub linearised: u64,
    /// Frames dropped because one segment cannot hold them (`DropReason::TxTooLong`).
    pub too_long: u64,
    /// Frames dropped because the pool was empty (`DropReason::NoMemory`).
    pub no_memory: u64,
}

/// The cells behind [`SoftwareTx`]; written by workers, on a path that copies whole frames anyway.
#[derive(Debug, Default)]
pub(crate) struct SoftwareTxCells {
    pub(crate) vlan_inserted: AtomicU64,
    pub(crate) linearised: AtomicU64,
    pub(crate) too_long: AtomicU64,
    pub(crate) no_memory: AtomicU64,
}

/// Whether a device may be sent to. Written by [`Port::link`] and by DPDK's interrupt thread, read by workers.
#[derive(Debug)]
pub(crate) struct LinkCell {
    up: AtomicBool,
    birth: Instant,
    /// When it changed last, milliseconds after `birth`.
    changed_ms: AtomicU64,
}

impl Default for LinkCell {
    fn default() -> Self {
        LinkCell {
            up: AtomicBool::new(false),
            birth: Instant::now(),
            changed_ms: AtomicU64::new(0),
        }
    }
}

impl LinkCell {
    /// DPDK's threads finish what follows a link's change (unmapping a vhost peer's memory, waiting for its return; swapping
    /// virtio_user's sockets) well within this time, and must not find the device closed meanwhile.
    const SETTLED: Duration = Duration::from_millis(100);

    #[inline]
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    fn set(&self, up: bool) {
        if self.up.swap(up, Ordering::AcqRel) != up {
            self.changed_ms.store(self.birth.elapsed().as_millis() as u64, Ordering::Release);
        }
    }

    /// Waits until the last change is long enough ago.
    fn settle(&self) {
        let changed = Duration::from_millis(self.changed_ms.load(Ordering::Acquire));
        if let Some(wait) = (changed + Self::SETTLED).checked_sub(self.birth.elapsed()) {
            std::thread::sleep(wait);
        }
    }
}

/// What a port and its queues share; the last one closes the device.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: u16,
    pub(crate) name: String,
    pub(crate) capabilities: Capabilities,
    pub(crate) link: Arc<LinkCell>,
    /// Entries of its redirection table; 0 where it does not spread.
    pub(crate) reta_size: u16,
    pub(crate) started: AtomicBool,
    /// How many queue sets workers hold.
    pub(crate) users: AtomicUsize,
    /// One per transmit queue; used only where workers share queues.
    pub(crate) tx_locks: Vec<TxLock>,
    pub(crate) software: SoftwareTxCells,
    driver: String,
    /// Probed by us, so removed by us.
    probed: bool,
    /// The socket it listens on.
    socket_path: Option<PathBuf>,
    /// The interface that the device stands on.
    kernel_link: Option<KernelLink>,
    /// Whether the link callback is registered.
    follows: bool,
    // Dropped after the device is closed (fields drop after `drop`): its rings hold the pool's mbufs.
    _pool: MbufPool,
    _started: Arc<Started>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.link.settle();
        // SAFETY: the port is ours and no queue is in use any more. The callback's argument lives until after this.
        unsafe {
            if *self.started.get_mut() {
                sys::rte_eth_dev_stop(self.id);
            }
            if self.follows {
                open::unfollow(self.id, &self.link);
            }
            open::close(self.id, self.probed);
        }
        if let Some(path) = &self.socket_path {
            let _gone_already = std::fs::remove_file(path);
        }
    }
}

/// An open port.
#[derive(Debug)]
pub struct Port {
    pub(crate) shared: Arc<Shared>,
    mac: [u8; 6],
    socket: u32,
    warnings: Vec<String>,
    /// The peer that lets the device start alone; gone after the start.
    first_peer: Mutex<Option<Box<Port>>>,
}

impl Port {
    /// Probes the device and configures it: queues, offloads, RSS, MTU. Frames flow after [`Port::start`]. Its receive
    /// rings are filled from the pool of the device's socket.
    pub fn open(config: &PortConfig, pools: &MbufPools) -> Result<Port> {
        open::open(config, pools)
    }

    /// Lets frames flow, from every address (promiscuous, all multicast: the pipeline decides what is ours).
    pub fn start(&self) -> Result<()> {
        if self.shared.started.load(Ordering::Acquire) {
            return Ok(());
        }
        // SAFETY: the port is configured, and no queue is held: they are given out only when started.
        self.step("start", || unsafe { sys::rte_eth_dev_start(self.shared.id) })?;
        self.shared.started.store(true, Ordering::Release);
        self.spread();
        // Devices that cannot filter receive everything as it is.
        // SAFETY: the port is started.
        unsafe {
            sys::rte_eth_promiscuous_enable(self.shared.id);
            sys::rte_eth_allmulticast_enable(self.shared.id);
        }
        let first_peer = self.first_peer.lock().ok().and_then(|mut first_peer| first_peer.take());
        if first_peer.is_some() {
            drop(first_peer);
            // DPDK hears of it within a second, on another thread (the vhost library's poll holds the connection that long).
            // A real peer may come at once: then the link is simply up.
            let end = Instant::now() + Duration::from_millis(1500);
            while self.link().up && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.link();
        Ok(())
    }

    /// Has the device spread flows over its queues as their owners are reckoned. One that refuses spreads as it likes, and
    /// workers hand each other what came wrong.
    fn spread(&self) {
        let Shared { id, reta_size, .. } = *self.shared;
        let queues = self.shared.capabilities.queues;
        if reta_size == 0 || queues < 2 {
            return;
        }
        let size = usize::from(reta_size);
        let mut table: Vec<_> = (0..size.div_ceil(GROUP))
            .map(|group| sys::rte_eth_rss_reta_entry64 {
                mask: u64::MAX,
                reta: std::array::from_fn(|n| packet::toeplitz::spread(group * GROUP + n, queues)),
            })
            .collect();
        // SAFETY: the port is started; the table has a group for each 64 of `reta_size` entries, and DPDK only reads it.
        unsafe { sys::rte_eth_dev_rss_reta_update(id, table.as_mut_ptr(), reta_size) };
    }

    /// Stops the device; frames in its rings go back to the pool when it is closed.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] while a `PortIo` holds its queues.
    pub fn stop(&self) -> Result<()> {
        if self.shared.users.load(Ordering::Acquire) != 0 {
            return Err(Error::InUse { port: self.shared.name.clone() });
        }
        if !self.shared.started.load(Ordering::Acquire) {
            return Ok(());
        }
        // SAFETY: no queue is held.
        self.step("stop", || unsafe { sys::rte_eth_dev_stop(self.shared.id) })?;
        self.shared.started.store(false, Ordering::Release);
        self.shared.link.set(false);
        Ok(())
    }

    /// The name from the configuration.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The DPDK driver's name.
    pub fn driver(&self) -> &str {
        &self.shared.driver
    }

    /// The MAC address: the device's, or, where a virtual device has none of its own, one that stays the same on this
    /// machine.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// The NUMA socket that the device is on.
    pub fn socket(&self) -> u32 {
        self.socket
    }

    /// What is in use.
    pub fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    /// What the operator should know about the opening: the caller logs it.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The MTU, bytes.
    pub fn mtu(&self) -> Result<u16> {
        let mut mtu = 0;
        // SAFETY: the port is open; `mtu` is a valid place.
        self.step("reading the MTU", || unsafe {
            sys::rte_eth_dev_get_mtu(self.shared.id, &raw mut mtu)
        })?;
        Ok(mtu)
    }

    /// Sets the MTU, bytes. Some devices take it only while stopped.
    pub fn set_mtu(&self, mtu: u16) -> Result<()> {
        let max = self.shared.capabilities.max_mtu;
        if mtu > max {
            return Err(Error::MtuTooBig { port: self.shared.name.clone(), mtu, max });
        }
        // SAFETY: the port is open.
        self.step("setting the MTU", || unsafe { sys::rte_eth_dev_set_mtu(self.shared.id, mtu) })
    }

    /// The link's state now, without waiting. Call it a few times a second: some devices (virtio_user as server) take up a
    /// new peer only when asked, and workers send only while the link is up.
    pub fn link(&self) -> Link {
        // SAFETY: the structure may be all zeros.
        let mut link: sys::rte_eth_link = unsafe { std::mem::zeroed() };
        // SAFETY: the port is open; `link` is a valid place.
        let result = unsafe { sys::rte_eth_link_get_nowait(self.shared.id, &raw mut link) };
        let up = result == 0
            && self.shared.started.load(Ordering::Acquire)
            && u32::from(link.link_status()) == sys::RTE_ETH_LINK_UP
            && self.shared.kernel_link.as_ref().is_none_or(KernelLink::is_running);
        self.shared.link.set(up);
        Link {
            up,
            speed_mbps: (up && link.link_speed != 0 && link.link_speed != u32::MAX)
                .then_some(link.link_speed),
            full_duplex: u32::from(link.link_duplex()) == sys::RTE_ETH_LINK_FULL_DUPLEX,
        }
    }

    /// What the device counted.
    pub fn stats(&self) -> Result<PortStats> {
        // SAFETY: the structure may be all zeros.
        let mut stats: sys::rte_eth_stats = unsafe { std::mem::zeroed() };
        // SAFETY: the port is open; `stats` is a valid place.
        self.step("reading the statistics", || unsafe {
            sys::rte_eth_stats_get(self.shared.id, &raw mut stats)
        })?;
        Ok(PortStats {
            rx_packets: stats.ipackets,
            rx_bytes: stats.ibytes,
            tx_packets: stats.opackets,
            tx_bytes: stats.obytes,
            rx_missed: stats.imissed,
            rx_errors: stats.ierrors,
            tx_errors: stats.oerrors,
            rx_no_mbuf: stats.rx_nombuf,
        })
    }

    /// What was done in software at sending.
    pub fn software_tx(&self) -> SoftwareTx {
        let cells = &self.shared.software;
        SoftwareTx {
            vlan_inserted: cells.vlan_inserted.load(Ordering::Relaxed),
            linearised: cells.linearised.load(Ordering::Relaxed),
            too_long: cells.too_long.load(Ordering::Relaxed),
            no_memory: cells.no_memory.load(Ordering::Relaxed),
        }
    }

    fn step(&self, step: &'static str, call: impl FnOnce() -> i32) -> Result<()> {
        open::step(&self.shared.name, step, call)
    }
}
