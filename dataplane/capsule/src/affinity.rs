//! Which CPUs a thread may run on.

use std::io;

/// The CPUs that the calling thread may run on, in order.
pub(crate) fn allowed() -> io::Result<Vec<usize>> {
    let set = get()?;
    // SAFETY: CPU_ISSET reads one bit of the set, below its size.
    Ok((0..libc::CPU_SETSIZE as usize)
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect())
}

/// The calling thread's CPU set.
pub(crate) fn get() -> io::Result<libc::cpu_set_t> {
    // SAFETY: a set of bits may be all zeros.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a valid place of the size given; 0 is the calling thread.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    if result == 0 { Ok(set) } else { Err(io::Error::last_os_error()) }
}

/// Sets the calling thread's CPU set.
pub(crate) fn set(set: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: `set` is valid and of the size given; 0 is the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(set), set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Pins the calling thread to one CPU.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: a set of bits may be all zeros.
    let mut only: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `cpu` is below the set's size.
    unsafe { libc::CPU_SET(cpu, &mut only) };
    set(&only)
}

/// The NUMA socket of a CPU; 0 where the kernel does not say.
pub(crate) fn socket_of(cpu: usize) -> u32 {
    let nodes = std::fs::read_dir(format!("/sys/devices/system/cpu/cpu{cpu}"))
        .into_iter()
        .flatten()
        .flatten();
    nodes
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok())
        .next()
        .unwrap_or(0)
}
