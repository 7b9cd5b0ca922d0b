//! What rules have to tell of packets: `log` goes to the daemon's log, traces to who listens (`nft monitor trace`).
//!
//! # Overview
//!
//! Workers put notes into bounded queues; one thread looks at them every few milliseconds (a worker that had to wake a sleeping
//! thread would make a system call for a packet). What found a queue full, or exceeded the workers' rate of log lines, was
//! counted there; the sum is said once a second. Listeners to traces that were lost are told, as by the kernel, by `ENOBUFS`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use dataplane::notes::{LogNote, Note};
use nfnetlink::Publisher;
use packet::L3;
use ruleset::nft::{TRACE_GROUP, trace};
use ruleset::trace::{Device, Sight};

use super::super::control::Control;

/// How often the queues are looked at.
const EVERY: Duration = Duration::from_millis(5);
/// Notes taken from one worker before the next has its turn.
const TURN: usize = 256;
/// How often it is said what was not told.
const SUMMARY: Duration = Duration::from_secs(1);

/// The running thread. Dropping it ends it; what waits is told before.
pub(super) struct Teller {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Teller {
    /// Tells what comes from `notes`, a queue for each worker.
    pub(super) fn spawn(
        notes: Vec<Receiver<Note>>,
        control: Arc<Control>,
        publisher: Publisher,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let mut telling = Telling { control, publisher, suppressed: 0, lost: 0 };
        let thread = std::thread::Builder::new().name("teller".into()).spawn(move || {
            let mut summary = Instant::now() + SUMMARY;
            loop {
                let mut more = true;
                while more {
                    more = false;
                    notes.iter().for_each(|notes| more |= telling.take(notes));
                }
                telling.lost();
                if Instant::now() >= summary {
                    summary = Instant::now() + SUMMARY;
                    telling.suppressed();
                }
                if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that tells of packets panicked");
        }
    }
}

struct Telling {
    control: Arc<Control>,
    publisher: Publisher,
    /// What was said of log lines that were not written.
    suppressed: u64,
    /// What listeners were told of traces that were lost.
    lost: u64,
}

impl Telling {
    /// Tells some of what a worker noted; true when there may be more.
    fn take(&mut self, notes: &Receiver<Note>) -> bool {
        for _ in 0..TURN {
            match notes.try_recv() {
                Ok(Note::Log(note)) => self.log(&note),
                Ok(Note::Trace(note)) => {
                    if self.publisher.wanted(TRACE_GROUP) {
                        self.publisher.publish(trace::event(&note));
                    }
                }
                Err(_) => return false,
            }
        }
        true
    }

    fn log(&self, note: &LogNote) {
        let sight = &note.sight;
        let name = |device: Option<Device>| {
            let index = device?.index;
            self.control.read(|rib| {
                let mut ifaces = rib.ifaces();
                ifaces
                    .find(|entry| entry.iface.index.0 == index)
                    .map(|entry| entry.iface.name.clone())
            })
        };
        let (iif, oif) = (name(sight.iif), name(sight.oif));
        let (iif, oif) = (iif.as_deref(), oif.as_deref());
        let addresses = addresses(sight);
        let source = addresses.as_ref().map(|(source, _)| source.as_str());
        let destination = addresses.as_ref().map(|(_, destination)| destination.as_str());
        let (sport, dport) = ports(sight).unzip();
        let protocol = matches!(sight.l3, L3::Ipv4 | L3::Ipv6).then_some(sight.protocol);
        let mark = Some(sight.mark).filter(|mark| *mark != 0);
        let family = sight.family.handler().name;
        let hook = format!("{:?}", sight.hook).to_lowercase();
        let hook = hook.as_str();
        let (prefix, len) = (note.prefix.trim_end(), sight.len);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "rules", family, hook, iif, oif, source, destination, protocol, sport, dport,
                    len, mark, "{prefix}"
                )
            };
        }
        // syslog's eight levels.
        match note.level {
            0..=3 => line!(error),
            4 => line!(warn),
            5 | 6 => line!(info),
            _ => line!(debug),
        }
    }

    /// Tells listeners of traces that did not get here.
    fn lost(&mut self) {
        let lost: u64 = self.control.stats().map(|stats| stats.traces_lost.get()).sum();
        if lost > self.lost {
            if self.publisher.wanted(TRACE_GROUP) {
                self.publisher.lost(TRACE_GROUP, lost - self.lost);
                self.publisher.waker().wake();
            }
            self.lost = lost;
        }
    }

    /// Says how many packets were to be logged and were not.
    fn suppressed(&mut self) {
        let suppressed: u64 = self.control.stats().map(|stats| stats.logs_suppressed.get()).sum();
        if suppressed > self.suppressed {
            let packets = suppressed - self.suppressed;
            tracing::warn!(target: "rules", packets, "more packets were to be logged than may be");
            self.suppressed = suppressed;
        }
    }
}

/// Where the packet comes from and goes to, where it says so.
fn addresses(sight: &Sight) -> Option<(String, String)> {
    let bytes = sight.network.as_slice();
    match sight.l3 {
        L3::Ipv4 => {
            let source = bytes.get(12..)?.first_chunk::<4>()?;
            let destination = bytes.get(16..)?.first_chunk::<4>()?;
            Some((Ipv4Addr::from(*source).to_string(), Ipv4Addr::from(*destination).to_string()))
        }
        L3::Ipv6 => {
            let source = bytes.get(8..)?.first_chunk::<16>()?;
            let destination = bytes.get(24..)?.first_chunk::<16>()?;
            Some((Ipv6Addr::from(*source).to_string(), Ipv6Addr::from(*destination).to_string()))
        }
        L3::Arp | L3::Other => None,
    }
}

/// Source and destination port, where the protocol has them (TCP, UDP, DCCP, SCTP, UDP-Lite).
fn ports(sight: &Sight) -> Option<(u16, u16)> {
    if !matches!(sight.l3, L3::Ipv4 | L3::Ipv6) || ![6, 17, 33, 132, 136].contains(&sight.protocol)
    {
        return None;
    }
    let [s0, s1, d0, d1] = *sight.transport.first_chunk::<4>()?;
    Some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
}
