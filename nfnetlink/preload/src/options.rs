//! Addresses and options of our sockets, as a netlink socket has them.

use std::mem::size_of;
use std::sync::atomic::Ordering;

use libc::{c_int, c_void, sockaddr, socklen_t};

use crate::ask::{ask, mention};
use crate::table::Socket;
use crate::{NETLINK_PKTINFO, frame, next};

const ADD_MEMBERSHIP: c_int = 1;
const DROP_MEMBERSHIP: c_int = 2;
const BROADCAST_ERROR: c_int = 4;
const NO_ENOBUFS: c_int = 5;
const LISTEN_ALL_NSID: c_int = 8;
const LIST_MEMBERSHIPS: c_int = 9;
const CAP_ACK: c_int = 10;
const EXT_ACK: c_int = 11;
const GET_STRICT_CHK: c_int = 12;

/// A netlink address, where it is one.
///
/// # Safety
///
/// There are `length` readable bytes at `address`.
pub(crate) unsafe fn netlink_address(
    address: *const sockaddr,
    length: socklen_t,
) -> Result<libc::sockaddr_nl, c_int> {
    if address.is_null() || (length as usize) < size_of::<libc::sockaddr_nl>() {
        return Err(libc::EINVAL);
    }
    // SAFETY: the caller's promise; it need not be aligned.
    let address = unsafe { address.cast::<libc::sockaddr_nl>().read_unaligned() };
    if c_int::from(address.nl_family) != libc::AF_NETLINK {
        return Err(libc::EINVAL);
    }
    Ok(address)
}

/// bind(2).
pub(crate) fn bind(fd: c_int, socket: &Socket, address: &libc::sockaddr_nl) -> Result<(), c_int> {
    let groups = address.nl_groups;
    ask(fd, socket, frame::BIND, address.nl_pid, &groups.to_ne_bytes())?;
    socket.groups.store(groups, Ordering::Relaxed);
    Ok(())
}

/// setsockopt(2) of `SOL_NETLINK`.
pub(crate) fn set_netlink(
    fd: c_int,
    socket: &Socket,
    name: c_int,
    value: u32,
) -> Result<(), c_int> {
    match name {
        ADD_MEMBERSHIP | DROP_MEMBERSHIP => {
            tell(fd, socket, name, value)?;
            let bit = 1u32.checked_shl(value.wrapping_sub(1)).unwrap_or(0);
            if name == ADD_MEMBERSHIP {
                socket.groups.fetch_or(bit, Ordering::Relaxed);
            } else {
                socket.groups.fetch_and(!bit, Ordering::Relaxed);
            }
            return Ok(());
        }
        NO_ENOBUFS | CAP_ACK | EXT_ACK => tell(fd, socket, name, value)?,
        NETLINK_PKTINFO | BROADCAST_ERROR | LISTEN_ALL_NSID | GET_STRICT_CHK => {}
        _ => return Err(libc::ENOPROTOOPT),
    }
    if value != 0 {
        socket.options.fetch_or(1 << name, Ordering::Relaxed);
    } else {
        socket.options.fetch_and(!(1 << name), Ordering::Relaxed);
    }
    Ok(())
}

fn tell(fd: c_int, socket: &Socket, name: c_int, value: u32) -> Result<(), c_int> {
    ask(fd, socket, frame::OPTION, name.unsigned_abs(), &value.to_ne_bytes())
}

/// getsockopt(2) of `SOL_NETLINK`; `None` where there is no such option.
pub(crate) fn get_netlink(socket: &Socket, name: c_int) -> Option<u32> {
    match name {
        LIST_MEMBERSHIPS => Some(socket.groups.load(Ordering::Relaxed)),
        NETLINK_PKTINFO | BROADCAST_ERROR | NO_ENOBUFS | LISTEN_ALL_NSID | CAP_ACK | EXT_ACK
        | GET_STRICT_CHK => Some(socket.options.load(Ordering::Relaxed) >> name & 1),
        _ => None,
    }
}

/// What getsockopt(2) of `SOL_SOCKET` says of a netlink socket where ours is another kind.
pub(crate) fn get_socket(socket: &Socket, name: c_int) -> Option<u32> {
    match name {
        libc::SO_DOMAIN => Some(libc::AF_NETLINK as u32),
        libc::SO_PROTOCOL => Some(libc::NETLINK_NETFILTER as u32),
        libc::SO_TYPE => Some(socket.kind.load(Ordering::Relaxed) as u32),
        _ => None,
    }
}

/// setsockopt(2) of `SOL_SOCKET`.
///
/// # Safety
///
/// There are `length` readable bytes at `value`.
pub(crate) unsafe fn set_socket(
    fd: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    // A filter is written for netlink messages at the start of the datagram, and only saves work: the program sees more.
    if matches!(name, libc::SO_ATTACH_FILTER | libc::SO_DETACH_FILTER) {
        return 0;
    }
    // SAFETY: the caller's promise.
    let result = unsafe { next::setsockopt(fd, libc::SOL_SOCKET, name, value, length) };
    if result == 0 && matches!(name, libc::SO_RCVBUF | libc::SO_RCVBUFFORCE) {
        let (mut size, mut length) = (0u32, size_of::<u32>() as socklen_t);
        let to = (&raw mut size).cast();
        // SAFETY: there is room for the 32 bits that are said.
        if unsafe { next::getsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, to, &raw mut length) }
            == 0
        {
            mention(fd, frame::OPTION_RECEIVE_BUFFER, size);
        }
    }
    result
}
