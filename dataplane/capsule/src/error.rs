//! What can go wrong with DPDK, each with what to do about it. `Display` is one sentence for people; it names the device.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why DPDK, a pool, a port or a worker could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// EAL starts once per process, and never again after its clean-up.
    #[error("DPDK was started before in this process; it can start only once")]
    AlreadyStarted,
    /// Something was asked of DPDK before [`Eal::start`](crate::Eal::start).
    #[error("DPDK is not started")]
    NotStarted,
    /// A value of the configuration cannot be used.
    #[error("{what} {value:?} cannot be used: {reason}")]
    Config {
        /// The setting.
        what: &'static str,
        /// Its value.
        value: String,
        /// Why.
        reason: String,
    },
    /// `hugepages = "require"`, and there are too few.
    #[error(
        "{wanted_mib} MiB of hugepages are needed and {free_mib} MiB are free; reserve more (echo {pages} > \
         /proc/sys/vm/nr_hugepages), ask for less memory, or set hugepages = \"auto\""
    )]
    NoHugepages {
        /// What was asked for.
        wanted_mib: u64,
        /// What is free.
        free_mib: u64,
        /// How many pages (of 2 MiB, used ones included) would do.
        pages: u64,
    },
    /// EAL did not start.
    #[error("DPDK did not start: {reason}{}", said(.log))]
    Start {
        /// The cause.
        reason: String,
        /// What DPDK logged.
        log: String,
    },
    /// The process may not do what the device needs.
    #[error(
        "no permission for {what}: run as root or with the capabilities NET_ADMIN, NET_RAW and IPC_LOCK (in a container also \
         SYS_NICE with hugepages, SYS_ADMIN for af_xdp){}", said(.log)
    )]
    NoPermission {
        /// The device or the step.
        what: String,
        /// What DPDK logged.
        log: String,
    },
    /// No mempool driver is installed.
    #[error(
        "DPDK has no mempool driver: install Debian's package librte-mempool-ring23 (apt-get install librte-mempool-ring23, \
         or librte-meta-all)"
    )]
    NoMempoolDriver,
    /// The pool does not fit in DPDK's memory.
    #[error("no memory for pool {name} of {mbufs} mbufs ({mib} MiB): raise memory or lower mbufs")]
    NoMemory {
        /// The pool.
        name: String,
        /// Its mbufs.
        mbufs: u32,
        /// About what they need.
        mib: u64,
    },
    /// A pool could not be made.
    #[error("pool {name} could not be made: {reason}")]
    Pool {
        /// The pool.
        name: String,
        /// The cause.
        reason: String,
    },
    /// The device string cannot be understood, or the driver refused it.
    #[error("bad device \"{device}\": {reason}{}", said(.log))]
    BadDevice {
        /// The device string.
        device: String,
        /// The cause.
        reason: String,
        /// What DPDK logged.
        log: String,
    },
    /// The driver that the device string names is not installed.
    #[error(
        "device \"{device}\": DPDK has no driver {driver}; if the name is right, install Debian's package {package} \
         (apt-get install {package}, or librte-meta-all)"
    )]
    MissingDriver {
        /// The device string.
        device: String,
        /// The driver's name.
        driver: String,
        /// The Debian package that most likely has it.
        package: String,
    },
    /// The kernel interface that the device string names is not there.
    #[error(
        "device \"{device}\": there is no network interface {interface} in this network namespace (see: ip link)"
    )]
    NoSuchInterface {
        /// The device string.
        device: String,
        /// The interface.
        interface: String,
    },
    /// Another process listens on the device's Unix socket.
    #[error("device \"{device}\": another process listens on {path}; stop it or choose another path", path = .path.display())]
    SocketInUse {
        /// The device string.
        device: String,
        /// The socket.
        path: PathBuf,
    },
    /// The device cannot carry frames this long.
    #[error("port {port}: the device carries an MTU of at most {max}, not {mtu}")]
    MtuTooBig {
        /// The port.
        port: String,
        /// What was asked for.
        mtu: u16,
        /// What is possible.
        max: u16,
    },
    /// The device refused a step.
    #[error("port {port}: {step} failed: {reason}{}", said(.log))]
    Port {
        /// The port.
        port: String,
        /// What was done.
        step: &'static str,
        /// The cause.
        reason: String,
        /// What DPDK logged.
        log: String,
    },
    /// Workers still hold the port's queues.
    #[error("port {port}: its queues are in use")]
    InUse {
        /// The port.
        port: String,
    },
    /// The port is not started.
    #[error("port {port} is not started")]
    PortStopped {
        /// The port.
        port: String,
    },
    /// A worker cannot run on this core.
    #[error("core {core} cannot run a worker: {reason}")]
    Core {
        /// The core's number.
        core: usize,
        /// The cause.
        reason: String,
    },
    /// The operating system refused a thread, or DPDK its registration.
    #[error("worker {worker} could not start: {reason}")]
    WorkerStart {
        /// The worker's number.
        worker: usize,
        /// The cause.
        reason: String,
    },
    /// A worker panicked.
    #[error("worker {worker} panicked: {message}")]
    WorkerPanicked {
        /// The worker's number.
        worker: usize,
        /// The panic's message.
        message: String,
    },
}

/// DPDK's own words, where there are any.
fn said(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!(" (DPDK says: {log})") }
}

/// The text of an error number, positive or negative.
pub(crate) fn errno_text(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno.abs()).to_string()
}

/// The calling thread's `rte_errno`.
pub(crate) fn rte_errno() -> i32 {
    // SAFETY: reads a thread-local variable.
    unsafe { dpdk_sys::dpdk_sys_errno() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_thing_and_the_remedy() {
        let error = Error::MissingDriver {
            device: "net_foo0".into(),
            driver: "net_foo".into(),
            package: "librte-net-foo23".into(),
        };
        assert!(
            error.to_string().contains("net_foo0")
                && error.to_string().contains("apt-get install librte-net-foo23")
        );
        let error = Error::Start { reason: "because".into(), log: "EAL: no".into() };
        assert_eq!(error.to_string(), "DPDK did not start: because (DPDK says: EAL: no)");
    }
}
