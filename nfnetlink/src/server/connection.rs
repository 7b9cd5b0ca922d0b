//! One client's socket: who is at the other end, its datagrams, and how it is told that one is done.

use std::borrow::Cow;
use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll;
use rustix::fs::{OFlags, SealFlags};
use rustix::io::Errno as Sys;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendFlags,
};

use super::engine::Control;
use crate::error::Errno;
use crate::frame;

/// Who is at the other end of a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credentials {
    pub uid: u32,
    pub gid: u32,
    pub pid: u32,
}

impl Credentials {
    /// Of the process that connected.
    pub(super) fn of(fd: &OwnedFd) -> nix::Result<Self> {
        // Not rustix's, which takes the process id as never zero; that of a process in a container beside ours is zero.
        let peer = nix::sys::socket::getsockopt(fd, nix::sys::socket::sockopt::PeerCredentials)?;
        Ok(Self { uid: peer.uid(), gid: peer.gid(), pid: peer.pid().unsigned_abs() })
    }

    /// Root, the server's own user, and members of the group may ask.
    pub(super) fn allowed(&self, group: Option<u32>) -> bool {
        self.uid == 0
            || self.uid == rustix::process::geteuid().as_raw()
            || group.is_some_and(|group| self.gid == group || self.has_group(group))
    }

    /// Whether the process has the group as a supplementary one. The socket's mode has been checked by the kernel before.
    fn has_group(&self, group: u32) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
        groups.unwrap_or_default().split_ascii_whitespace().any(|other| other.parse() == Ok(group))
    }
}

/// Why a connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The client is gone.
    Gone,
    /// What it sent is no datagram of ours.
    Broken,
}

/// What a client sent.
pub(super) enum Received<'a> {
    Messages { bytes: Cow<'a, [u8]>, tell: Option<Tell> },
    Control { control: Control, tell: Option<Tell> },
    Refused { errno: Errno, tell: Option<Tell> },
}

/// The eventfd through which a client waits for the outcome of one datagram.
pub(super) struct Tell(OwnedFd);

impl Tell {
    /// Takes `fd` if it is an eventfd: a write to anything else might keep the server waiting.
    fn new(fd: OwnedFd) -> Result<Self, Fault> {
        let fault = |_| Fault::Broken;
        let target = rustix::fs::readlink(
            format!("/proc/self/fd/{}", rustix::fd::AsRawFd::as_raw_fd(&fd)),
            Vec::new(),
        )
        .map_err(fault)?;
        if target.as_bytes() != b"anon_inode:[eventfd]" {
            return Err(Fault::Broken);
        }
        let flags = rustix::fs::fcntl_getfl(&fd).map_err(fault)?;
        if !flags.contains(OFlags::NONBLOCK) {
            rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK).map_err(fault)?;
        }
        Ok(Self(fd))
    }

    pub(super) fn tell(self, outcome: u64) {
        // It fails only where the client has filled it, and then it does not wait.
        let _ = rustix::io::write(&self.0, &outcome.to_ne_bytes());
    }
}

/// A client's socket. Belongs to the server's thread.
#[derive(Debug)]
pub(super) struct Connection {
    fd: OwnedFd,
    wants_write: bool,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Connection {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd, wants_write: false }
    }

    /// Asks to be told when the socket takes more, or not.
    pub(super) fn want_write(&mut self, epoll: &OwnedFd, id: u64, wants: bool) {
        if wants != self.wants_write {
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, wants);
            let changed = epoll::modify(epoll, &self.fd, epoll::EventData::new_u64(id), flags);
            self.wants_write = wants && changed.is_ok();
        }
    }

    /// Sends one datagram, or fails with `EAGAIN`.
    pub(super) fn send(&self, head: &[u8; frame::LEN], bytes: &[u8]) -> Result<(), Sys> {
        let send = || {
            rustix::net::sendmsg(
                &self.fd,
                &[IoSlice::new(head), IoSlice::new(bytes)],
                &mut SendAncillaryBuffer::default(),
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            )
        };
        match send() {
            // Larger than the socket's whole buffer, which is ours to enlarge.
            Err(Sys::MSGSIZE) => {
                let size = bytes.len() * 2;
                rustix::net::sockopt::set_socket_send_buffer_size_force(&self.fd, size)
                    .or_else(|_| rustix::net::sockopt::set_socket_send_buffer_size(&self.fd, size))
                    .and_then(|()| send())
            }
            other => other,
        }
        .map(|_| ())
    }

    /// One datagram; none when there is none now.
    pub(super) fn receive<'a>(
        &self,
        buffer: &'a mut [u8],
        max_request: usize,
    ) -> Result<Option<Received<'a>>, Fault> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = match rustix::net::recvmsg(
            &self.fd,
            &mut [IoSliceMut::new(buffer)],
            &mut control,
            RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC,
        ) {
            Ok(received) => received,
            Err(Sys::AGAIN | Sys::INTR) => return Ok(None),
            Err(_) => return Err(Fault::Gone),
        };
        let mut fds = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let mut fds = fds.by_ref().flatten();
        if received.bytes == 0 {
            return Err(Fault::Gone);
        }
        // Cut off: more than a datagram may hold, or the process has no file descriptor left to take those that came.
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(Fault::Broken);
        }
        let datagram = buffer.get(..received.bytes).ok_or(Fault::Broken)?;
        let (head, bytes) = datagram.split_first_chunk().ok_or(Fault::Broken)?;
        let (kind, argument) = frame::read(*head);
        let memfd = if kind == frame::MEMFD { fds.next() } else { None };
        let tell = fds.next().map(Tell::new).transpose()?;
        if fds.next().is_some() {
            return Err(Fault::Broken);
        }
        let word = || bytes.first_chunk().copied().map(u32::from_ne_bytes).ok_or(Fault::Broken);
        let control = match kind {
            frame::MESSAGES => {
                return Ok(Some(Received::Messages { bytes: Cow::Borrowed(bytes), tell }));
            }
            frame::MEMFD => {
                return Ok(Some(match read_memfd(memfd.ok_or(Fault::Broken)?, max_request)? {
                    Some(bytes) => Received::Messages { bytes: Cow::Owned(bytes), tell },
                    None => Received::Refused { errno: Errno::EMSGSIZE, tell },
                }));
            }
            frame::HELLO => Control::Hello { version: argument, pid: word()? },
            frame::BIND => Control::Bind { port: argument, groups: word()? },
            frame::OPTION => Control::Option { option: argument, value: word()? },
            _ => return Err(Fault::Broken),
        };
        Ok(Some(Received::Control { control, tell }))
    }
}

/// What a sealed memfd holds; none when that is more than `max` bytes.
fn read_memfd(fd: OwnedFd, max: usize) -> Result<Option<Vec<u8>>, Fault> {
    let broken = |_| Fault::Broken;
    // Only what lives in memory has seals: reading it cannot block, and it cannot change meanwhile.
    let seals = rustix::fs::fcntl_get_seals(&fd).map_err(broken)?;
    if !seals.contains(SealFlags::WRITE | SealFlags::SHRINK) {
        return Err(Fault::Broken);
    }
    let size = usize::try_from(rustix::fs::fstat(&fd).map_err(broken)?.st_size)
        .map_err(|_| Fault::Broken)?;
    if size > max {
        return Ok(None);
    }
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while filled < size {
        let rest = bytes.get_mut(filled..).ok_or(Fault::Broken)?;
        match rustix::io::pread(&fd, rest, filled as u64) {
            Ok(0) => return Err(Fault::Broken),
            Ok(n) => filled += n,
            Err(Sys::INTR) => {}
            Err(_) => return Err(Fault::Broken),
        }
    }
    Ok(Some(bytes))
}
