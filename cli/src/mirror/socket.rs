//! A plain rtnetlink socket: requests that are acknowledged, dumps, and the stream of notifications.
//!
//! One value belongs to one thread. Reads on a [`Requests`] block until the kernel has answered, which it does before
//! `send` returns for all but dumps; a [`Notifications`] socket never blocks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP,
    NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload, Parseable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::net::RecvFlags;
use rustix::net::netlink::SocketAddrNetlink;

/// Bytes of a netlink message header (netlink(7), `struct nlmsghdr`).
const HEADER: usize = 16;

/// The kernel fills at most 32 KiB per datagram of a dump, and a notification fits in far less.
const BUFFER: usize = 64 * 1024;

/// What can go wrong between the daemon and rtnetlink.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket could not be opened, bound, written or read.
    #[error("rtnetlink socket: {doing}: {source}")]
    Socket {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a request.
    #[error("the kernel refused to {doing}: {source}")]
    Refused {
        /// What was asked for.
        doing: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel answered with something that is no netlink message.
    #[error("malformed rtnetlink message: {0}")]
    Malformed(String),
}

impl NetlinkError {
    fn socket(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Socket { doing, source }
    }

    /// The kernel's error number, if it answered with one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Socket { source, .. } | Self::Refused { source, .. } => source.raw_os_error(),
            Self::Malformed(_) => None,
        }
    }
}

/// How a dump ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dump {
    /// It is a consistent snapshot.
    Whole,
    /// The kernel's state changed underneath (`NLM_F_DUMP_INTR`): dump again.
    Interrupted,
}

/// A socket for requests.
pub(crate) struct Requests {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Requests {
    /// Opens a socket in the calling thread's network namespace.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(NetlinkError::socket("open"))?;
        socket.bind_auto().map_err(NetlinkError::socket("bind"))?;
        // Strict checking (Linux 4.20) makes the kernel leave cached exceptions out of route dumps. An older kernel
        // refuses the option and sends them; the translation skips them.
        let _ = socket.set_netlink_get_strict_chk(true);
        let _ = socket.set_ext_ack(true);
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// Sends `message` with `flags` beside `REQUEST` and `ACK`, and waits for the kernel's word. `doing` says in an
    /// error what was asked: "set the MTU of lan", say.
    pub(crate) fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        doing: impl FnOnce() -> String,
    ) -> Result<(), NetlinkError> {
        self.send(encode(message, NLM_F_REQUEST | NLM_F_ACK | flags))?;
        loop {
            let len = self.receive()?;
            for message in messages(self.buffer.get(..len).unwrap_or_default()) {
                let (header, payload) = message?;
                if header.sequence_number == self.sequence && header.message_type == NLMSG_ERROR {
                    return match error_code(payload)? {
                        0 => Ok(()),
                        code => Err(NetlinkError::Refused {
                            doing: doing(),
                            source: io::Error::from_raw_os_error(-code),
                        }),
                    };
                }
            }
        }
    }

    /// Dumps what `request` (a message as [`encode`]d, or made by hand) asks for, one call of `each` per object.
    pub(crate) fn dump(
        &mut self,
        request: Vec<u8>,
        doing: &'static str,
        mut each: impl FnMut(&NetlinkHeader, &[u8]),
    ) -> Result<Dump, NetlinkError> {
        self.send(request)?;
        let mut outcome = Dump::Whole;
        loop {
            let len = self.receive()?;
            for message in messages(self.buffer.get(..len).unwrap_or_default()) {
                let (header, payload) = message?;
                if header.sequence_number != self.sequence {
                    continue;
                }
                if header.flags & NLM_F_DUMP_INTR != 0 {
                    outcome = Dump::Interrupted;
                }
                match header.message_type {
                    NLMSG_NOOP => {}
                    NLMSG_DONE | NLMSG_ERROR => {
                        // DONE carries the dump's result where there was one: older kernels send it empty.
                        let code = if payload.len() < 4 { 0 } else { error_code(payload)? };
                        if code < 0 {
                            return Err(NetlinkError::Refused {
                                doing: format!("dump {doing}"),
                                source: io::Error::from_raw_os_error(-code),
                            });
                        }
                        return Ok(outcome);
                    }
                    _ => each(&header, payload),
                }
            }
        }
    }

    fn send(&mut self, mut bytes: Vec<u8>) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        NetlinkBuffer::new(&mut bytes).set_sequence_number(self.sequence);
        self.socket
            .send_to(&bytes, &SocketAddr::new(0, 0), 0)
            .map_err(NetlinkError::socket("send"))?;
        Ok(())
    }

    /// Receives one datagram of the kernel's into the buffer; returns its length.
    fn receive(&mut self) -> Result<usize, NetlinkError> {
        loop {
            match receive(&self.socket, &mut self.buffer, RecvFlags::empty()) {
                Ok(Some(len)) => return Ok(len),
                Ok(None) => {}
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    return Err(NetlinkError::Socket { doing: "receive", source: error.into() });
                }
            }
        }
    }
}

/// What a read of notifications brought.
pub(crate) enum Received {
    /// Messages lie in the buffer's first bytes.
    Messages(usize),
    /// Nothing waits.
    Empty,
    /// The kernel had to drop notifications: what is known is not what is (`ENOBUFS`).
    Overrun,
}

/// A socket that hears the kernel's notifications.
pub(crate) struct Notifications {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Notifications {
    /// Subscribes to `groups` (`RTNLGRP_…`, 1 to 32) with a receive buffer of about `receive_buffer` bytes.
    pub(crate) fn open(groups: &[u32], receive_buffer: usize) -> Result<Self, NetlinkError> {
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(NetlinkError::socket("open"))?;
        // FORCE passes net.core.rmem_max, and needs CAP_NET_ADMIN in the initial user namespace: in a container the
        // plain option gives what it can.
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, receive_buffer).is_err()
        {
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, receive_buffer).map_err(
                |e| NetlinkError::Socket { doing: "size the receive buffer", source: e.into() },
            )?;
        }
        socket.set_non_blocking(true).map_err(NetlinkError::socket("make it non-blocking"))?;
        let mask = groups.iter().fold(0, |mask, group| mask | 1u32 << (group - 1));
        socket.bind(&SocketAddr::new(0, mask)).map_err(NetlinkError::socket("subscribe"))?;
        Ok(Self { socket, buffer: vec![0; BUFFER] })
    }

    /// Reads one datagram; its messages are then in [`Notifications::bytes`].
    pub(crate) fn read(&mut self) -> Result<Received, NetlinkError> {
        loop {
            return match receive(&self.socket, &mut self.buffer, RecvFlags::TRUNC) {
                Ok(Some(len)) if len > self.buffer.len() => Ok(Received::Overrun),
                Ok(Some(len)) => Ok(Received::Messages(len)),
                Ok(None) | Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => Ok(Received::Empty),
                Err(rustix::io::Errno::NOBUFS) => Ok(Received::Overrun),
                Err(error) => Err(NetlinkError::Socket { doing: "receive", source: error.into() }),
            };
        }
    }

    /// The first `len` bytes that were read.
    pub(crate) fn bytes(&self, len: usize) -> &[u8] {
        self.buffer.get(..len).unwrap_or_default()
    }
}

impl AsFd for Notifications {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// One datagram from the kernel; `None` for one that another process sent.
fn receive(
    socket: &Socket,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> rustix::io::Result<Option<usize>> {
    let (_, len, from) = rustix::net::recvfrom(socket, buffer, flags)?;
    let from_kernel = from
        .and_then(|addr| SocketAddrNetlink::try_from(addr).ok())
        .is_some_and(|addr| addr.pid() == 0);
    Ok(from_kernel.then_some(len))
}

/// Encodes a request with `flags` (`NLM_F_…`); its sequence number is set when it is sent.
pub(crate) fn encode(message: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Encodes a dump request.
pub(crate) fn encode_dump(message: RouteNetlinkMessage) -> Vec<u8> {
    encode(message, NLM_F_REQUEST | NLM_F_DUMP)
}

/// Encodes a dump request for a message type that the message crate does not know, with a header of `payload`.
pub(crate) fn encode_raw_dump(message_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER + payload.len()];
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    if let Some(rest) = bytes.get_mut(HEADER..) {
        rest.copy_from_slice(payload);
    }
    let mut header = NetlinkBuffer::new(&mut bytes);
    header.set_length(len);
    header.set_message_type(message_type);
    header.set_flags(NLM_F_REQUEST | NLM_F_DUMP);
    bytes
}

/// The messages of a datagram: header and payload.
pub(crate) fn messages(
    mut bytes: &[u8],
) -> impl Iterator<Item = Result<(NetlinkHeader, &[u8]), NetlinkError>> {
    std::iter::from_fn(move || {
        if bytes.len() < HEADER {
            return None;
        }
        let parsed = NetlinkBuffer::new_checked(bytes).and_then(|buffer| {
            let header = <NetlinkHeader as Parseable<NetlinkBuffer<&[u8]>>>::parse(&buffer)?;
            Ok((header, buffer.payload()))
        });
        match parsed {
            Ok((header, payload)) => {
                let len = usize::try_from(header.length).unwrap_or(usize::MAX).next_multiple_of(4);
                bytes = bytes.get(len..).unwrap_or_default();
                Some(Ok((header, payload)))
            }
            Err(error) => {
                bytes = &[];
                Some(Err(NetlinkError::Malformed(error.to_string())))
            }
        }
    })
}

fn error_code(payload: &[u8]) -> Result<i32, NetlinkError> {
    match payload.first_chunk::<4>() {
        Some(code) => Ok(i32::from_ne_bytes(*code)),
        None => Err(NetlinkError::Malformed("an acknowledgement without a code".to_owned())),
    }
}
