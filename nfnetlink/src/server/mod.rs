//! The server: netfilter's netlink on a Unix socket.
//!
//! # Overview
//!
//! [`Engine`] is the protocol, without sockets. [`Server`] is one thread around it: it accepts clients, reads their datagrams
//! into the engine, and sends what the engine queues, as far as each client's socket takes it. A client that does not read only
//! fills its own queue; nothing here waits for a client.
//!
//! # Life cycle
//!
//! [`Server::bind`], [`Server::register`] for each subsystem, then [`Server::run`] until told to stop. Other threads hand in
//! events through a [`Publisher`] and wake the loop through its [`Waker`]; both are bounded and never wait. Everything else
//! belongs to the server's thread.

mod ack;
mod batch;
mod bell;
mod connection;
mod engine;
mod peer;
mod publisher;
mod socket;
mod stats;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno as Sys;
use rustix::net::SocketFlags;
use rustix::process::{Resource, Rlimit};

use crate::frame;
use crate::subsystem::{Events, Subsystem};

pub use engine::{Control, Engine};
pub use peer::Outgoing;
pub use publisher::{Publisher, Waker};
pub use socket::BindError;
pub use stats::{Counter, Stats};

use connection::{Connection, Received};
use publisher::Inbox;
use socket::Listener;

/// How often subsystems are asked what time has brought.
const TICK: Duration = Duration::from_secs(1);
/// Datagrams that one client is sent before the others have their turn.
const TURN: usize = 64;
/// Events taken from publishers before clients have their turn.
const EVENTS_A_TURN: usize = 1024;
/// File descriptors that the rest of the process and requests in flight may need.
const SPARE_FDS: u64 = 256;

const LISTENER: u64 = 0;
const INBOX: u64 = 1;
const FIRST_CLIENT: u64 = 2;

/// How a server behaves.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The socket's file mode.
    pub mode: u32,
    /// The group, by number, whose members may use the server. The socket's file gets it.
    pub group: Option<u32>,
    /// Clients at a time; more are turned away. The process's limit of open files is raised where that is needed and allowed.
    pub max_clients: usize,
    /// Bytes of a request.
    pub max_request: usize,
    /// Bytes of answers that wait for a client that does not read. What is more is lost, and the client told.
    pub max_answers: usize,
    /// Bytes that wait for all clients together.
    pub max_queued: usize,
    /// Events from other threads that wait for the server.
    pub max_published: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            mode: 0o660,
            group: None,
            max_clients: 4096,
            max_request: 512 << 20,
            max_answers: 16 << 20,
            max_queued: 256 << 20,
            max_published: 16_384,
        }
    }
}

/// The server. Its socket's file goes when this is dropped.
pub struct Server {
    config: ServerConfig,
    listener: Listener,
    epoll: rustix::fd::OwnedFd,
    inbox: Inbox,
    publisher: Publisher,
    engine: Engine,
    connections: BTreeMap<u64, Connection>,
    stats: Arc<Stats>,
    /// One datagram; kept because a fresh one would be zeroed each time.
    buffer: Vec<u8>,
}

impl Server {
    /// Listens on `path`.
    ///
    /// # Errors
    ///
    /// When a server answers there already, when something else is there, when the system refuses.
    pub fn bind(path: &Path, config: ServerConfig) -> Result<Self, BindError> {
        let refused = |what| {
            move |error: Sys| BindError::Refused {
                what,
                path: path.to_owned(),
                error: error.into(),
            }
        };
        let listener = Listener::bind(path, config.mode, config.group)?;
        raise_files(config.max_clients as u64 + SPARE_FDS);
        let stats = Arc::new(Stats::default());
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(refused("watch"))?;
        let engine = Engine::new(config.max_answers, FIRST_CLIENT, Arc::clone(&stats))
            .with_limit(config.max_queued);
        let (publisher, inbox) =
            publisher::pair(config.max_published, engine.listened(), Arc::clone(&stats))
                .map_err(refused("make a waker for"))?;
        let watch = |fd, token| {
            epoll::add(&epoll, fd, epoll::EventData::new_u64(token), epoll::EventFlags::IN)
        };
        watch(rustix::fd::AsFd::as_fd(&listener), LISTENER).map_err(refused("watch"))?;
        watch(rustix::fd::AsFd::as_fd(&inbox), INBOX).map_err(refused("watch"))?;
        Ok(Self {
            config,
            listener,
            epoll,
            inbox,
            publisher,
            engine,
            connections: BTreeMap::new(),
            stats,
            buffer: vec![0; frame::LEN + frame::INLINE + 1],
        })
    }

    /// Lets `subsystem` answer messages with its id.
    pub fn register(&mut self, subsystem: Box<dyn Subsystem>) {
        self.engine.register(subsystem);
    }

    /// What hands in events from other threads.
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// What the server counts.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        self.listener.path()
    }

    /// Serves until `stop` is set; set it, then wake the server.
    ///
    /// # Errors
    ///
    /// When the system refuses to wait for events, which it has no reason to.
    pub fn run(&mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        let mut next_tick = Instant::now() + TICK;
        let mut more = false;
        while !stop.load(Ordering::Acquire) {
            let until = next_tick.saturating_duration_since(Instant::now());
            let timeout = if more { Duration::ZERO } else { until };
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&Timespec {
                    tv_sec: timeout.as_secs() as i64,
                    tv_nsec: timeout.subsec_nanos().into(),
                }),
            ) {
                Ok(_) | Err(Sys::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    INBOX => {
                        self.inbox.awake();
                        self.engine.tick();
                        more = true;
                    }
                    id => self.serve(id, event.flags),
                }
            }
            if more {
                more = self.take_published();
            }
            if Instant::now() >= next_tick {
                self.engine.tick();
                next_tick = Instant::now() + TICK;
            }
            self.flush_listed();
        }
        Ok(())
    }

    /// Sends what is new to whom it concerns.
    fn flush_listed(&mut self) {
        for id in self.engine.take_listed() {
            self.flush(id);
        }
    }

    /// Takes some of what other threads handed in; true when there may be more.
    fn take_published(&mut self) -> bool {
        let (queue, more) = self.inbox.take(EVENTS_A_TURN);
        self.engine.publish(Events { queue, ..Events::default() });
        let lost = self.inbox.take_lost();
        for group in (1..=u32::BITS).filter(|group| lost & (1 << (group - 1)) != 0) {
            self.engine.lost(group);
        }
        more
    }

    fn accept(&mut self) {
        // A bound, so that a flood of connections does not keep the clients waiting that are here.
        for _ in 0..TURN {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let fd = match rustix::net::accept_with(&self.listener, flags) {
                Ok(fd) => fd,
                Err(Sys::AGAIN) => return,
                Err(Sys::INTR | Sys::CONNABORTED) => continue,
                Err(_) => {
                    // No file descriptor left: the client waits in the backlog. Do not spin meanwhile.
                    std::thread::sleep(Duration::from_millis(1));
                    return;
                }
            };
            if self.connections.len() >= self.config.max_clients {
                self.stats.turned_away.add(1);
                continue;
            }
            let Ok(credentials) = connection::Credentials::of(&fd) else { continue };
            let allowed = credentials.allowed(self.config.group);
            let id = self.engine.connect(credentials.uid, credentials.pid, allowed);
            let connection = Connection::new(fd);
            let data = epoll::EventData::new_u64(id);
            if epoll::add(&self.epoll, &connection, data, epoll::EventFlags::IN).is_err() {
                self.engine.disconnect(id);
                continue;
            }
            self.stats.accepted.add(1);
            self.connections.insert(id, connection);
        }
    }

    fn serve(&mut self, id: u64, flags: epoll::EventFlags) {
        if flags.contains(epoll::EventFlags::OUT) {
            self.flush(id);
        }
        if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
        {
            self.read(id);
        }
    }

    /// One datagram from a client.
    fn read(&mut self, id: u64) {
        let Some(connection) = self.connections.get(&id) else { return };
        let received = match connection.receive(&mut self.buffer, self.config.max_request) {
            Ok(Some(received)) => received,
            Ok(None) => return,
            Err(fault) => {
                self.stats.broken.add(u64::from(fault == connection::Fault::Broken));
                return self.drop_client(id);
            }
        };
        let (result, tell) = match received {
            Received::Messages { bytes, tell } => {
                self.engine.datagram(id, &bytes);
                (Ok(()), tell)
            }
            Received::Refused { errno, tell } => (Err(errno), tell),
            Received::Control { control, tell } => (self.engine.control(id, control), tell),
        };
        // As in the kernel, when it is done everybody who is concerned has heard.
        self.flush_listed();
        if let Some(tell) = tell
            && self.connections.contains_key(&id)
        {
            tell.tell(self.engine.outcome(id, result));
        }
    }

    /// Sends a client what waits for it, as far as its socket takes it.
    fn flush(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        for _ in 0..TURN {
            let Some((frame, outgoing)) = self.engine.front(id) else {
                return connection.want_write(&self.epoll, id, false);
            };
            match connection.send(&frame, &outgoing.bytes) {
                Ok(()) => self.engine.sent(id, frame),
                Err(Sys::AGAIN) => break,
                Err(Sys::INTR) => {}
                Err(_) => return self.drop_client(id),
            }
        }
        connection.want_write(&self.epoll, id, true);
    }

    fn drop_client(&mut self, id: u64) {
        // Closing it takes it out of the epoll set.
        if self.connections.remove(&id).is_some() {
            self.stats.closed.add(1);
            self.engine.disconnect(id);
        }
    }
}

/// Raises the soft limit of open files to `files`, as far as the hard one allows.
fn raise_files(files: u64) {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let maximum = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.is_some_and(|current| current < files.min(maximum)) {
        let raised = Rlimit { current: Some(files.min(maximum)), maximum: limit.maximum };
        // Where it fails, fewer clients fit; they wait in the backlog.
        let _ = rustix::process::setrlimit(Resource::Nofile, raised);
    }
}
