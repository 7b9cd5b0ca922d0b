//! Which file descriptors are ours, and what is known of each socket behind them.
//!
//! # Overview
//!
//! `FDS` says for each file descriptor which entry of `SOCKETS` it belongs to; several may share one (dup). Nothing is allocated
//! and nothing locks: close(2) may be called in a signal handler. An entry is in use while its count of file descriptors is
//! not zero.
//!
//! # What cannot be seen
//!
//! A file descriptor may be closed behind our back, by a direct system call or by the C library itself, and its number given to
//! something else. So whatever the table says is checked against the socket's inode. A child of vfork(2) works on its parent's
//! memory: what it closes is still open in the parent, so only the process that the table belongs to changes it.

use std::sync::atomic::{AtomicI32, AtomicU16, AtomicU32, AtomicU64, Ordering};

use libc::c_int;

const MAX_FDS: usize = 65_536;
const MAX_SOCKETS: usize = 8192;

static FDS: [AtomicU16; MAX_FDS] = [const { AtomicU16::new(0) }; MAX_FDS];
static SOCKETS: [Socket; MAX_SOCKETS] = [const { Socket::new() }; MAX_SOCKETS];
/// The process that this memory belongs to.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// What is known of one socket. All threads of the process read and write; each field stands alone.
pub(crate) struct Socket {
    /// File descriptors of this process.
    fds: AtomicU32,
    /// The socket's inode.
    inode: AtomicU64,
    /// The netlink port id, 0 while not bound.
    pub(crate) port: AtomicU32,
    /// Groups it is a member of: bit 0 is group 1.
    pub(crate) groups: AtomicU32,
    /// Netlink options that are on, a bit for each number.
    pub(crate) options: AtomicU32,
    /// `SOCK_RAW` or `SOCK_DGRAM`.
    pub(crate) kind: AtomicI32,
    /// Requests whose answers are on their way yet: up when the server says that more follows, down with the datagram that
    /// settles it. Below zero for the moment when another thread reads that before the first has counted.
    pub(crate) owed: AtomicI32,
    /// The largest buffer that was read with, as the server knows it.
    pub(crate) room: AtomicU32,
}

impl Socket {
    const fn new() -> Self {
        Self {
            fds: AtomicU32::new(0),
            inode: AtomicU64::new(0),
            port: AtomicU32::new(0),
            groups: AtomicU32::new(0),
            options: AtomicU32::new(0),
            kind: AtomicI32::new(0),
            owed: AtomicI32::new(0),
            room: AtomicU32::new(0),
        }
    }

    fn reset(&self, inode: u64, kind: c_int) {
        self.inode.store(inode, Ordering::Relaxed);
        self.port.store(0, Ordering::Relaxed);
        self.groups.store(0, Ordering::Relaxed);
        self.options.store(0, Ordering::Relaxed);
        self.kind.store(kind, Ordering::Relaxed);
        self.owed.store(0, Ordering::Relaxed);
        self.room.store(0, Ordering::Relaxed);
    }
}

fn slot(fd: c_int) -> Option<&'static AtomicU16> {
    FDS.get(usize::try_from(fd).ok()?)
}

/// The entry that a slot's value names; 0 names none.
fn entry(index: u16) -> Option<&'static Socket> {
    SOCKETS.get(usize::from(index).checked_sub(1)?)
}

/// The socket behind a file descriptor, if it is one of ours.
pub(crate) fn find(fd: c_int) -> Option<&'static Socket> {
    let socket = entry(slot(fd)?.load(Ordering::Acquire))?;
    (inode(fd) == Some(socket.inode.load(Ordering::Relaxed))).then_some(socket)
}

/// The inode that a file descriptor leads to.
fn inode(fd: c_int) -> Option<u64> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the buffer is as large as fstat fills it.
    let result = unsafe { libc::fstat(fd, stat.as_mut_ptr()) };
    // SAFETY: fstat has filled it when it says so.
    (result == 0).then(|| unsafe { stat.assume_init() }.st_ino)
}

/// Makes a file descriptor ours. None where the table is full, or does not reach so far.
pub(crate) fn insert(fd: c_int, kind: c_int) -> Option<&'static Socket> {
    let slot = slot(fd)?;
    let inode = inode(fd)?;
    // What makes sockets is a process of its own, however it was made.
    PROCESS.store(process(), Ordering::Relaxed);
    for (socket, index) in SOCKETS.iter().zip(1..) {
        if socket.fds.load(Ordering::Relaxed) == 0
            && socket.fds.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            socket.reset(inode, kind);
            release(slot.swap(index, Ordering::AcqRel));
            return Some(socket);
        }
    }
    None
}

/// A file descriptor is about to be closed, or was closed by dup2(2).
pub(crate) fn remove(fd: c_int) {
    if let Some(slot) = slot(fd)
        && slot.load(Ordering::Relaxed) != 0
        && ours()
    {
        release(slot.swap(0, Ordering::AcqRel));
    }
}

/// File descriptors from `first` to `last` are about to be closed.
pub(crate) fn remove_range(first: u32, last: u32) {
    if ours() {
        let last = last.min(MAX_FDS as u32 - 1);
        for fd in first..=last {
            if let Ok(fd) = c_int::try_from(fd) {
                remove(fd);
            }
        }
    }
}

/// `new` leads to what `old` leads to.
pub(crate) fn copy(old: c_int, new: c_int) {
    if old == new || new < 0 {
        return;
    }
    let index = slot(old).map_or(0, |slot| slot.load(Ordering::Acquire));
    if index == 0 && slot(new).is_none_or(|slot| slot.load(Ordering::Relaxed) == 0) || !ours() {
        return;
    }
    if let Some(slot) = slot(new) {
        if let Some(socket) = entry(index) {
            socket.fds.fetch_add(1, Ordering::AcqRel);
        }
        release(slot.swap(index, Ordering::AcqRel));
    }
}

fn release(index: u16) {
    if let Some(socket) = entry(index) {
        socket.fds.fetch_sub(1, Ordering::AcqRel);
    }
}

fn process() -> c_int {
    // SAFETY: it has no preconditions.
    unsafe { libc::getpid() }
}

/// Whether this memory is the running process's own.
fn ours() -> bool {
    PROCESS.load(Ordering::Relaxed) == process()
}

/// After fork(2), in the child: the memory is its own.
extern "C" fn forked() {
    PROCESS.store(process(), Ordering::Relaxed);
}

extern "C" fn loaded() {
    forked();
    // SAFETY: the handler is a function of this library, which is never unloaded while the program runs.
    unsafe { libc::pthread_atfork(None, None, Some(forked)) };
}

#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn() = loaded;
