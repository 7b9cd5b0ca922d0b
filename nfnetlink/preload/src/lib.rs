//! A preload library that sends a program's netfilter netlink sockets to a server of ours.
//!
//! # Overview
//!
//! With `LD_PRELOAD` set to it and `TWINWALL_NFNL` to a Unix socket's path, socket(2) with `AF_NETLINK` and `NETLINK_NETFILTER`
//! gives a connection to that server; every call on it then does what it would on a netlink socket. Everything else goes on
//! to the C library untouched, at the cost of one load from a table. The file descriptor is a real one, so poll, select, epoll,
//! non-blocking reads, fork and threads need nothing from us.
//!
//! # The kernel answers before sendmsg returns
//!
//! Programs rely on that: nft reads without waiting right after it sent. So with each datagram an eventfd goes to the server,
//! which writes to it when the answers lie in the socket; until then the call waits (`ask`). What did not fit there
//! follows as the program reads, and a read that must not wait does wait for that (`receive`).
//!
//! # Who may touch what
//!
//! Any thread, at any time, a signal handler too: state is a static table of atomics (`table`); nothing allocates.

mod ask;
#[path = "../../src/frame.rs"]
#[allow(dead_code, unreachable_pub, reason = "one file for both ends; each needs a part of it")]
mod frame;
mod next;
mod options;
mod receive;
mod table;
#[allow(unreachable_pub, reason = "programs reach them by name")]
mod wrappers;

use libc::{c_int, ssize_t};

const NETLINK_PKTINFO: c_int = 3;

fn errno() -> c_int {
    // SAFETY: the C library gives the place of this thread's errno.
    unsafe { *libc::__errno_location() }
}

fn set_errno(value: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = value };
}

/// What a failed call gives.
fn fail(error: c_int) -> ssize_t {
    set_errno(error);
    -1
}

/// The same, for calls that give an int.
fn status(result: Result<(), c_int>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => {
            set_errno(error);
            -1
        }
    }
}
