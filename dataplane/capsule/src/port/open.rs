//! Opening a device, step by step; whatever was begun is undone when a step fails.

use std::{
    ffi::{CStr, CString, c_int, c_void},
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize},
    },
};

use dpdk_sys as sys;

use super::{
    Capabilities, Device, KernelLink, LinkCell, Offload, Port, PortConfig, RssKey, Shared,
    SoftwareTxCells, capabilities, errno_text, log,
};
use crate::{
    eal,
    error::{Error, Result},
    pool::{MbufPools, SEGMENT},
    queue::TxLock,
};

/// Drivers that receive into several segments by nature, without the offload's bit.
const CHAINS_ANYWAY: &[&str] = &["net_vhost", "net_ring", "net_null", "net_memif"];

/// A probed device that is closed again unless the opening succeeds.
struct Guard {
    id: u16,
    probed: bool,
    armed: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.armed {
            // SAFETY: the port is not handed out yet.
            unsafe { close(self.id, self.probed) };
        }
    }
}

pub(super) fn open(config: &PortConfig, pools: &MbufPools) -> Result<Port> {
    let started = eal::started()?;
    let device: Device = config.device.parse()?;
    let first_peer = first_peer(&device, pools)?;
    let (id, probed) = find_or_probe(&device)?;
    let mut guard = Guard { id, probed, armed: true };
    let info = info(&config.name, id)?;
    // SAFETY: the driver's name is a static C string.
    let driver = unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned();
    // SAFETY: the port exists.
    let socket = u32::try_from(unsafe { sys::rte_eth_dev_socket_id(id) }).unwrap_or(0);
    let pool = pools.on(socket)?;
    let mut warnings = Vec::new();

    let plan = Plan::new(config, &info, &driver)?;
    plan.configure(config, id, &info)?;
    let (mut rx_descriptors, mut tx_descriptors) = (config.rx_descriptors, config.tx_descriptors);
    step(&config.name, "choosing descriptors", || {
        // SAFETY: the port is configured; both places are valid.
        unsafe {
            sys::rte_eth_dev_adjust_nb_rx_tx_desc(
                id,
                &raw mut rx_descriptors,
                &raw mut tx_descriptors,
            )
        }
    })?;
    let (mut rx_conf, mut tx_conf) = (info.default_rxconf, info.default_txconf);
    rx_conf.offloads = plan.rx_offloads;
    tx_conf.offloads = plan.tx_offloads;
    for queue in 0..plan.queues {
        step(&config.name, "setting up a receive queue", || {
            // SAFETY: the port is configured with this queue; the pool outlives the port (`Shared` holds it).
            unsafe {
                sys::rte_eth_rx_queue_setup(
                    id,
                    queue,
                    rx_descriptors,
                    socket,
                    &raw const rx_conf,
                    pool.raw(),
                )
            }
        })?;
        step(&config.name, "setting up a transmit queue", || {
            // SAFETY: likewise.
            unsafe {
                sys::rte_eth_tx_queue_setup(id, queue, tx_descriptors, socket, &raw const tx_conf)
            }
        })?;
    }
    // The kernel interface under af_packet and tap takes the MTU here; devices without this step keep the configured one.
    // SAFETY: the port is configured.
    let result = unsafe { sys::rte_eth_dev_set_mtu(id, config.mtu) };
    if result != 0 && result != -libc::ENOTSUP {
        warnings.push(format!(
            "port {}: the device did not take MTU {}: {}",
            config.name,
            config.mtu,
            errno_text(result)
        ));
    }
    if plan.queues < config.queues {
        warnings.push(format!(
            "port {}: device {} has {} queues for {} workers: the other workers receive nothing from it and share its \
             transmit queues",
            config.name, device, plan.queues, config.queues
        ));
    }
    let mut read = sys::rte_ether_addr { addr_bytes: [0; 6] };
    step(&config.name, "reading the MAC address", || {
        // SAFETY: the port exists; `read` is a valid place.
        unsafe { sys::rte_eth_macaddr_get(id, &raw mut read) }
    })?;
    let mac = if device.invents_its_mac() || read.addr_bytes == [0; 6] {
        stable_mac(&identity(), &[&config.name, &config.device])
    } else {
        read.addr_bytes
    };

    let kernel_link =
        device.kernel_interface().map(KernelLink::new).transpose().map_err(|error| {
            Error::Port {
                port: config.name.clone(),
                step: "watching its interface",
                reason: error.to_string(),
                log: String::new(),
            }
        })?;
    let link = Arc::new(LinkCell::default());
    let follows = follow(id, &link);
    guard.armed = false;
    let shared = Shared {
        id,
        name: config.name.clone(),
        capabilities: Capabilities {
            offloads: plan.offloads,
            queues: plan.queues,
            max_queues: info.max_rx_queues.min(info.max_tx_queues),
            rx_descriptors,
            tx_descriptors,
            max_mtu: plan.max_mtu,
            rss_key_len: plan.rss_key_len,
        },
        link,
        started: AtomicBool::new(false),
        users: AtomicUsize::new(0),
        reta_size: if plan.rss_key_len == 0 { 0 } else { info.reta_size },
        tx_locks: (0..plan.queues).map(|_| TxLock::default()).collect(),
        software: SoftwareTxCells::default(),
        driver,
        probed,
        socket_path: device.listens_on(),
        kernel_link,
        follows,
        _pool: pool,
        _started: started,
    };
    Ok(Port { shared: Arc::new(shared), mac, socket, warnings, first_peer: Mutex::new(first_peer) })
}

/// virtio_user as server blocks in its probe until a peer has connected and told its features, and its start wants to hand
/// over memory. So that a router starts without its neighbour, a vhost port of our own is that first peer; it leaves after
/// the start, and the device waits for the real one as after any peer's death.
fn first_peer(device: &Device, pools: &MbufPools) -> Result<Option<Box<Port>>> {
    let Some(peer) = device.first_peer() else { return Ok(None) };
    if port_by_name(device.name()).is_some() {
        return Ok(None);
    }
    device.prepare()?;
    let queues = u16::MAX; // as many as its string says
    let config = PortConfig { queues, ..PortConfig::new("first-peer", peer) };
    let port = open(&config, pools)?;
    port.start()?;
    Ok(Some(Box::new(port)))
}

/// The port of the device: one that EAL already has (from its arguments), or a freshly probed one (true).
fn find_or_probe(device: &Device) -> Result<(u16, bool)> {
    if let Some(id) = port_by_name(device.name()) {
        return Ok((id, false));
    }
    device.prepare()?;
    let bad =
        |reason: String, log: String| Error::BadDevice { device: device.to_string(), reason, log };
    let probe = CString::new(device.probe_string())
        .map_err(|_| bad("it holds a zero byte".into(), String::new()))?;
    // SAFETY: EAL is started; the string is a C string, which DPDK copies.
    let (result, log) = log::listen(|| unsafe { sys::rte_dev_probe(probe.as_ptr()) });
    if result == 0 {
        return match port_by_name(device.name()) {
            Some(id) => Ok((id, true)),
            None => Err(bad("its driver made no port of this name".into(), log)),
        };
    }
    // Not EPERM: drivers return a plain -1 for anything, wrong arguments above all.
    if log::tells_of_permission(&log) || result == -libc::EACCES {
        return Err(Error::NoPermission { what: format!("device \"{device}\""), log });
    }
    // A virtual device that no bus knows: its driver is not there. (rte_devargs_parse gives EFAULT)
    if result == -libc::EFAULT
        && let (Some(driver), Some(package)) = (device.driver(), device.package())
    {
        return Err(Error::MissingDriver {
            device: device.to_string(),
            driver: driver.into(),
            package,
        });
    }
    let reason = match result.abs() {
        libc::ENODEV | libc::ENOENT | libc::EFAULT if device.is_pci() => {
            "there is no such PCI device, or no DPDK driver has it (bind it to vfio-pci: dpdk-devbind.py --bind=vfio-pci)".into()
        }
        libc::EPERM => "the driver refused it without saying why: an argument that it does not know, most likely".into(),
        libc::EFAULT => "it is neither a PCI address nor a virtual device (net_…)".into(),
        errno => format!("the driver refused it: {}", errno_text(errno)),
    };
    Err(bad(reason, log))
}

fn port_by_name(name: &str) -> Option<u16> {
    let name = CString::new(name).ok()?;
    let mut id = 0;
    // SAFETY: the name is a C string; `id` is a valid place.
    (unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut id) } == 0).then_some(id)
}

fn info(port: &str, id: u16) -> Result<sys::rte_eth_dev_info> {
    // SAFETY: the structure may be all zeros.
    let mut info: sys::rte_eth_dev_info = unsafe { std::mem::zeroed() };
    // SAFETY: the port exists; `info` is a valid place.
    step(port, "asking for its abilities", || unsafe {
        sys::rte_eth_dev_info_get(id, &raw mut info)
    })?;
    Ok(info)
}

/// What was decided before the device is configured.
struct Plan {
    queues: u16,
    rx_offloads: u64,
    tx_offloads: u64,
    offloads: Vec<Offload>,
    max_mtu: u16,
    rss_key_len: u8,
}

impl Plan {
    fn new(config: &PortConfig, info: &sys::rte_eth_dev_info, driver: &str) -> Result<Plan> {
        let queues = config.queues.min(info.max_rx_queues).min(info.max_tx_queues).max(1);
        let overhead = overhead(info);
        let fits_segment = u32::from(config.mtu) + overhead <= SEGMENT as u32;
        let (rx_offloads, tx_offloads, offloads) = capabilities::choose(info, |offload| {
            // Receiving scattered may cost the vector path, and one queue needs no spreading: only where it serves.
            let serves = match offload {
                Offload::RxScatter => !fits_segment,
                Offload::Rss => queues > 1,
                _ => true,
            };
            serves && !config.without.contains(&offload) && !capabilities::harmful(driver, offload)
        });
        let scatters = info.rx_offload_capa & sys::DPDK_SYS_RTE_ETH_RX_OFFLOAD_SCATTER != 0
            && !config.without.contains(&Offload::RxScatter)
            || CHAINS_ANYWAY.contains(&driver);
        let mut max = u32::from(if info.max_mtu == 0 { u16::MAX } else { info.max_mtu });
        if info.max_rx_pktlen != 0 {
            max = max.min(info.max_rx_pktlen.saturating_sub(overhead).max(u32::from(info.min_mtu)));
        }
        if !scatters {
            max = max.min(SEGMENT as u32 - overhead);
        }
        let max_mtu = u16::try_from(max).unwrap_or(u16::MAX);
        if config.mtu > max_mtu {
            return Err(Error::MtuTooBig {
                port: config.name.clone(),
                mtu: config.mtu,
                max: max_mtu,
            });
        }
        let key_len = if info.hash_key_size == 0 { 40 } else { info.hash_key_size };
        let rss_key_len =
            if offloads.contains(&Offload::Rss) { key_len.min(RssKey::MAX as u8) } else { 0 };
        Ok(Plan { queues, rx_offloads, tx_offloads, offloads, max_mtu, rss_key_len })
    }

    fn configure(&self, config: &PortConfig, id: u16, info: &sys::rte_eth_dev_info) -> Result<()> {
        // SAFETY: the structure may be all zeros: every part has zero as its default.
        let mut conf: sys::rte_eth_conf = unsafe { std::mem::zeroed() };
        conf.rxmode.mtu = u32::from(config.mtu);
        conf.rxmode.offloads = self.rx_offloads;
        conf.txmode.offloads = self.tx_offloads;
        let mut key = config.rss_key.0;
        if self.rss_key_len != 0 {
            conf.rxmode.mq_mode = sys::RTE_ETH_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf = sys::rte_eth_rss_conf {
                rss_key: key.as_mut_ptr(),
                rss_key_len: self.rss_key_len,
                rss_hf: capabilities::RSS_FLOWS & info.flow_type_rss_offloads,
            };
        }
        // SAFETY: `dev_flags` points to the device's flags, which live as long as it.
        let flags = unsafe { info.dev_flags.as_ref() }.copied().unwrap_or(0);
        conf.intr_conf
            .set_lsc(u32::from(u64::from(flags) & sys::DPDK_SYS_RTE_ETH_DEV_INTR_LSC != 0));
        step(&config.name, "configuring", || {
            // SAFETY: the port exists and is stopped; DPDK copies the configuration, and the driver the key.
            unsafe { sys::rte_eth_dev_configure(id, self.queues, self.queues, &raw const conf) }
        })
    }
}

/// Bytes that a frame has beside its layer-3 packet, as DPDK reckons. (ethdev, `eth_dev_get_overhead_len`)
fn overhead(info: &sys::rte_eth_dev_info) -> u32 {
    if info.max_mtu != u16::MAX && info.max_rx_pktlen > u32::from(info.max_mtu) {
        info.max_rx_pktlen - u32::from(info.max_mtu)
    } else {
        sys::RTE_ETHER_HDR_LEN + sys::RTE_ETHER_CRC_LEN
    }
}

/// What tells this machine (or container) from others.
fn identity() -> String {
    ["/etc/machine-id", "/proc/sys/kernel/hostname"]
        .map(|path| fs::read_to_string(path).unwrap_or_default())
        .concat()
}

/// A locally administered MAC address that is the same at every start, and another one on another machine or port.
fn stable_mac(identity: &str, parts: &[&str]) -> [u8; 6] {
    // FNV-1a, 64 bits: fixed for ever, unlike the standard library's hasher.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])).chain(identity.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let [a, b, c, d, e, ..] = hash.to_le_bytes();
    [0x02, a, b, c, d, e]
}

/// Runs one call that returns 0 or a negative error number.
pub(super) fn step(port: &str, step: &'static str, call: impl FnOnce() -> i32) -> Result<()> {
    let (result, log) = log::listen(call);
    if result == 0 {
        return Ok(());
    }
    if result == -libc::EPERM || result == -libc::EACCES || log::tells_of_permission(&log) {
        return Err(Error::NoPermission { what: format!("port {port} ({step})"), log });
    }
    Err(Error::Port { port: port.into(), step, reason: errno_text(result), log })
}

/// Closes a port and removes its device where we probed it.
///
/// # Safety
///
/// The port is stopped (or was never started), and nobody uses it any more.
pub(super) unsafe fn close(id: u16, probed: bool) {
    // SAFETY: the structure may be all zeros; the caller's promise.
    unsafe {
        let mut info: sys::rte_eth_dev_info = std::mem::zeroed();
        let known = sys::rte_eth_dev_info_get(id, &raw mut info) == 0;
        sys::rte_eth_dev_close(id);
        if probed && known && !info.device.is_null() {
            sys::rte_dev_remove(info.device);
        }
    }
}

/// Has DPDK tell of link changes; whether it will.
fn follow(id: u16, link: &Arc<LinkCell>) -> bool {
    let place = Arc::as_ptr(link).cast_mut().cast::<c_void>();
    // SAFETY: `Shared` holds the cell until after the callback is unregistered.
    unsafe {
        sys::rte_eth_dev_callback_register(
            id,
            sys::RTE_ETH_EVENT_INTR_LSC,
            Some(on_link_event),
            place,
        ) == 0
    }
}

/// Ends what `follow` began.
///
/// # Safety
///
/// The port exists, and `link` is the cell that was registered.
pub(super) unsafe fn unfollow(id: u16, link: &Arc<LinkCell>) {
    let place = Arc::as_ptr(link).cast_mut().cast::<c_void>();
    // A callback that is running makes this fail with EAGAIN; it is short.
    for _ in 0..1000 {
        // SAFETY: the caller's promise.
        let result = unsafe {
            sys::rte_eth_dev_callback_unregister(
                id,
                sys::RTE_ETH_EVENT_INTR_LSC,
                Some(on_link_event),
                place,
            )
        };
        if result != -libc::EAGAIN {
            return;
        }
        std::thread::yield_now();
    }
}

/// Runs on DPDK's interrupt thread (or the vhost library's) when a link changes.
unsafe extern "C" fn on_link_event(
    id: u16,
    _event: sys::rte_eth_event_type,
    place: *mut c_void,
    _ret: *mut c_void,
) -> c_int {
    // SAFETY: the structure may be all zeros.
    let mut link: sys::rte_eth_link = unsafe { std::mem::zeroed() };
    // SAFETY: the port exists: its callbacks go first; `link` is a valid place.
    let result = unsafe { sys::rte_eth_link_get_nowait(id, &raw mut link) };
    let up = result == 0 && u32::from(link.link_status()) == sys::RTE_ETH_LINK_UP;
    if !place.is_null() {
        // SAFETY: the argument is the cell given to `follow`, alive until the callback is gone.
        unsafe { (*place.cast::<LinkCell>()).set(up) };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_macs_are_stable_and_differ() {
        let mac = stable_mac("a machine", &["wan", "net_vhost0,iface=/x"]);
        assert_eq!(mac, stable_mac("a machine", &["wan", "net_vhost0,iface=/x"]));
        assert_eq!(mac[0], 0x02, "unicast, locally administered");
        assert_ne!(mac, stable_mac("another", &["wan", "net_vhost0,iface=/x"]));
        assert_ne!(mac, stable_mac("a machine", &["lan", "net_vhost0,iface=/x"]));
        assert_ne!(stable_mac("", &["ab", "c"]), stable_mac("", &["a", "bc"]));
    }
}
