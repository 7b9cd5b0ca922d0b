//! Talking to the server: opening a socket, and sending something and waiting until it is done.

use std::mem::{size_of, zeroed};
use std::sync::atomic::Ordering;

use libc::{c_int, c_void, iovec, msghdr, pollfd};

use crate::table::{self, Socket};
use crate::{errno, frame, next, set_errno};

/// Parts of one message that are passed on as they are.
pub(crate) const PARTS: usize = 255;
/// How long connect(2) waits for a server whose queue of clients is full.
const CONNECT_SECONDS: i64 = 5;

/// Makes a socket that leads to the server at `path`, or fails with an errno.
pub(crate) fn open(path: &std::ffi::CStr, kind: c_int) -> Result<c_int, c_int> {
    let path = path.to_bytes();
    // SAFETY: a socket address may be all zeroes.
    let mut address: libc::sockaddr_un = unsafe { zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    if path.len() >= address.sun_path.len() {
        return Err(libc::ENAMETOOLONG);
    }
    for (to, from) in address.sun_path.iter_mut().zip(path) {
        *to = *from as libc::c_char;
    }
    let flags = libc::SOCK_SEQPACKET | kind & libc::SOCK_CLOEXEC;
    // SAFETY: it has no preconditions.
    let fd = unsafe { next::socket(libc::AF_UNIX, flags, 0) };
    if fd < 0 {
        return Err(errno());
    }
    match set_up(fd, kind, &address) {
        Ok(()) => Ok(fd),
        Err(error) => {
            table::remove(fd);
            // SAFETY: the file descriptor was made above, and nobody else knows it.
            unsafe { next::close(fd) };
            Err(error)
        }
    }
}

fn set_up(fd: c_int, kind: c_int, address: &libc::sockaddr_un) -> Result<(), c_int> {
    patience(fd, CONNECT_SECONDS);
    let length = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: the address is a whole one.
    while unsafe { next::connect(fd, std::ptr::from_ref(address).cast(), length) } != 0 {
        match errno() {
            libc::EINTR => {}
            // Nobody there is nobody there, whether the file is or not.
            libc::ENOENT => return Err(libc::ECONNREFUSED),
            libc::EAGAIN => return Err(libc::ETIMEDOUT),
            other => return Err(other),
        }
    }
    patience(fd, 0);
    let base = kind & !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
    let socket = table::insert(fd, base).ok_or(libc::EMFILE)?;
    // SAFETY: it has no preconditions.
    let process = unsafe { libc::getpid() } as u32;
    ask(fd, socket, frame::HELLO, frame::VERSION, &process.to_ne_bytes())?;
    if kind & libc::SOCK_NONBLOCK != 0 {
        // SAFETY: it has no preconditions.
        unsafe {
            let flags = next::fcntl(fd, libc::F_GETFL, 0);
            next::fcntl(fd, libc::F_SETFL, (flags | libc::O_NONBLOCK) as libc::c_ulong);
        }
    }
    Ok(())
}

/// How long to wait in connect(2); 0 for ever.
fn patience(fd: c_int, seconds: i64) {
    let time = libc::timeval { tv_sec: seconds, tv_usec: 0 };
    let (time, length) = (std::ptr::from_ref(&time).cast(), size_of::<libc::timeval>());
    // SAFETY: the value is one of the type that the option takes.
    unsafe { next::setsockopt(fd, libc::SOL_SOCKET, libc::SO_SNDTIMEO, time, length as u32) };
}

/// Sends something other than messages and waits for the outcome.
pub(crate) fn ask(
    fd: c_int,
    socket: &Socket,
    kind: u32,
    argument: u32,
    value: &[u8; 4],
) -> Result<(), c_int> {
    let part = iovec { iov_base: value.as_ptr().cast_mut().cast(), iov_len: value.len() };
    // SAFETY: the part is the value.
    unsafe { deliver(fd, socket, frame::words(kind, argument), &[part], None) }
}

/// Says something to which no answer is needed.
pub(crate) fn mention(fd: c_int, option: u32, value: u32) {
    let mut head = frame::words(frame::OPTION, option);
    let mut value = value.to_ne_bytes();
    let mut parts = [part(&mut head), part(&mut value)];
    // SAFETY: a message header may be all zeroes; the parts live longer than the call.
    unsafe {
        let mut message: msghdr = zeroed();
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = parts.len() as _;
        next::sendmsg(fd, &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    }
}

fn part(bytes: &mut [u8]) -> iovec {
    iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}

/// Sends netlink messages and waits until the server has done what they ask: how many bytes they were.
///
/// # Safety
///
/// The parts are readable memory.
pub(crate) unsafe fn messages(fd: c_int, socket: &Socket, parts: &[iovec]) -> Result<usize, c_int> {
    let total = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.iov_len));
    if total == 0 {
        return Err(libc::ENODATA);
    }
    if total <= frame::INLINE && parts.len() <= PARTS {
        let head = frame::words(frame::MESSAGES, 0);
        // SAFETY: the caller's promise.
        unsafe { deliver(fd, socket, head, parts, None) }?;
    } else {
        // SAFETY: the caller's promise.
        let memory = unsafe { Owned::memory(parts) }?;
        let head = frame::words(frame::MEMFD, 0);
        // SAFETY: no parts.
        unsafe { deliver(fd, socket, head, &[], Some(memory.0)) }?;
    }
    Ok(total)
}

/// A file descriptor of ours that is closed in the end.
struct Owned(c_int);

impl Drop for Owned {
    fn drop(&mut self) {
        let kept = errno();
        // SAFETY: the file descriptor is ours alone.
        unsafe { next::close(self.0) };
        set_errno(kept);
    }
}

impl Owned {
    fn new(fd: c_int) -> Result<Self, c_int> {
        if fd < 0 { Err(errno()) } else { Ok(Self(fd)) }
    }

    /// A sealed memfd that holds the parts.
    ///
    /// # Safety
    ///
    /// The parts are readable memory.
    unsafe fn memory(parts: &[iovec]) -> Result<Self, c_int> {
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        // SAFETY: the name is a C string.
        let memory = Self::new(unsafe { libc::memfd_create(c"nfnetlink".as_ptr(), flags) })?;
        for part in parts {
            let mut done = 0;
            while done < part.iov_len {
                let from = part.iov_base.cast::<u8>().wrapping_add(done).cast::<c_void>();
                // SAFETY: the caller's promise; what is done lies before.
                match unsafe { next::write(memory.0, from, part.iov_len - done) } {
                    n if n > 0 => done += n.unsigned_abs(),
                    _ if errno() == libc::EINTR => {}
                    _ => return Err(errno()),
                }
            }
        }
        let seals =
            libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: it has no preconditions.
        if unsafe { next::fcntl(memory.0, libc::F_ADD_SEALS, seals as libc::c_ulong) } < 0 {
            return Err(errno());
        }
        Ok(memory)
    }
}

/// Sends one datagram with an eventfd, and waits until the server has written the outcome to it.
///
/// # Safety
///
/// The parts are readable memory.
unsafe fn deliver(
    fd: c_int,
    socket: &Socket,
    mut head: [u8; frame::LEN],
    parts: &[iovec],
    memory: Option<c_int>,
) -> Result<(), c_int> {
    let flags = libc::EFD_CLOEXEC | libc::EFD_NONBLOCK;
    // SAFETY: it has no preconditions.
    let done = Owned::new(unsafe { libc::eventfd(0, flags) })?;
    let mut all = [iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; PARTS + 1];
    let mut count = 0;
    let head = part(&mut head);
    for (to, from) in all.iter_mut().zip(std::iter::once(&head).chain(parts)) {
        *to = *from;
        count += 1;
    }
    let mut control = Control::new(memory, done.0);
    // SAFETY: a message header may be all zeroes.
    let mut message: msghdr = unsafe { zeroed() };
    message.msg_iov = all.as_mut_ptr();
    message.msg_iovlen = count as _;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = control.header.cmsg_len as _;
    // SAFETY: the header, its parts and its control message live longer than the call.
    while unsafe { next::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) } < 0 {
        match errno() {
            libc::EINTR => {}
            // The kernel's netlink never asks to come back later, so this may not.
            libc::EAGAIN => wait(&mut [pollfd { fd, events: libc::POLLOUT, revents: 0 }], -1)?,
            libc::EPIPE | libc::ECONNRESET | libc::ENOTCONN => return Err(libc::ECONNREFUSED),
            other => return Err(other),
        }
    }
    let outcome = loop {
        let mut outcome = [0u8; 8];
        // SAFETY: eight bytes are what an eventfd gives.
        let read = unsafe { next::read(done.0, outcome.as_mut_ptr().cast(), outcome.len()) };
        if read == 8 {
            break u64::from_ne_bytes(outcome);
        }
        let mut polled = [
            pollfd { fd: done.0, events: libc::POLLIN, revents: 0 },
            pollfd { fd, events: 0, revents: 0 },
        ];
        // The server works on it whether or not a signal comes.
        match wait(&mut polled, -1) {
            Ok(()) | Err(libc::EINTR) => {}
            Err(other) => return Err(other),
        }
        let [told, server] = polled;
        if told.revents == 0 && server.revents & (libc::POLLHUP | libc::POLLERR) != 0 {
            return Err(libc::ECONNREFUSED);
        }
    };
    if outcome & frame::MORE != 0 {
        socket.owed.fetch_add(1, Ordering::AcqRel);
    }
    socket.port.store((outcome >> frame::PORT_SHIFT) as u32, Ordering::Relaxed);
    match (outcome >> frame::ERRNO_SHIFT) as u16 {
        0 => Ok(()),
        errno => Err(c_int::from(errno)),
    }
}

/// poll(2): waits until one of them is ready, at most so many milliseconds (-1: for ever).
pub(crate) fn wait(fds: &mut [pollfd], milliseconds: c_int) -> Result<(), c_int> {
    // SAFETY: the slice is as long as is said.
    let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, milliseconds) };
    if ready < 0 { Err(errno()) } else { Ok(()) }
}

/// A control message of one or two file descriptors.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    fds: [c_int; 2],
}

impl Control {
    fn new(memory: Option<c_int>, done: c_int) -> Self {
        // SAFETY: a control message's header may be all zeroes; some systems have padding in it.
        let mut header: libc::cmsghdr = unsafe { zeroed() };
        let fds = if memory.is_some() { 2 } else { 1 };
        header.cmsg_len = (size_of::<libc::cmsghdr>() + fds * size_of::<c_int>()) as _;
        header.cmsg_level = libc::SOL_SOCKET;
        header.cmsg_type = libc::SCM_RIGHTS;
        Self { header, fds: [memory.unwrap_or(done), done] }
    }
}
