//! Reading: takes the frame off what the server sent, and gives the rest as the kernel's netlink would.

use std::mem::{MaybeUninit, size_of, zeroed};
use std::sync::atomic::Ordering;

use libc::{c_int, iovec, msghdr, pollfd, sockaddr, socklen_t, ssize_t};

use crate::ask::{PARTS, mention, wait};
use crate::table::Socket;
use crate::{NETLINK_PKTINFO, errno, fail, frame, next};

/// What a server takes without being told: every reader has as much.
const ROOM: usize = 3776;
/// More than this a server does not put into one datagram of a dump.
const MAX_ROOM: usize = 32_000;
/// How long to wait, in milliseconds, for answers that the server has promised.
const PROMISED: c_int = 10_000;

/// recvmsg(2) on one of our sockets.
///
/// # Safety
///
/// The message's parts are writable memory, its name and control parts too.
pub(crate) unsafe fn message(
    fd: c_int,
    socket: &Socket,
    message: &mut msghdr,
    flags: c_int,
) -> ssize_t {
    let parts: &[iovec] = if message.msg_iov.is_null() {
        &[]
    } else {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(message.msg_iov, message.msg_iovlen) }
    };
    if parts.len() > PARTS {
        return fail(libc::EMSGSIZE);
    }
    let capacity = parts.iter().fold(0usize, |sum, part| sum.saturating_add(part.iov_len));
    let room = capacity.min(MAX_ROOM);
    if room > ROOM && room as u32 > socket.room.load(Ordering::Relaxed) {
        socket.room.store(room as u32, Ordering::Relaxed);
        mention(fd, frame::OPTION_ROOM, room as u32);
    }
    if socket.owed.load(Ordering::Acquire) > 0
        && let Err(error) = await_promised(fd, socket, flags)
    {
        return fail(error);
    }
    // SAFETY: the parts are writable memory.
    let (length, words) = match unsafe { receive(fd, parts, flags) } {
        Ok(received) => received,
        Err(error) => return fail(error),
    };
    let (first, group) = frame::read(words);
    if first & frame::OVERRUN != 0 {
        if flags & libc::MSG_PEEK != 0 {
            // It is told once, looked at or taken.
            // SAFETY: no parts.
            let _ = unsafe { receive(fd, &[], flags & !libc::MSG_PEEK) };
        }
        return fail(libc::ENOBUFS);
    }
    if flags & libc::MSG_PEEK == 0 {
        socket.owed.fetch_sub((first >> frame::SETTLED_SHIFT) as i32, Ordering::AcqRel);
    }
    message.msg_flags = if length > capacity { libc::MSG_TRUNC } else { 0 };
    // SAFETY: the caller's promise.
    unsafe {
        write_name(message, group);
        write_control(message, socket, group);
    }
    let given = if flags & libc::MSG_TRUNC != 0 { length } else { length.min(capacity) };
    given as ssize_t
}

/// The server has promised more: a read that does not wait must not say yet that there is nothing.
fn await_promised(fd: c_int, socket: &Socket, flags: c_int) -> Result<(), c_int> {
    // SAFETY: it has no preconditions.
    let modes = unsafe { next::fcntl(fd, libc::F_GETFL, 0) };
    if flags & libc::MSG_DONTWAIT == 0 && modes & libc::O_NONBLOCK == 0 {
        return Ok(());
    }
    let mut polled = [pollfd { fd, events: libc::POLLIN, revents: 0 }];
    wait(&mut polled, PROMISED)?;
    let [socket_polled] = polled;
    if socket_polled.revents == 0 {
        // Another process that shares the socket may have read it: do not wait for it again.
        socket.owed.store(0, Ordering::Release);
    }
    Ok(())
}

/// One datagram: how long its netlink messages are, whatever the parts hold of them, and its frame.
///
/// # Safety
///
/// The parts are writable memory.
unsafe fn receive(
    fd: c_int,
    parts: &[iovec],
    flags: c_int,
) -> Result<(usize, [u8; frame::LEN]), c_int> {
    let mut words = [0u8; frame::LEN];
    let head = iovec { iov_base: words.as_mut_ptr().cast(), iov_len: words.len() };
    let mut all = [const { MaybeUninit::<iovec>::uninit() }; PARTS + 1];
    let mut count = 0;
    for (to, from) in all.iter_mut().zip(std::iter::once(&head).chain(parts)) {
        to.write(*from);
        count += 1;
    }
    // SAFETY: a message header may be all zeroes.
    let mut message: msghdr = unsafe { zeroed() };
    message.msg_iov = all.as_mut_ptr().cast();
    message.msg_iovlen = count as _;
    // SAFETY: `count` parts were written above, and are writable memory.
    let received = unsafe { next::recvmsg(fd, &raw mut message, flags | libc::MSG_TRUNC) };
    match usize::try_from(received) {
        Err(_) => Err(errno()),
        // A netlink socket never ends; the server is gone.
        Ok(0) => Err(libc::ECONNRESET),
        Ok(bytes) => bytes.checked_sub(words.len()).map(|n| (n, words)).ok_or(libc::EPROTO),
    }
}

/// The kernel's address.
pub(crate) fn kernel(groups: u32) -> libc::sockaddr_nl {
    // SAFETY: a netlink address may be all zeroes.
    let mut address: libc::sockaddr_nl = unsafe { zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = groups;
    address
}

/// Gives an address as getsockname(2) does: as much as fits, and how long it is.
///
/// # Safety
///
/// There are `*length` writable bytes at `to`, if that is not null.
pub(crate) unsafe fn give_address(
    address: libc::sockaddr_nl,
    to: *mut sockaddr,
    length: &mut socklen_t,
) {
    let size = size_of::<libc::sockaddr_nl>();
    if !to.is_null() {
        let bytes = size.min(*length as usize);
        // SAFETY: the caller's promise; the address is as long.
        unsafe {
            std::ptr::copy_nonoverlapping((&raw const address).cast::<u8>(), to.cast(), bytes)
        };
    }
    *length = size as socklen_t;
}

/// # Safety
///
/// The message's name is writable memory of its length.
unsafe fn write_name(message: &mut msghdr, group: u32) {
    if message.msg_name.is_null() {
        message.msg_namelen = 0;
        return;
    }
    let mask = group.checked_sub(1).map_or(0, |bit| 1u32.checked_shl(bit).unwrap_or(0));
    // SAFETY: the caller's promise.
    unsafe { give_address(kernel(mask), message.msg_name.cast(), &mut message.msg_namelen) };
}

/// `NETLINK_PKTINFO`, where the program has asked for it.
///
/// # Safety
///
/// The message's control part is writable memory of its length.
unsafe fn write_control(message: &mut msghdr, socket: &Socket, group: u32) {
    #[repr(C)]
    struct Info {
        header: libc::cmsghdr,
        group: u32,
    }
    let wanted = socket.options.load(Ordering::Relaxed) & 1 << NETLINK_PKTINFO != 0;
    let length = size_of::<libc::cmsghdr>() + size_of::<u32>();
    if wanted && !message.msg_control.is_null() && message.msg_controllen >= length {
        // SAFETY: a control message's header may be all zeroes.
        let mut header: libc::cmsghdr = unsafe { zeroed() };
        header.cmsg_len = length as _;
        header.cmsg_level = libc::SOL_NETLINK;
        header.cmsg_type = NETLINK_PKTINFO;
        let info = Info { header, group };
        // SAFETY: there is as much room.
        unsafe {
            std::ptr::copy_nonoverlapping(
                (&raw const info).cast::<u8>(),
                message.msg_control.cast(),
                length,
            );
        }
        message.msg_controllen = length as _;
    } else {
        message.msg_controllen = 0;
    }
}
