//! TCP connections towards a `serve`: idle ones, ones that send a message now and then and want it back (as SSH does), and
//! downloads. One thread for all of them. A connection is alive at the end if it can still carry something.

use super::{
    During, End, Options, Report, Result, TcpReport, TrafficError, now, pattern, probe, serve,
};
use rustix::event::epoll;
use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

pub(super) const OPTIONS: &[&str] = &[
    "to",
    "idle",
    "echo",
    "downloads",
    "kbit",
    "datagrams",
    "probe",
    "seconds",
    "until",
    "report",
];

/// How long opening one connection may take.
const OPEN: Duration = Duration::from_secs(10);
/// How long the last messages may take: TCP's retransmission timer has doubled often after a long outage.
const GRACE: u64 = 15_000_000_000;
/// Between two messages of an echoing connection, half of it to one and a half.
const INTERVAL: u64 = 100_000_000;
/// How often what is due is looked for.
const TICK: Duration = Duration::from_millis(2);
/// The longest message.
const MESSAGE: u64 = 512;

/// Waits for events, not longer than `limit`; an interruption is no error.
pub(super) fn wait(
    epoll: &rustix::fd::OwnedFd,
    events: &mut Vec<epoll::Event>,
    limit: Duration,
) -> Result<()> {
    let limit = rustix::time::Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) };
    match epoll::wait(epoll, rustix::buffer::spare_capacity(events), Some(&limit)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error).during(|| "epoll".into()),
    }
}

/// Talks until its time is over, and reports.
pub(super) fn run(options: &Options) -> Result<()> {
    let to: String = options.get("to", String::new())?;
    let to: SocketAddr =
        to.parse().map_err(|_| TrafficError::Usage(format!("--to {to}: not ADDRESS:PORT")))?;
    let (idle, echo, downloads): (u64, u64, u64) =
        (options.get("idle", 0)?, options.get("echo", 0)?, options.get("downloads", 0)?);
    let kbit: u32 = options.get("kbit", 8000)?;
    let (datagrams, rate): (usize, u64) = (options.get("datagrams", 0)?, options.get("probe", 0)?);
    let stop = Arc::new(AtomicBool::new(false));
    let mut engine = Engine::new()?;
    let kinds = [(Kind::Idle, idle), (Kind::Echo, echo), (Kind::Download, downloads)];
    for (kind, count) in kinds {
        for _ in 0..count {
            engine.open(to, kind, kbit);
        }
    }
    // Each has carried something before it counts as open.
    engine.settle()?;
    let slow = probe::datagrams(to, datagrams, &stop)?;
    let probe = if rate > 0 { Some(probe::Probe::start(to, rate, &stop)?) } else { None };
    println!("ready {}", engine.report.opened);
    let mut end = options.end("until", 60)?;
    engine.run(&mut end)?;
    stop.store(true, Ordering::Relaxed);
    engine.end()?;
    let report = Report {
        tcp: engine.report,
        datagrams: slow.join().unwrap_or_default(),
        probe: probe.map(probe::Probe::finish).unwrap_or_default(),
    };
    let text = serde_json::to_string(&report)?;
    if let Some(file) = options.file("report") {
        std::fs::write(&file, &text).during(|| file.display().to_string())?;
    }
    println!("{text}");
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Idle,
    Echo,
    Download,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    kind: Kind,
    seed: u64,
    /// Bytes of the pattern that are to be sent, that were, that came (back).
    target: u64,
    sent: u64,
    received: u64,
    /// When the last message was begun, and when the next one is.
    begun: u64,
    due: u64,
    /// It ended in order.
    ended: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Lives,
    Garbled,
    Broken(String),
}

impl Connection {
    fn is_answered(&self) -> bool {
        self.received == self.target
    }

    /// Begins a message, which the far end shall send back.
    fn message(&mut self, length: u64, time: u64) {
        self.target += length;
        self.begun = time;
    }

    /// Sends what is to be sent.
    fn write(&mut self) -> Fate {
        let mut buffer = [0; MESSAGE as usize];
        while self.sent < self.target {
            let length = (self.target - self.sent).min(MESSAGE) as usize;
            let Some(block) = buffer.get_mut(..length) else { break };
            pattern::fill(self.seed, self.sent, block);
            match self.stream.write(block) {
                Ok(length) => self.sent += length as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Fate::Broken(error.to_string()),
            }
        }
        Fate::Lives
    }

    /// Reads what came, and checks it.
    fn read(&mut self, buffer: &mut [u8], verified: &mut u64) -> Fate {
        loop {
            match self.stream.read(buffer) {
                Ok(0) if self.kind == Kind::Download && self.ended => return Fate::Lives,
                Ok(0) if self.kind == Kind::Download && self.due == u64::MAX => {
                    self.ended = true;
                    return Fate::Lives;
                }
                Ok(0) => return Fate::Broken("closed by the other side".into()),
                Ok(length) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    if !pattern::holds(self.seed, self.received, bytes) {
                        return Fate::Garbled;
                    }
                    self.received += length as u64;
                    *verified += length as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Fate::Lives,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Fate::Broken(error.to_string()),
            }
        }
    }
}

struct Engine {
    epoll: rustix::fd::OwnedFd,
    connections: Vec<Option<Connection>>,
    report: TcpReport,
    random: u64,
    buffer: Vec<u8>,
    events: Vec<epoll::Event>,
}

impl Engine {
    fn new() -> Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).during(|| "epoll".into())?,
            connections: Vec::new(),
            report: TcpReport::default(),
            random: now() | 1,
            buffer: vec![0; 65536],
            events: Vec::with_capacity(512),
        })
    }

    /// xorshift64: lengths and moments need no more.
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn open(&mut self, to: SocketAddr, kind: Kind, kbit: u32) {
        let seed = self.connections.len() as u64 * 1_000_003 + self.random(1 << 40);
        match self.try_open(to, kind, kbit, seed) {
            Ok(connection) => {
                self.connections.push(Some(connection));
                self.report.opened += 1;
            }
            Err(error) => {
                self.connections.push(None);
                self.report.refused += 1;
                self.say(error.to_string());
            }
        }
    }

    fn try_open(
        &mut self,
        to: SocketAddr,
        kind: Kind,
        kbit: u32,
        seed: u64,
    ) -> std::io::Result<Connection> {
        let mut stream = TcpStream::connect_timeout(&to, OPEN)?;
        stream.set_nodelay(true)?;
        let mode = if kind == Kind::Download { b'D' } else { b'E' };
        stream.write_all(&serve::head(mode, kbit, seed))?;
        stream.set_nonblocking(true)?;
        let token = self.connections.len() as u64;
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(token), epoll::EventFlags::IN)?;
        let time = now();
        let mut connection = Connection {
            stream,
            kind,
            seed,
            target: 0,
            sent: 0,
            received: 0,
            begun: time,
            due: time + self.random(INTERVAL),
            ended: false,
        };
        if kind != Kind::Download {
            connection.message(64, time);
        }
        Ok(connection)
    }

    fn say(&mut self, error: String) {
        if self.report.first_error.is_empty() {
            self.report.first_error = error;
        }
    }

    /// Takes a connection out when it is no more what it should be.
    fn judge(&mut self, index: usize, fate: Fate) {
        match fate {
            Fate::Lives => return,
            Fate::Garbled => self.report.garbled += 1,
            Fate::Broken(error) => {
                self.report.broken += 1;
                self.say(error);
            }
        }
        if let Some(place) = self.connections.get_mut(index) {
            *place = None;
        }
    }

    /// One round: reads what came, writes what is due; messages begin only while `talking`.
    fn round(&mut self, talking: bool) -> Result<()> {
        let mut events = std::mem::take(&mut self.events);
        wait(&self.epoll, &mut events, TICK)?;
        let time = now();
        for event in events.drain(..) {
            let index = event.data.u64() as usize;
            let Some(Some(connection)) = self.connections.get_mut(index) else { continue };
            let was = connection.is_answered();
            let fate = connection.read(&mut self.buffer, &mut self.report.bytes_verified);
            if !was && connection.is_answered() && connection.kind != Kind::Download {
                self.report.messages += 1;
                let ms = time.saturating_sub(connection.begun) / 1_000_000;
                self.report.longest_echo_ms = self.report.longest_echo_ms.max(ms);
            }
            if connection.ended {
                // Nothing more comes, and a level-triggered epoll would say so for ever.
                let _ = epoll::delete(&self.epoll, &connection.stream);
            }
            self.judge(index, fate);
        }
        self.events = events;
        for index in 0..self.connections.len() {
            let (length, next) = (1 + self.random(MESSAGE), INTERVAL / 2 + self.random(INTERVAL));
            let Some(Some(connection)) = self.connections.get_mut(index) else { continue };
            let due = talking && connection.kind == Kind::Echo && time >= connection.due;
            if due && connection.is_answered() {
                connection.message(length, time);
                connection.due = time + next;
            }
            let fate = connection.write();
            self.judge(index, fate);
        }
        Ok(())
    }

    /// Whether nothing is on its way.
    fn is_quiet(&self) -> bool {
        let mut all = self.connections.iter().flatten();
        all.all(|connection| match connection.kind {
            Kind::Download => connection.received > 0,
            Kind::Idle | Kind::Echo => connection.is_answered(),
        })
    }

    /// Until each connection has carried something.
    fn settle(&mut self) -> Result<()> {
        let limit = now() + GRACE;
        while !self.is_quiet() && now() < limit {
            self.round(false)?;
        }
        Ok(())
    }

    fn run(&mut self, end: &mut End) -> Result<()> {
        while !end.has_come(now()) {
            self.round(true)?;
        }
        Ok(())
    }

    /// One more message on each, the downloads' orderly end; then counts.
    fn end(&mut self) -> Result<()> {
        let time = now();
        for place in &mut self.connections {
            let Some(connection) = place else { continue };
            if connection.kind == Kind::Download {
                connection.due = u64::MAX;
                let _ = connection.stream.shutdown(Shutdown::Write);
            } else {
                if connection.is_answered() {
                    connection.begun = time;
                }
                connection.target += 64;
            }
        }
        let over = |connection: &Connection| match connection.kind {
            Kind::Download => connection.ended,
            Kind::Idle | Kind::Echo => connection.is_answered(),
        };
        while now() < time + GRACE && !self.connections.iter().flatten().all(over) {
            self.round(false)?;
        }
        self.report.alive =
            self.connections.iter().flatten().filter(|connection| over(connection)).count() as u64;
        self.report.silent = self.connections.iter().flatten().count() as u64 - self.report.alive;
        Ok(())
    }
}
