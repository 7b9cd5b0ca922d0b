//! The functions of the C library that this one stands before. Each looks whether the file descriptor is ours; if not, the next
//! function of that name is called with the same arguments.

use std::mem::{size_of, zeroed};
use std::sync::atomic::Ordering;

use libc::{
    c_int, c_uint, c_ulong, c_void, iovec, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t,
    timespec,
};

use crate::table::{self, Socket};
use crate::{ask, fail, next, options, receive, set_errno, status};

/// Defines the exported functions.
macro_rules! wrap {
    ($(fn $name:ident($($argument:ident: $kind:ty),*) -> $result:ty $body:block)*) => {$(
        /// Stands before the C library's function of this name.
        ///
        /// # Safety
        ///
        /// That of the C library's function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $kind),*) -> $result $body
    )*};
}

/// The server's socket, where the environment names one.
fn server() -> Option<&'static std::ffi::CStr> {
    // SAFETY: the name is a C string; the environment is only changed by a program that knows what it does.
    unsafe {
        let value = libc::getenv(c"TWINWALL_NFNL".as_ptr());
        (!value.is_null() && *value != 0).then(|| std::ffi::CStr::from_ptr(value))
    }
}

fn part(data: *const c_void, len: size_t) -> iovec {
    iovec { iov_base: data.cast_mut(), iov_len: len }
}

/// Sends `parts`, to the kernel or to whom `to` names.
///
/// # Safety
///
/// The parts and the address are readable memory.
unsafe fn transmit(
    fd: c_int,
    socket: &Socket,
    parts: &[iovec],
    to: *const c_void,
    to_len: socklen_t,
) -> ssize_t {
    if !to.is_null() && to_len != 0 {
        // SAFETY: the caller's promise.
        match unsafe { options::netlink_address(to.cast(), to_len) } {
            Ok(address) if address.nl_pid == 0 => {}
            // Other processes are not reached through the server.
            Ok(_) => return fail(libc::ECONNREFUSED),
            Err(error) => return fail(error),
        }
    }
    // SAFETY: the caller's promise.
    match unsafe { ask::messages(fd, socket, parts) } {
        Ok(bytes) => bytes as ssize_t,
        Err(error) => fail(error),
    }
}

/// # Safety
///
/// A valid message header.
unsafe fn transmit_message(fd: c_int, socket: &Socket, message: &msghdr) -> ssize_t {
    let parts = if message.msg_iov.is_null() {
        &[]
    } else {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(message.msg_iov, message.msg_iovlen) }
    };
    // SAFETY: the caller's promise.
    unsafe { transmit(fd, socket, parts, message.msg_name, message.msg_namelen) }
}

/// # Safety
///
/// `data` is writable, and `from` and `from_len` are, unless null.
unsafe fn take(
    fd: c_int,
    socket: &Socket,
    data: *mut c_void,
    len: size_t,
    flags: c_int,
    from: *mut sockaddr,
    from_len: *mut socklen_t,
) -> ssize_t {
    let mut part = part(data, len);
    // SAFETY: a message header may be all zeroes.
    let mut message: msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if !from.is_null() && !from_len.is_null() {
        message.msg_name = from.cast();
        // SAFETY: the caller's promise.
        message.msg_namelen = unsafe { *from_len };
    }
    // SAFETY: the header was made from what the caller gave.
    let received = unsafe { receive::message(fd, socket, &mut message, flags) };
    if received >= 0 && !message.msg_name.is_null() {
        // SAFETY: it is not null where the name is not.
        unsafe { *from_len = message.msg_namelen };
    }
    received
}

wrap! {
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
        if domain == libc::AF_NETLINK
            && protocol == libc::NETLINK_NETFILTER
            && let Some(path) = server()
        {
            match ask::open(path, kind) {
                Ok(fd) => fd,
                Err(error) => status(Err(error)),
            }
        } else {
            // SAFETY: the caller's promise; likewise below.
            unsafe { next::socket(domain, kind, protocol) }
        }
    }

    fn close(fd: c_int) -> c_int {
        // Before, for once it is closed its number may be another thread's.
        table::remove(fd);
        // SAFETY: as above.
        unsafe { next::close(fd) }
    }

    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
        if flags as c_uint & libc::CLOSE_RANGE_CLOEXEC == 0 {
            table::remove_range(first, last);
        }
        // SAFETY: as above.
        unsafe { next::close_range(first, last, flags) }
    }

    fn dup(fd: c_int) -> c_int {
        // SAFETY: as above.
        let new = unsafe { next::dup(fd) };
        table::copy(fd, new);
        new
    }

    fn dup2(old: c_int, new: c_int) -> c_int {
        // SAFETY: as above.
        let made = unsafe { next::dup2(old, new) };
        table::copy(old, made);
        made
    }

    fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
        // SAFETY: as above.
        let made = unsafe { next::dup3(old, new, flags) };
        table::copy(old, made);
        made
    }

    // These two are variadic in C; with at most one argument, an integer or a pointer, that makes no difference to the caller.
    fn fcntl(fd: c_int, command: c_int, argument: c_ulong) -> c_int {
        // SAFETY: as above.
        let result = unsafe { next::fcntl(fd, command, argument) };
        if matches!(command, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) {
            table::copy(fd, result);
        }
        result
    }

    fn fcntl64(fd: c_int, command: c_int, argument: c_ulong) -> c_int {
        // SAFETY: as above.
        let result = unsafe { next::fcntl64(fd, command, argument) };
        if matches!(command, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) {
            table::copy(fd, result);
        }
        result
    }

    fn bind(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int {
        match table::find(fd) {
            // SAFETY: as above.
            Some(socket) => status(
                unsafe { options::netlink_address(address, len) }
                    .and_then(|address| options::bind(fd, socket, &address)),
            ),
            // SAFETY: as above.
            None => unsafe { next::bind(fd, address, len) },
        }
    }

    fn connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int {
        match table::find(fd) {
            // To the kernel it is connected already.
            // SAFETY: as above.
            Some(_) => status(unsafe { options::netlink_address(address, len) }.and_then(|address| {
                if address.nl_pid == 0 { Ok(()) } else { Err(libc::ECONNREFUSED) }
            })),
            // SAFETY: as above.
            None => unsafe { next::connect(fd, address, len) },
        }
    }

    fn getsockname(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
        match table::find(fd) {
            Some(_) if address.is_null() || len.is_null() => status(Err(libc::EFAULT)),
            Some(socket) => {
                let mut own = receive::kernel(socket.groups.load(Ordering::Relaxed));
                own.nl_pid = socket.port.load(Ordering::Relaxed);
                // SAFETY: as above; not null.
                unsafe { receive::give_address(own, address, &mut *len) };
                0
            }
            // SAFETY: as above.
            None => unsafe { next::getsockname(fd, address, len) },
        }
    }

    fn getpeername(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
        match table::find(fd) {
            Some(_) if address.is_null() || len.is_null() => status(Err(libc::EFAULT)),
            Some(_) => {
                // SAFETY: as above; not null.
                unsafe { receive::give_address(receive::kernel(0), address, &mut *len) };
                0
            }
            // SAFETY: as above.
            None => unsafe { next::getpeername(fd, address, len) },
        }
    }

    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, len: socklen_t) -> c_int {
        match table::find(fd) {
            Some(socket) if level == libc::SOL_NETLINK => {
                let mut word = 0u32;
                if len as usize >= size_of::<u32>() && !value.is_null() {
                    // SAFETY: as above; it need not be aligned.
                    word = unsafe { value.cast::<u32>().read_unaligned() };
                }
                status(options::set_netlink(fd, socket, name, word))
            }
            // SAFETY: as above.
            Some(_) if level == libc::SOL_SOCKET => unsafe { options::set_socket(fd, name, value, len) },
            Some(_) => status(Err(libc::ENOPROTOOPT)),
            // SAFETY: as above.
            None => unsafe { next::setsockopt(fd, level, name, value, len) },
        }
    }

    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, len: *mut socklen_t) -> c_int {
        let Some(socket) = table::find(fd) else {
            // SAFETY: as above.
            return unsafe { next::getsockopt(fd, level, name, value, len) };
        };
        let known = match level {
            libc::SOL_NETLINK => options::get_netlink(socket, name),
            libc::SOL_SOCKET => options::get_socket(socket, name),
            _ => None,
        };
        match known {
            Some(_) if value.is_null() || len.is_null() => status(Err(libc::EFAULT)),
            // SAFETY: as above; not null.
            Some(word) => unsafe {
                if (*len as usize) < size_of::<u32>() {
                    return status(Err(libc::EINVAL));
                }
                value.cast::<u32>().write_unaligned(word);
                *len = size_of::<u32>() as socklen_t;
                0
            },
            // SAFETY: as above.
            None if level == libc::SOL_SOCKET => unsafe { next::getsockopt(fd, level, name, value, len) },
            None => status(Err(libc::ENOPROTOOPT)),
        }
    }

    fn send(fd: c_int, data: *const c_void, len: size_t, flags: c_int) -> ssize_t {
        match table::find(fd) {
            // SAFETY: as above.
            Some(socket) => unsafe { transmit(fd, socket, &[part(data, len)], std::ptr::null(), 0) },
            // SAFETY: as above.
            None => unsafe { next::send(fd, data, len, flags) },
        }
    }

    fn sendto(fd: c_int, data: *const c_void, len: size_t, flags: c_int, to: *const sockaddr, to_len: socklen_t) -> ssize_t {
        match table::find(fd) {
            // SAFETY: as above.
            Some(socket) => unsafe { transmit(fd, socket, &[part(data, len)], to.cast(), to_len) },
            // SAFETY: as above.
            None => unsafe { next::sendto(fd, data, len, flags, to, to_len) },
        }
    }

    fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
        match table::find(fd) {
            // SAFETY: as above.
            Some(socket) => match unsafe { message.as_ref() } {
                // SAFETY: as above.
                Some(message) => unsafe { transmit_message(fd, socket, message) },
                None => fail(libc::EFAULT),
            },
            // SAFETY: as above.
            None => unsafe { next::sendmsg(fd, message, flags) },
        }
    }

    fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int {
        let Some(socket) = table::find(fd) else {
            // SAFETY: as above.
            return unsafe { next::sendmmsg(fd, messages, count, flags) };
        };
        if messages.is_null() {
            return status(Err(libc::EFAULT));
        }
        // SAFETY: as above.
        let messages = unsafe { std::slice::from_raw_parts_mut(messages, count as usize) };
        let mut sent = 0;
        for message in messages {
            // SAFETY: as above.
            let bytes = unsafe { transmit_message(fd, socket, &message.msg_hdr) };
            if bytes < 0 {
                return if sent == 0 { -1 } else { sent };
            }
            message.msg_len = bytes as c_uint;
            sent += 1;
        }
        sent
    }

    fn write(fd: c_int, data: *const c_void, len: size_t) -> ssize_t {
        match table::find(fd) {
            // SAFETY: as above.
            Some(socket) => unsafe { transmit(fd, socket, &[part(data, len)], std::ptr::null(), 0) },
            // SAFETY: as above.
            None => unsafe { next::write(fd, data, len) },
        }
    }

    fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
        match (table::find(fd), usize::try_from(count)) {
            (Some(_), Err(_)) => fail(libc::EINVAL),
            (Some(_), Ok(1..)) if parts.is_null() => fail(libc::EFAULT),
            (Some(_), Ok(0)) => fail(libc::ENODATA),
            // SAFETY: as above.
            (Some(socket), Ok(count)) => unsafe {
                let parts = std::slice::from_raw_parts(parts, count);
                transmit(fd, socket, parts, std::ptr::null(), 0)
            },
            // SAFETY: as above.
            (None, _) => unsafe { next::writev(fd, parts, count) },
        }
    }

    fn recv(fd: c_int, data: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
        match table::find(fd) {
            // SAFETY: as above.
            Some(socket) => unsafe {
                take(fd, socket, data, len, flags, std::ptr::null_mut(), std::ptr::null_mut())
            },
            // SAFETY: as above.
            None => unsafe { next::recv(fd, data, len, flags) },
        }
    }

    fn recvfrom(fd: c_int, data: *mut c_void, len: size_t, flags: c_int, from: *mut sockaddr, from_len: *mut socklen_t) -> ssize_t {
        match table::find(fd) {
            // SAFETY: as above.
            Some(socket) => unsafe { take(fd, socket, data, len, flags, from, from_len) },
            // SAFETY: as above.
            None => unsafe { next::recvfrom(fd, data, len, flags, from, from_len) },
        }
    }

    fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
        match table::find(fd) {
            // SAFETY: as above.
            Some(socket) => match unsafe { message.as_mut() } {
                // SAFETY: as above.
                Some(message) => unsafe { receive::message(fd, socket, message, flags) },
                None => fail(libc::EFAULT),
            },
            // SAFETY: as above.
            None => unsafe { next::recvmsg(fd, message, flags) },
        }
    }

    fn recvmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int, timeout: *mut timespec) -> c_int {
        let Some(socket) = table::find(fd) else {
            // SAFETY: as above.
            return unsafe { next::recvmmsg(fd, messages, count, flags, timeout) };
        };
        if messages.is_null() {
            return status(Err(libc::EFAULT));
        }
        // SAFETY: as above.
        let messages = unsafe { std::slice::from_raw_parts_mut(messages, count as usize) };
        let (mut received, mut flags) = (0, flags);
        for message in messages {
            // SAFETY: as above.
            let bytes = unsafe {
                receive::message(fd, socket, &mut message.msg_hdr, flags & !libc::MSG_WAITFORONE)
            };
            if bytes < 0 {
                return if received == 0 { -1 } else { received };
            }
            message.msg_len = bytes as c_uint;
            received += 1;
            // With a time limit it is enough to have one, too: the kernel looks at the limit only between two datagrams.
            if flags & libc::MSG_WAITFORONE != 0 || !timeout.is_null() {
                flags |= libc::MSG_DONTWAIT;
            }
        }
        received
    }

    fn read(fd: c_int, data: *mut c_void, len: size_t) -> ssize_t {
        match table::find(fd) {
            // SAFETY: as above.
            Some(socket) => unsafe {
                take(fd, socket, data, len, 0, std::ptr::null_mut(), std::ptr::null_mut())
            },
            // SAFETY: as above.
            None => unsafe { next::read(fd, data, len) },
        }
    }

    fn readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
        match table::find(fd) {
            Some(socket) => {
                // SAFETY: a message header may be all zeroes.
                let mut message: msghdr = unsafe { zeroed() };
                message.msg_iov = parts.cast_mut();
                message.msg_iovlen = usize::try_from(count).unwrap_or(0) as _;
                // SAFETY: as above.
                unsafe { receive::message(fd, socket, &mut message, 0) }
            }
            // SAFETY: as above.
            None => unsafe { next::readv(fd, parts, count) },
        }
    }

    fn __recv_chk(fd: c_int, data: *mut c_void, len: size_t, room: size_t, flags: c_int) -> ssize_t {
        match table::find(fd) {
            // SAFETY: as above.
            Some(socket) if len <= room => unsafe {
                take(fd, socket, data, len, flags, std::ptr::null_mut(), std::ptr::null_mut())
            },
            // It ends a program that is about to write beyond its buffer.
            // SAFETY: as above.
            _ => unsafe { next::__recv_chk(fd, data, len, room, flags) },
        }
    }

    fn __recvfrom_chk(fd: c_int, data: *mut c_void, len: size_t, room: size_t, flags: c_int, from: *mut sockaddr, from_len: *mut socklen_t) -> ssize_t {
        match table::find(fd) {
            // SAFETY: as above.
            Some(socket) if len <= room => unsafe { take(fd, socket, data, len, flags, from, from_len) },
            // SAFETY: as above.
            _ => unsafe { next::__recvfrom_chk(fd, data, len, room, flags, from, from_len) },
        }
    }

    fn __read_chk(fd: c_int, data: *mut c_void, len: size_t, room: size_t) -> ssize_t {
        match table::find(fd) {
            // SAFETY: as above.
            Some(socket) if len <= room => unsafe {
                take(fd, socket, data, len, 0, std::ptr::null_mut(), std::ptr::null_mut())
            },
            // SAFETY: as above.
            _ => unsafe { next::__read_chk(fd, data, len, room) },
        }
    }
}

/// Stands before the C library's function of this name.
#[unsafe(no_mangle)]
pub extern "C" fn closefrom(first: c_int) {
    let first = c_uint::try_from(first).unwrap_or(0);
    table::remove_range(first, c_uint::MAX);
    // SAFETY: it has no preconditions.
    if unsafe { next::close_range(first, c_uint::MAX, 0) } != 0 {
        // What glibc does where the kernel lacks the system call is slow, and no kernel here lacks it.
        set_errno(libc::ENOSYS);
    }
}
