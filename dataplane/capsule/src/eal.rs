//! DPDK's environment: started once per process from a typed configuration, cleaned up when its last user is gone.
//!
//! # Life cycle
//!
//! [`Eal::start`] once; pools and ports hold a reference. After the clean-up nothing can start again in the process: EAL
//! does not support it.
//!
//! # What it leaves alone
//!
//! The starting thread's CPU set is given back to it (EAL pins it), no file is left behind (`--in-memory`, or no hugepages
//! at all), no telemetry socket is opened, no PCI device is probed that the configuration does not name.

use std::{
    ffi::{CStr, CString, OsStr, c_char},
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::{
    affinity,
    error::{Error, Result, errno_text, rte_errno},
    hugepages::{self, HugepageSize},
    log,
};

/// Whether DPDK's memory stands on hugepages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hugepages {
    /// Where enough are free; otherwise without, with a warning.
    #[default]
    Auto,
    /// Only with them.
    Require,
    /// Without.
    Off,
}

/// How much DPDK logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What broke.
    Error,
    /// What may break.
    #[default]
    Warning,
    /// What happens.
    Info,
    /// Everything.
    Debug,
}

/// How EAL starts.
#[derive(Clone, Debug)]
pub struct EalConfig {
    /// DPDK's memory, MiB: mempools and rings.
    pub memory_mib: u32,
    /// Whether it stands on hugepages.
    pub hugepages: Hugepages,
    /// The CPUs for DPDK's own (sleeping) threads; empty: all that the process may use.
    pub cores: Vec<usize>,
    /// PCI addresses that may be probed (`0000:03:00.0`); others are left to whoever has them.
    pub pci: Vec<String>,
    /// Prefix of DPDK's files; `None`: one of this process's own.
    pub file_prefix: Option<String>,
    /// Further EAL arguments, as DPDK's guide has them.
    pub extra_args: Vec<String>,
    /// How much DPDK logs.
    pub log_level: LogLevel,
}

impl Default for EalConfig {
    fn default() -> Self {
        EalConfig {
            memory_mib: 512,
            hugepages: Hugepages::default(),
            cores: Vec::new(),
            pci: Vec::new(),
            file_prefix: None,
            extra_args: Vec::new(),
            log_level: LogLevel::default(),
        }
    }
}

/// DPDK, started. Dropping it cleans up as soon as no port, pool or frame is left.
#[derive(Debug)]
pub struct Eal {
    _started: Arc<Started>,
    warnings: Vec<String>,
    hugepages: bool,
}

/// What every user of DPDK holds; the last one cleans up.
#[derive(Debug)]
pub(crate) struct Started(());

impl Drop for Started {
    fn drop(&mut self) {
        // SAFETY: EAL is started, and no port or pool is left: each holds a reference.
        unsafe { dpdk_sys::rte_eal_cleanup() };
        remove_runtime_dir();
    }
}

/// EAL makes a folder for its files even when it is told to have none. Only an empty one is removed.
fn remove_runtime_dir() {
    // SAFETY: returns a static C string.
    let path = unsafe { CStr::from_ptr(dpdk_sys::rte_eal_get_runtime_dir()) };
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    if path.is_absolute() {
        let _in_use = std::fs::remove_dir(path);
    }
}

/// Once something is here, EAL was started (or tried).
static STARTED: Mutex<Option<Weak<Started>>> = Mutex::new(None);

/// A reference to the running EAL.
pub(crate) fn started() -> Result<Arc<Started>> {
    let slot = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    slot.as_ref().and_then(Weak::upgrade).ok_or(Error::NotStarted)
}

impl Eal {
    /// Starts DPDK, and ignores SIGPIPE for the process: writing to the socket of a vhost-user peer that just died would
    /// end it.
    ///
    /// # Errors
    ///
    /// A configuration that cannot work, missing hugepages or permissions, or whatever EAL says.
    pub fn start(config: &EalConfig) -> Result<Eal> {
        let mut slot = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_some() {
            return Err(Error::AlreadyStarted);
        }
        let plan = plan(config, &hugepages::sizes())?;
        let args: Vec<CString> = plan
            .args
            .iter()
            .map(|arg| {
                CString::new(arg.as_str()).map_err(|_| Error::Config {
                    what: "EAL argument",
                    value: arg.clone(),
                    reason: "it holds a zero byte".into(),
                })
            })
            .collect::<Result<_>>()?;
        // SAFETY: only the disposition of one signal is changed, to one that runs no code.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
        let before = affinity::get()
            .map_err(|error| Error::Start { reason: error.to_string(), log: String::new() })?;

        // EAL keeps pointers into its arguments and may permute the array: both live as long as the process.
        let args: &'static mut [CString] = Vec::leak(args);
        let argv: &'static mut [*mut c_char] = Vec::leak(
            args.iter().map(|arg| arg.as_ptr().cast_mut()).chain([std::ptr::null_mut()]).collect(),
        );
        let argc = i32::try_from(args.len()).unwrap_or(0);
        if !log::install() {
            return Err(Error::Start {
                reason: "no memory for the log".into(),
                log: String::new(),
            });
        }
        // SAFETY: no other thread logs through DPDK yet.
        unsafe { dpdk_sys::rte_log_set_global_level(config.log_level.number()) };
        *slot = Some(Weak::new());
        let ((result, errno), log) = log::listen(|| {
            // SAFETY: `argv` holds `argc` strings and a null, and stays; this runs once, under the lock.
            let result = unsafe { dpdk_sys::rte_eal_init(argc, argv.as_mut_ptr()) };
            (result, rte_errno())
        });
        // EAL pinned this thread; threads that it will make inherit from it.
        affinity::set(&before)
            .map_err(|error| Error::Start { reason: error.to_string(), log: String::new() })?;
        remove_runtime_dir();
        if result < 0 {
            if errno == libc::EACCES || errno == libc::EPERM || log::tells_of_permission(&log) {
                return Err(Error::NoPermission { what: "DPDK's start".into(), log });
            }
            return Err(Error::Start { reason: errno_text(errno), log });
        }
        let started = Arc::new(Started(()));
        *slot = Some(Arc::downgrade(&started));
        Ok(Eal { _started: started, warnings: plan.warnings, hugepages: plan.hugepages })
    }

    /// What the operator should know: the caller logs it.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether DPDK's memory stands on hugepages.
    pub fn has_hugepages(&self) -> bool {
        self.hugepages
    }

    /// DPDK's version, like `DPDK 22.11.11`.
    pub fn version() -> String {
        format!("DPDK {}", dpdk_version())
    }
}

fn dpdk_version() -> String {
    // SAFETY: returns a constant string with its zero byte.
    let text = unsafe { CStr::from_ptr(dpdk_sys::rte_version()) };
    text.to_string_lossy().trim_start_matches("DPDK ").to_owned()
}

impl LogLevel {
    fn number(self) -> u32 {
        match self {
            LogLevel::Error => dpdk_sys::RTE_LOG_ERR,
            LogLevel::Warning => dpdk_sys::RTE_LOG_WARNING,
            LogLevel::Info => dpdk_sys::RTE_LOG_INFO,
            LogLevel::Debug => dpdk_sys::RTE_LOG_DEBUG,
        }
    }
}

/// The decisions before the start, apart from it for the tests.
struct Plan {
    args: Vec<String>,
    warnings: Vec<String>,
    hugepages: bool,
}

fn plan(config: &EalConfig, sizes: &[HugepageSize]) -> Result<Plan> {
    let mut warnings = Vec::new();
    let (wanted, free) = (u64::from(config.memory_mib), hugepages::free_mib(sizes));
    let enough = free >= wanted;
    let hugepages = match config.hugepages {
        Hugepages::Off => false,
        Hugepages::Auto => enough,
        Hugepages::Require if enough => true,
        Hugepages::Require => {
            return Err(Error::NoHugepages {
                wanted_mib: wanted,
                free_mib: free,
                pages: hugepages::needed(sizes, wanted),
            });
        }
    };
    if config.hugepages == Hugepages::Auto && !enough {
        warnings.push(format!(
            "{wanted} MiB of hugepages are wanted and {free} MiB are free: running without hugepages, which is slower and \
             cannot drive PCI devices (reserve them: echo {} > /proc/sys/vm/nr_hugepages)",
            hugepages::needed(sizes, wanted)
        ));
    }
    if !hugepages && !config.pci.is_empty() {
        warnings.push(format!("PCI device {} needs hugepages", config.pci.join(", ")));
    }

    let cores = if config.cores.is_empty() {
        affinity::allowed()
            .map_err(|error| Error::Start { reason: error.to_string(), log: String::new() })?
    } else {
        config.cores.clone()
    };
    let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
    let mut args: Vec<String> =
        vec!["capsule".into(), "--lcores".into(), format!("0@({})", cores.join(","))];
    args.extend(["-m".into(), config.memory_mib.to_string()]);
    let prefix =
        config.file_prefix.clone().unwrap_or_else(|| format!("capsule-{}", std::process::id()));
    args.extend(["--file-prefix".into(), prefix]);
    if hugepages {
        // No file survives the process, and each segment list is one file, which vhost-user can hand to its peer.
        args.extend(["--in-memory".into(), "--single-file-segments".into()]);
    } else {
        args.extend(["--no-huge".into(), "--no-shconf".into()]);
    }
    args.push("--no-telemetry".into());
    // With an allow list EAL probes nothing else; 0000:00:00.0 is the host bridge, which no driver takes.
    let pci: &[String] =
        if config.pci.is_empty() { &["0000:00:00.0".to_owned()] } else { &config.pci };
    for address in pci {
        args.extend(["-a".into(), address.clone()]);
    }
    args.extend(config.extra_args.iter().cloned());
    Ok(Plan { args, warnings, hugepages })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &[HugepageSize] = &[HugepageSize { kib: 2048, free: 10, total: 100 }];
    const PLENTY: &[HugepageSize] = &[HugepageSize { kib: 2048, free: 1000, total: 1000 }];

    #[test]
    fn auto_falls_back_with_a_warning() {
        let plan = plan(&EalConfig::default(), NONE).unwrap();
        assert!(!plan.hugepages && plan.args.contains(&"--no-huge".to_owned()));
        assert_eq!(plan.warnings.len(), 1);
        assert!(
            plan.warnings[0].contains("20 MiB are free") && plan.warnings[0].contains("echo 346 >"),
            "{}",
            plan.warnings[0]
        );
    }

    #[test]
    fn auto_takes_hugepages_where_enough_are_free() {
        let plan = plan(&EalConfig::default(), PLENTY).unwrap();
        assert!(plan.hugepages && plan.warnings.is_empty());
        assert!(
            plan.args.contains(&"--in-memory".to_owned())
                && plan.args.contains(&"--single-file-segments".to_owned())
        );
    }

    #[test]
    fn require_fails_with_the_remedy() {
        let config = EalConfig { hugepages: Hugepages::Require, ..EalConfig::default() };
        let error = plan(&config, NONE).err().unwrap().to_string();
        assert!(
            error.contains("512 MiB") && error.contains("20 MiB") && error.contains("echo 346 >"),
            "{error}"
        );
    }
}
