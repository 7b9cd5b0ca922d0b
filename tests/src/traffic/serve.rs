//! The far end: one thread for TCP, one for datagrams, which it sends back as they are.
//!
//! A TCP connection begins with 16 bytes: what is wanted (`E`: send everything back; `D`: send the pattern), three zeroes, the
//! rate of a download in kbit/s, the seed. When the other side closes its half, this one ends what it has begun, and closes.

use super::{During, Options, Result, now, pattern};
use rustix::event::epoll;
use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

/// Length of what a connection begins with.
pub(super) const HEAD: usize = 16;
/// How often what could not be written at once is tried again, and downloads go on.
const TICK: Duration = Duration::from_millis(5);
/// The most that a download is ahead of its rate after it could not send for a while.
const BEHIND: u64 = 2_000_000;
/// What epoll calls the listener.
const LISTENER: u64 = u64::MAX;

/// What a connection begins with.
pub(super) fn head(mode: u8, kbit: u32, seed: u64) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[0] = mode;
    head[4..8].copy_from_slice(&kbit.to_le_bytes());
    head[8..].copy_from_slice(&seed.to_le_bytes());
    head
}

/// Serves until its time is over.
pub(super) fn run(options: &Options) -> Result<()> {
    let port: u16 = options.get("port", 7000)?;
    let mut end = options.end("until", 600)?;
    // Both families on one socket.
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .during(|| format!("listen on port {port}"))?;
    listener.set_nonblocking(true).during(|| "the listener".into())?;
    let datagrams =
        UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).during(|| format!("bind to port {port}"))?;
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&datagrams, 4 << 20);
    thread::spawn(move || echo_datagrams(&datagrams));
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).during(|| "epoll".into())?;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)
        .during(|| "epoll".into())?;
    println!("serving");
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = Vec::with_capacity(512);
    let mut buffer = vec![0; 65536];
    let mut ticked = now();
    while !end.has_come(now()) {
        super::talk::wait(&epoll, &mut events, TICK)?;
        for event in events.drain(..) {
            let token = event.data.u64();
            if token == LISTENER {
                accept(&listener, &epoll, &mut connections)?;
            } else if let Some(place) = connections.get_mut(token as usize)
                && let Some(connection) = place
                && !connection.readable(&mut buffer)
            {
                *place = None;
            }
        }
        let time = now();
        if time - ticked >= TICK.as_nanos() as u64 {
            ticked = time;
            for place in &mut connections {
                if let Some(connection) = place
                    && !connection.tick(time, &mut buffer)
                {
                    *place = None;
                }
            }
        }
    }
    Ok(())
}

fn echo_datagrams(socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    loop {
        // An ICMP error of an earlier send is told by a later call: it says nothing about this socket.
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(buffer.get(..length).unwrap_or_default(), from);
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &rustix::fd::OwnedFd,
    connections: &mut Vec<Option<Connection>>,
) -> Result<()> {
    while let Ok((stream, _)) = listener.accept() {
        if stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).is_err() {
            continue;
        }
        let token = connections.len() as u64;
        epoll::add(epoll, &stream, epoll::EventData::new_u64(token), epoll::EventFlags::IN)
            .during(|| "epoll".into())?;
        connections.push(Some(Connection {
            stream,
            head: Vec::new(),
            mode: Mode::Unknown,
            ending: false,
        }));
    }
    Ok(())
}

#[derive(Debug)]
enum Mode {
    Unknown,
    Echo { pending: Vec<u8> },
    Download { seed: u64, sent: u64, kbit: u64, begun: u64 },
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    head: Vec<u8>,
    mode: Mode,
    /// The other side has closed its half.
    ending: bool,
}

impl Connection {
    /// Reads what is there; false when the connection is over.
    fn readable(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => {
                    self.ending = true;
                    return !self.is_done();
                }
                Ok(length) => self.take(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return self.flush().is_ok();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        if matches!(self.mode, Mode::Unknown) {
            let wanted = (HEAD - self.head.len()).min(bytes.len());
            let (head, rest) = bytes.split_at(wanted);
            self.head.extend_from_slice(head);
            bytes = rest;
            if let Ok(head) = <[u8; HEAD]>::try_from(self.head.as_slice()) {
                let [mode, _, _, _, a, b, c, d, seed @ ..] = head;
                self.mode = if mode == b'D' {
                    let kbit = u64::from(u32::from_le_bytes([a, b, c, d]));
                    let seed = u64::from_le_bytes(seed);
                    Mode::Download { seed, sent: 0, kbit, begun: now() }
                } else {
                    Mode::Echo { pending: Vec::new() }
                };
            }
        }
        if let Mode::Echo { pending } = &mut self.mode {
            pending.extend_from_slice(bytes);
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if let Mode::Echo { pending } = &mut self.mode {
            while !pending.is_empty() {
                match self.stream.write(pending) {
                    Ok(length) => drop(pending.drain(..length)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        match &self.mode {
            Mode::Echo { pending } => self.ending && pending.is_empty(),
            Mode::Unknown | Mode::Download { .. } => self.ending,
        }
    }

    /// Goes on with what could not be sent before; false when the connection is over.
    fn tick(&mut self, time: u64, buffer: &mut [u8]) -> bool {
        if self.flush().is_err() {
            return false;
        }
        if let Mode::Download { seed, sent, kbit, begun } = &mut self.mode {
            let due = |begun: u64| (time - begun) / 1_000_000 * *kbit / 8;
            if due(*begun).saturating_sub(*sent) > BEHIND {
                // After an outage it goes on at its rate: catching up would be another kind of test.
                *begun = time - *sent * 8 / *kbit * 1_000_000;
            }
            while *sent < due(*begun) {
                let length = (due(*begun) - *sent).min(16384) as usize;
                let Some(block) = buffer.get_mut(..length) else { break };
                pattern::fill(*seed, *sent, block);
                match self.stream.write(block) {
                    Ok(length) => *sent += length as u64,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(_) => return false,
                }
            }
        }
        !self.is_done()
    }
}
