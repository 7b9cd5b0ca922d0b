//! The server's socket: who gets it, and what becomes of clients that do not keep to the framing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod common;

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use common::running::Running;
use common::{Got, message, toy};
use nfnetlink::message::NLM_F_ACK;
use nfnetlink::server::BindError;
use nfnetlink::{Server, ServerConfig, frame};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketType,
};

/// A client without the library.
struct Raw(OwnedFd);

impl Raw {
    fn connect(path: &Path) -> Self {
        let fd = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        rustix::net::connect(&fd, &SocketAddrUnix::new(path).unwrap()).unwrap();
        Self(fd)
    }

    fn send(&self, head: &[u8], bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let parts = [IoSlice::new(head), IoSlice::new(bytes)];
        rustix::net::sendmsg(&self.0, &parts, &mut control, SendFlags::NOSIGNAL).unwrap();
    }

    /// The next datagram; none when the server has closed the connection.
    fn receive(&self) -> Option<Got> {
        let mut words = [0; frame::LEN];
        let mut bytes = [0; 65536];
        let mut parts = [IoSliceMut::new(&mut words), IoSliceMut::new(&mut bytes)];
        let mut control = RecvAncillaryBuffer::default();
        match rustix::net::recvmsg(&self.0, &mut parts, &mut control, RecvFlags::empty()) {
            Ok(got) if got.bytes > 0 => Some(Got::new(words, &bytes[..got.bytes - frame::LEN])),
            _ => None,
        }
    }
}

fn messages() -> [u8; frame::LEN] {
    frame::words(frame::MESSAGES, 0)
}

fn memfd(bytes: &[u8], seals: SealFlags) -> OwnedFd {
    let fd = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::io::write(&fd, bytes).unwrap();
    rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
    fd
}

#[test]
fn a_client_needs_no_library() {
    let server = Running::start();
    let client = Raw::connect(&server.socket());
    client.send(&messages(), &message(toy::REFUSE, NLM_F_ACK, 7, |_| {}), &[]);
    assert_eq!(client.receive().unwrap().error(), Some((7, 34)));
    let seals = SealFlags::WRITE | SealFlags::SHRINK;
    let memory = memfd(&message(toy::REFUSE, NLM_F_ACK, 8, |_| {}), seals);
    client.send(&frame::words(frame::MEMFD, 0), &[], &[memory.as_fd()]);
    assert_eq!(client.receive().unwrap().error(), Some((8, 34)));
}

#[test]
fn an_outcome_is_told_after_the_answers() {
    let server = Running::start();
    let client = Raw::connect(&server.socket());
    let done = eventfd(0, EventfdFlags::empty()).unwrap();
    client.send(&messages(), &message(toy::ECHO, 0, 7, |_| {}), &[done.as_fd()]);
    let mut outcome = [0; 8];
    rustix::io::read(&done, &mut outcome).unwrap();
    let outcome = u64::from_ne_bytes(outcome);
    assert_eq!(outcome & 0xffff_ffff, frame::DONE);
    assert_eq!(outcome >> frame::PORT_SHIFT, u64::from(std::process::id()));
    let got = rustix::net::recv(&client.0, &mut [0u8; 100], RecvFlags::DONTWAIT).unwrap();
    assert!(got.1 > frame::LEN);
}

#[test]
fn who_breaks_the_framing_is_dropped() {
    let server = Running::start();
    let plain = fs::File::open("/dev/null").unwrap();
    let unsealed = memfd(b"x", SealFlags::empty());
    let (pipe, _write) = rustix::pipe::pipe().unwrap();
    let sealed = memfd(b"x", SealFlags::WRITE | SealFlags::SHRINK);
    let event = eventfd(0, EventfdFlags::empty()).unwrap();
    let large = vec![0; frame::INLINE + 2];
    let memory = frame::words(frame::MEMFD, 0);
    let broken: [(&[u8], &[u8], &[BorrowedFd<'_>]); 11] = [
        (b"short", b"", &[]),
        (&frame::words(99, 0), b"", &[]),
        (&frame::words(frame::HELLO, 1), b"", &[]),
        (&frame::words(frame::BIND, 1), b"abc", &[]),
        (&frame::words(frame::OPTION, 1), b"", &[]),
        (&memory, b"", &[]),
        (&memory, b"", &[plain.as_fd()]),
        (&memory, b"", &[unsealed.as_fd()]),
        // Nothing but an eventfd is written to.
        (&messages(), b"", &[pipe.as_fd()]),
        (&memory, b"", &[sealed.as_fd(), plain.as_fd()]),
        (&messages(), &large, &[]),
    ];
    for (n, (head, bytes, fds)) in broken.into_iter().enumerate() {
        let client = Raw::connect(&server.socket());
        client.send(head, bytes, fds);
        assert!(client.receive().is_none(), "case {n}");
    }
    assert_eq!(server.stats.broken.get(), 11);
    // More file descriptors than anybody needs.
    let client = Raw::connect(&server.socket());
    client.send(&messages(), b"", &[event.as_fd(), event.as_fd(), event.as_fd()]);
    assert!(client.receive().is_none());
    // The others go on.
    let client = Raw::connect(&server.socket());
    client.send(&messages(), &message(toy::REFUSE, NLM_F_ACK, 7, |_| {}), &[]);
    assert!(client.receive().is_some());
}

#[test]
fn an_answer_larger_than_the_socket_is_given() {
    let server = Running::start();
    let client = Raw::connect(&server.socket());
    // Quoting a refused request of 60,000 bytes many times fills the socket; each must come whole.
    let large = message(toy::REFUSE, 0, 3, |w| w.put(1, &[7; 60_000]));
    for _ in 0..20 {
        client.send(&messages(), &large, &[]);
    }
    for _ in 0..20 {
        let got = client.receive().unwrap();
        assert_eq!(got.error(), Some((3, 34)));
        assert!(got.bytes.len() > 60_000);
    }
}

#[test]
fn a_socket_has_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/nfnl.sock");
    let bind = |path: &Path| Server::bind(path, ServerConfig::default());
    let first = bind(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert!(matches!(bind(&path), Err(BindError::Taken(_))));
    drop(first);
    assert!(!path.exists(), "its file goes with it");
    // One that nobody answers on is replaced; a stream socket, too.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let second = bind(&path).unwrap();
    // Somebody else's file stays.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "mine").unwrap();
    assert!(matches!(bind(&path), Err(BindError::NotASocket(_))));
    drop(second);
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    let long = folder.path().join("x".repeat(200));
    assert!(matches!(bind(&long), Err(BindError::Refused { .. })));
}

#[test]
fn the_group_gets_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nfnl.sock");
    let own = rustix::process::getegid().as_raw();
    let group = if rustix::process::geteuid().is_root() { 12345 } else { own };
    let config = ServerConfig { mode: 0o600, group: Some(group), ..ServerConfig::default() };
    let _server = Server::bind(&path, config).unwrap();
    let file = fs::metadata(&path).unwrap();
    assert_eq!((file.gid(), file.permissions().mode() & 0o777), (group, 0o600));
}
