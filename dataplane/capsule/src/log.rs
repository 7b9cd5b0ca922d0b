//! DPDK's log: to `tracing` (target `dpdk`), and the lines of a failing step into its error.
//!
//! Any thread may log; the kept lines are behind a lock that is taken only when DPDK logs, which no fast path does.

use std::{collections::VecDeque, ffi::c_char, slice, sync::Mutex};

/// The last lines of warning level or worse, oldest first.
static KEPT: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// How many are kept: a failing probe says one to four.
const KEEP: usize = 6;

/// Sends DPDK's log here from now on.
pub(crate) fn install() -> bool {
    // SAFETY: `sink` is a function that lives as long as the process.
    unsafe { dpdk_sys::dpdk_sys_log_to(Some(sink)) == 0 }
}

/// Takes one line from DPDK.
unsafe extern "C" fn sink(level: u32, line: *const c_char, len: usize) {
    // SAFETY: the shim passes `len` bytes that stay valid during the call.
    let bytes = unsafe { slice::from_raw_parts(line.cast::<u8>(), len) };
    let line = String::from_utf8_lossy(bytes);
    let line = line.trim_end();
    match level {
        0..=dpdk_sys::RTE_LOG_ERR => tracing::error!(target: "dpdk", "{line}"),
        dpdk_sys::RTE_LOG_WARNING => tracing::warn!(target: "dpdk", "{line}"),
        dpdk_sys::RTE_LOG_NOTICE | dpdk_sys::RTE_LOG_INFO => {
            tracing::info!(target: "dpdk", "{line}")
        }
        _ => tracing::debug!(target: "dpdk", "{line}"),
    }
    if level <= dpdk_sys::RTE_LOG_WARNING
        && let Ok(mut kept) = KEPT.lock()
    {
        if kept.len() == KEEP {
            kept.pop_front();
        }
        kept.push_back(line.to_owned());
    }
}

/// Runs `step` and returns what it returned and what DPDK complained about meanwhile, in one line.
pub(crate) fn listen<T>(step: impl FnOnce() -> T) -> (T, String) {
    if let Ok(mut kept) = KEPT.lock() {
        kept.clear();
    }
    let result = step();
    let lines: Vec<String> =
        KEPT.lock().map(|mut kept| kept.drain(..).collect()).unwrap_or_default();
    (result, lines.join("; "))
}

/// Whether the log tells of a missing permission: drivers lose the error number on the way.
pub(crate) fn tells_of_permission(log: &str) -> bool {
    log.contains("Operation not permitted") || log.contains("Permission denied")
}
