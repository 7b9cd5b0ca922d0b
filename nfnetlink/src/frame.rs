//! The framing between a client's library and the server: what a datagram on the Unix socket begins with.
//!
//! Every datagram, either way, begins with [`LEN`] bytes: two 32-bit words in the machine's order. Netlink messages follow.
//!
//! From a client the words are a kind ([`MESSAGES`] …) and its argument. With it, as `SCM_RIGHTS`, may come an eventfd, to
//! which the server writes the outcome when it has done what was asked and queued what it owes; for [`MEMFD`] a sealed memfd
//! comes before it. The outcome is one 64-bit number: [`DONE`], [`MORE`], an errno, the client's port id.
//!
//! From the server the first word holds flags and, in its high half, how many outcomes that said [`MORE`] are settled with
//! this datagram; the second is the multicast group, 0 for an answer.
//!
//! The preload library compiles this file, too: it depends on nothing.

/// Bytes before the netlink messages.
pub const LEN: usize = 8;

/// What the library and the server agree on; told in [`HELLO`].
pub const VERSION: u32 = 1;

/// Netlink messages follow.
pub const MESSAGES: u32 = 0;
/// Netlink messages lie in a sealed memfd, because no datagram can hold them.
pub const MEMFD: u32 = 1;
/// The first datagram. The argument is [`VERSION`]; the client's own process id follows, for its port id.
pub const HELLO: u32 = 2;
/// bind(2): the argument is the port id wanted, 0 for any; a mask of the groups 1 to 32 follows.
pub const BIND: u32 = 3;
/// setsockopt(2): the argument is one of `OPTION_…`, or of netlink's own below 256; its 32-bit value follows.
pub const OPTION: u32 = 4;

/// The receive buffer's size in bytes (`SO_RCVBUF`): how many events wait before some are lost.
pub const OPTION_RECEIVE_BUFFER: u32 = 256;
/// The largest buffer that the client has read with, in bytes: what a dump's datagrams may fill.
pub const OPTION_ROOM: u32 = 257;

/// Netlink messages up to this many bytes travel in the datagram, more in a memfd.
pub const INLINE: usize = 65536;

/// Always set in an outcome: an eventfd cannot hold 0.
pub const DONE: u64 = 1;
/// In an outcome: the socket's buffer did not take all that is owed; the rest follows as the client reads.
pub const MORE: u64 = 2;
/// Where an outcome has its errno: 16 bits.
pub const ERRNO_SHIFT: u32 = 8;
/// Where an outcome has the client's port id: 32 bits.
pub const PORT_SHIFT: u32 = 32;

/// From the server: events were lost before this datagram, which holds nothing else.
pub const OVERRUN: u32 = 1;
/// From the server: where the number of settled outcomes begins.
pub const SETTLED_SHIFT: u32 = 16;

/// The two words as they travel.
pub const fn words(first: u32, second: u32) -> [u8; LEN] {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    [a, b, c, d, e, f, g, h]
}

/// Reads the two words.
pub const fn read([a, b, c, d, e, f, g, h]: [u8; LEN]) -> (u32, u32) {
    (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h]))
}
