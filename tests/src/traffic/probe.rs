//! Datagrams with sequence numbers towards a `serve`, which sends them back: a probe with a fixed rate whose silences count, and
//! many slow sockets whose losses count.
//!
//! A datagram is 8 bytes of sequence number and 24 of the pattern at that number times 24.

use super::{Datagrams, During, Gap, ProbeReport, Result, now, pattern, report::Times};
use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Length of a datagram.
const LENGTH: usize = 32;
/// How long after the end an answer may still come.
const GRACE: Duration = Duration::from_millis(1000);
/// A silence that is told of.
const GAP: u64 = 10_000_000;

fn datagram(seed: u64, sequence: u64) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..8].copy_from_slice(&sequence.to_le_bytes());
    pattern::fill(seed, sequence * 24, &mut bytes[8..]);
    bytes
}

/// The sequence number of a datagram whose content is right.
fn sequence(seed: u64, bytes: &[u8]) -> Option<u64> {
    let (number, content) = bytes.split_first_chunk::<8>()?;
    let number = u64::from_le_bytes(*number);
    (content.len() == LENGTH - 8 && pattern::holds(seed, number.wrapping_mul(24), content))
        .then_some(number)
}

fn connected(to: SocketAddr) -> Result<UdpSocket> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).during(|| "a UDP socket".into())?;
    socket.connect(to).during(|| format!("connect to {to}"))?;
    Ok(socket)
}

/// Sleeps until a time; at once when it is over.
fn sleep_until(time: u64) {
    let left = time.saturating_sub(now());
    if left > 0 {
        thread::sleep(Duration::from_nanos(left));
    }
}

/// A running probe.
#[derive(Debug)]
pub(super) struct Probe {
    sender: JoinHandle<Vec<u64>>,
    receiver: JoinHandle<(Vec<(u64, u64)>, u64)>,
}

impl Probe {
    /// Sends `rate` datagrams a second until `stop`.
    pub(super) fn start(to: SocketAddr, rate: u64, stop: &Arc<AtomicBool>) -> Result<Self> {
        const SEED: u64 = 0x70_726f_6265;
        let socket = Arc::new(connected(to)?);
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .during(|| "a receive timeout".into())?;
        let (sending, stopping) = (Arc::clone(&socket), Arc::clone(stop));
        let sender = thread::spawn(move || {
            let mut sent = Vec::new();
            let (begin, step) = (now(), 1_000_000_000 / rate);
            let mut due = begin;
            while !stopping.load(Ordering::Relaxed) {
                sleep_until(due);
                let time = now();
                let _ = sending.send(&datagram(SEED, sent.len() as u64));
                sent.push(time);
                // What a busy machine made it miss is not sent in a burst later.
                due = (due + step).max(time.saturating_sub(step));
            }
            sent
        });
        let stopping = Arc::clone(stop);
        let receiver = thread::spawn(move || {
            let (mut received, mut garbled) = (Vec::new(), 0);
            let mut buffer = [0; 256];
            let mut stopped = 0;
            loop {
                if let Ok(length) = socket.recv(&mut buffer) {
                    match sequence(SEED, buffer.get(..length).unwrap_or_default()) {
                        Some(number) => received.push((number, now())),
                        None => garbled += 1,
                    }
                }
                if stopping.load(Ordering::Relaxed) {
                    let time = now();
                    if stopped == 0 {
                        stopped = time;
                    }
                    if time - stopped > GRACE.as_nanos() as u64 {
                        return (received, garbled);
                    }
                }
            }
        });
        Ok(Self { sender, receiver })
    }

    /// What it found, after its `stop`.
    pub(super) fn finish(self) -> ProbeReport {
        let sent = self.sender.join().unwrap_or_default();
        let (received, garbled) = self.receiver.join().unwrap_or_default();
        let mut answered = vec![false; sent.len()];
        for (number, _) in &received {
            if let Some(place) = answered.get_mut(*number as usize) {
                *place = true;
            }
        }
        let lost_at: Vec<u64> = sent
            .iter()
            .zip(&answered)
            .filter(|(_, answered)| !**answered)
            .map(|(&at, _)| at)
            .collect();
        let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
        let mut gaps = Vec::new();
        let mut longest = 0.0_f64;
        let mut last = sent.first().copied().unwrap_or_default();
        for &(_, at) in &received {
            longest = longest.max(ms(last, at));
            if at.saturating_sub(last) > GAP {
                gaps.push(Gap { from: last, to: at, ms: ms(last, at) });
            }
            last = at;
        }
        // A silence that lasted to the end.
        if let Some(&end) = sent.last()
            && end.saturating_sub(last) > GAP
        {
            longest = longest.max(ms(last, end));
            gaps.push(Gap { from: last, to: 0, ms: ms(last, end) });
        }
        let pauses = sent.windows(2).map(|pair| match pair {
            [one, two] => ms(*one, *two),
            _ => 0.0,
        });
        ProbeReport {
            sent: sent.len() as u64,
            received: answered.iter().filter(|answered| **answered).count() as u64,
            lost: lost_at.len() as u64,
            garbled,
            longest_silence_ms: longest,
            longest_pause_ms: pauses.fold(0.0, f64::max),
            gaps,
            lost_at: Times(lost_at.into_iter().take(100_000).collect()),
        }
    }
}

/// Sends 20 datagrams a second on each of `count` sockets until `stop`, in a thread of its own.
pub(super) fn datagrams(
    to: SocketAddr,
    count: usize,
    stop: &Arc<AtomicBool>,
) -> Result<JoinHandle<Datagrams>> {
    let mut sockets = Vec::new();
    for _ in 0..count {
        let socket = connected(to)?;
        socket.set_nonblocking(true).during(|| "a UDP socket".into())?;
        sockets.push(Slow { socket, sent: 0, highest: None });
    }
    let stop = Arc::clone(stop);
    Ok(thread::spawn(move || {
        let mut report = Datagrams::default();
        let mut due = now();
        let mut turn = 0;
        while !stop.load(Ordering::Relaxed) {
            sleep_until(due);
            due += 5_000_000;
            // A tenth of the sockets at a time.
            for (index, slow) in sockets.iter_mut().enumerate() {
                if index % 10 == turn {
                    slow.send(index as u64, &mut report);
                }
                slow.receive(index as u64, &mut report);
            }
            turn = (turn + 1) % 10;
        }
        let end = now() + GRACE.as_nanos() as u64;
        while now() < end && report.received < report.sent {
            thread::sleep(Duration::from_millis(5));
            for (index, slow) in sockets.iter_mut().enumerate() {
                slow.receive(index as u64, &mut report);
            }
        }
        report.lost = report.sent - report.received;
        report
    }))
}

#[derive(Debug)]
struct Slow {
    socket: UdpSocket,
    sent: u64,
    highest: Option<u64>,
}

impl Slow {
    fn send(&mut self, seed: u64, report: &mut Datagrams) {
        let _ = self.socket.send(&datagram(seed, self.sent));
        self.sent += 1;
        report.sent += 1;
    }

    fn receive(&mut self, seed: u64, report: &mut Datagrams) {
        let mut buffer = [0; 256];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            match sequence(seed, buffer.get(..length).unwrap_or_default()) {
                Some(number) => {
                    report.received += 1;
                    if self.highest.is_some_and(|highest| number < highest) {
                        report.reordered += 1;
                    }
                    self.highest = self.highest.max(Some(number));
                }
                None => report.garbled += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_says_which_it_is_only_if_it_is_whole() {
        let bytes = datagram(5, 77);
        assert_eq!(sequence(5, &bytes), Some(77));
        assert_eq!(sequence(6, &bytes), None);
        assert_eq!(sequence(5, &bytes[..31]), None);
        let mut other = bytes;
        other[0] ^= 1;
        assert_eq!(sequence(5, &other), None);
    }

    #[test]
    fn a_probe_tells_losses_and_silences() {
        // A far end that drops every tenth and is deaf from the 100th to the 150th.
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = far.local_addr().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 256];
            for n in 0.. {
                let (length, from) = far.recv_from(&mut buffer).unwrap();
                if n % 10 != 0 && !(100..150).contains(&n) {
                    far.send_to(&buffer[..length], from).unwrap();
                }
            }
        });
        let stop = Arc::new(AtomicBool::new(false));
        let probe = Probe::start(to, 1000, &stop).unwrap();
        thread::sleep(Duration::from_millis(400));
        stop.store(true, Ordering::Relaxed);
        let report = probe.finish();
        assert!(report.sent >= 200 && report.garbled == 0, "{report:?}");
        assert_eq!(report.received + report.lost, report.sent);
        assert_eq!(report.lost_at.0.len() as u64, report.lost);
        let expected = 45 + report.sent.div_ceil(10);
        assert_eq!(report.lost, expected, "{report:?}");
        assert!(report.longest_silence_ms >= 49.0, "{report:?}");
        assert_eq!(report.silence(0, u64::MAX), report.longest_silence_ms);
    }
}
