//! What a seed stands for: how the cluster is made, and what happens to it when.
//!
//! A fault has its duration in it, so that the minimiser can leave out any one of them and what is left still makes sense.

use std::fmt;

use fastrand::Rng;

pub(super) const MICRO: u64 = 1_000;
pub(super) const MILLI: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000_000_000;

/// How a link treats datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Quality {
    /// Of a hundred datagrams, how many are lost.
    pub(super) loss: u8,
    /// How many come twice.
    pub(super) twice: u8,
    /// How many take up to `late` longer, so that others pass them.
    pub(super) reordered: u8,
    pub(super) late: u64,
    /// What all take.
    pub(super) delay: u64,
}

/// How a node is made.
#[derive(Clone, Debug)]
pub(super) struct NodeShape {
    pub(super) workers: u8,
    /// Flows that each worker has room for.
    pub(super) slots: u32,
    /// Words of each ring from a worker, and of the one to it.
    pub(super) ring: usize,
    pub(super) inbound: usize,
    /// Its clock shows this more than true time.
    pub(super) offset: u64,
    /// Its clock is so many millionths too fast.
    pub(super) drift: i64,
    /// How often its workers have their turn.
    pub(super) turn: u64,
    /// How long the sync thread takes to wake.
    pub(super) wake: u64,
    /// Datagrams that its sockets keep while it sleeps.
    pub(super) socket: usize,
    /// Which of two workers a key belongs to, is decided under this secret.
    pub(super) secret: u64,
    /// Its ruleset.
    pub(super) rules: u64,
}

/// How the cluster and its traffic are made.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) seed: u64,
    pub(super) nodes: Vec<NodeShape>,
    pub(super) links: Vec<Quality>,
    /// Whether nodes take over by themselves; else the arbiter says so.
    pub(super) silence: Option<u64>,
    pub(super) authenticated: bool,
    pub(super) flush: u64,
    pub(super) bytes_per_second: u64,
    /// Datagrams that a sender remembers.
    pub(super) window: usize,
    /// Standbys that must have a deferred flow; `strict`: else its packet is dropped.
    pub(super) acks: u8,
    pub(super) strict: bool,
    /// Mean time between packets.
    pub(super) gap: u64,
    /// Connections that clients hold at the same time.
    pub(super) connections: usize,
    /// Timeouts are a second or two.
    pub(super) short_lived: bool,
    /// How long faults and traffic go on.
    pub(super) lasts: u64,
    /// Every datagram is read and what it promises is checked: I4.
    pub(super) wiretap: bool,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// A link gets another quality.
    Weather { link: u8, quality: Quality, lasts: u64 },
    /// Nothing passes from one node to another, on this link or on all.
    Cut { from: u8, to: u8, link: Option<u8>, lasts: u64 },
    /// Nothing passes between this node and all others.
    Isolate { node: u8, lasts: u64 },
    /// The node is dead, and is started again later.
    Crash { node: u8, lasts: u64 },
    /// The whole process stands still (SIGSTOP).
    Stop { node: u8, lasts: u64 },
    /// Its sync thread stands still, its workers go on.
    StopSync { node: u8, lasts: u64 },
    /// A worker is not scheduled.
    StopWorker { node: u8, worker: u8, lasts: u64 },
    /// The sync thread reads one datagram a pass.
    Slow { node: u8, lasts: u64 },
    /// The arbiter says so, rightly or not.
    Promote { node: u8, force: bool },
    /// Likewise.
    Demote { node: u8 },
    /// An operator asks for it.
    Resync { node: u8 },
    /// Likewise.
    Verify { node: u8 },
    /// The node gets another ruleset.
    Ruleset { node: u8, rules: u64 },
    /// Somebody sends the node what he should not.
    Forge { node: u8, kind: Forgery },
    /// A full disk: nothing can be saved.
    Disk { node: u8, lasts: u64 },
    /// A standby loses one of the flows that it has, and believes that it ended.
    Tear { node: u8, which: u32 },
}

/// What a stranger sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Forgery {
    /// What was sent before, again.
    Replay,
    /// What was sent before, cut short.
    Truncated,
    /// What was sent before, with a bit turned.
    Flipped,
    /// What was sent before, under another name.
    Renamed,
    /// Anything.
    Noise,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) at: u64,
    pub(super) fault: Fault,
}

/// All that happens.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) shape: Shape,
    pub(super) events: Vec<Event>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:#?}", self.shape)?;
        self.events.iter().try_for_each(|Event { at, fault }| {
            writeln!(f, "{:>10.3} ms  {fault:?}", *at as f64 / MILLI as f64)
        })
    }
}

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

impl Quality {
    fn any(rng: &mut Rng) -> Self {
        Self {
            loss: pick(rng, &[0, 0, 0, 1, 5, 20, 40]),
            twice: pick(rng, &[0, 0, 5, 30]),
            reordered: pick(rng, &[0, 0, 10, 50]),
            late: rng.u64(100 * MICRO..20 * MILLI),
            delay: rng.u64(10 * MICRO..500 * MICRO),
        }
    }
}

impl Schedule {
    /// The schedule of a seed.
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x7477_6e77_616c_6c21);
        let rng = &mut rng;
        let count = pick(rng, &[2, 2, 3]);
        let rules = rng.u64(..);
        let small = rng.u8(..8) == 0;
        let nodes = (0..count)
            .map(|node| NodeShape {
                workers: rng.u8(1..=3),
                slots: if small && node > 0 { 8 } else { pick(rng, &[64, 64, 128]) },
                ring: pick(rng, &[256, 512, 4096]),
                inbound: pick(rng, &[16_384, 65_536]),
                offset: rng.u64(SECOND..1000 * SECOND),
                drift: rng.i64(-1000..=1000),
                turn: rng.u64(30 * MICRO..400 * MICRO),
                wake: rng.u64(5 * MICRO..100 * MICRO),
                socket: pick(rng, &[16, 256]),
                secret: rng.u64(..),
                rules: if rng.u8(..10) == 0 { rng.u64(..) } else { rules },
            })
            .collect();
        let shape = Shape {
            seed,
            nodes,
            links: (0..pick(rng, &[1, 1, 2])).map(|_| Quality::any(rng)).collect(),
            silence: (rng.u8(..4) == 0).then_some(100 * MILLI),
            authenticated: rng.u8(..4) != 0,
            flush: pick(rng, &[0, 100 * MICRO, 200 * MICRO]),
            bytes_per_second: pick(rng, &[1 << 20, 125_000_000, 125_000_000]),
            window: pick(rng, &[16, 64, 65_536]),
            acks: 1,
            strict: rng.bool(),
            gap: pick(rng, &[100 * MICRO, 400 * MICRO, 2 * MILLI]),
            connections: pick(rng, &[4, 20, 40, 60]),
            short_lived: rng.u8(..4) == 0,
            lasts: pick(rng, &[100, 300, 300, 600]) * MILLI,
            wiretap: rng.u8(..2) == 0,
        };
        let mut schedule = Self { shape, events: Vec::new() };
        for _ in 0..rng.usize(..12) {
            schedule.add(rng);
        }
        schedule.events.sort_by_key(|event| event.at);
        schedule
    }

    /// A schedule of a seed in which much is lost and rings are full: many packets, small rings, sync threads that stand still.
    pub(super) fn crowded(seed: u64) -> Self {
        let mut schedule = Self::new(seed);
        let shape = &mut schedule.shape;
        for node in &mut shape.nodes {
            (node.ring, node.slots, node.socket) = (256, node.slots.max(128), 256);
        }
        for link in &mut shape.links {
            (link.loss, link.reordered) = (link.loss.max(20), link.reordered.max(10));
        }
        (shape.gap, shape.connections, shape.wiretap) = (50 * MICRO, 40, true);
        shape.lasts = 200 * MILLI;
        let mut rng = Rng::with_seed(seed ^ 0x6372_6f77);
        for _ in 0..6 {
            let node = rng.u8(..shape.nodes.len() as u8);
            let lasts = rng.u64(5 * MILLI..60 * MILLI);
            let at = rng.u64(20 * MILLI..shape.lasts);
            schedule.events.push(Event { at, fault: Fault::StopSync { node, lasts } });
        }
        schedule.events.sort_by_key(|event| event.at);
        schedule
    }

    /// A schedule of a seed in which standbys lose flows without noticing. The owner stays the same: from another nobody could have them.
    pub(super) fn torn(seed: u64) -> Self {
        let mut schedule = Self::new(seed);
        let shape = &mut schedule.shape;
        for node in &mut shape.nodes {
            node.slots = node.slots.max(128);
        }
        (shape.silence, shape.short_lived) = (None, false);
        schedule.events.retain(|event| {
            use Fault::{Cut, Forge, Resync, Ruleset, Slow, StopWorker, Verify, Weather};
            let cuts = matches!(event.fault, Cut { .. } | Weather { .. } | Slow { .. });
            let asks = matches!(event.fault, Resync { .. } | Verify { .. } | Ruleset { .. });
            cuts || asks || matches!(event.fault, StopWorker { .. } | Forge { .. })
        });
        let mut rng = Rng::with_seed(seed ^ 0x746f_726e);
        for _ in 0..rng.usize(1..4) {
            let node = rng.u8(..shape.nodes.len() as u8);
            let at = rng.u64(50 * MILLI..shape.lasts);
            let which = rng.u32(..);
            schedule.events.push(Event { at, fault: Fault::Tear { node, which } });
        }
        schedule.events.sort_by_key(|event| event.at);
        schedule
    }

    /// Adds a fault, and now and then the mistakes that go with it.
    fn add(&mut self, rng: &mut Rng) {
        let shape = &self.shape;
        let count = shape.nodes.len() as u8;
        let node = rng.u8(..count);
        let other = (node + rng.u8(1..count.max(2))) % count;
        let at = rng.u64(10 * MILLI..shape.lasts);
        let lasts = pick(rng, &[2, 10, 50, 120, 250]) * MILLI + rng.u64(..MILLI);
        let link = (rng.u8(..3) != 0).then(|| rng.u8(..shape.links.len() as u8));
        let fault = match rng.u8(..28) {
            0..=2 => Fault::Weather {
                link: rng.u8(..shape.links.len() as u8),
                quality: Quality::any(rng),
                lasts,
            },
            3 | 4 => Fault::Cut { from: node, to: other, link, lasts },
            5 | 6 => Fault::Isolate { node, lasts },
            7..=9 => Fault::Crash { node, lasts },
            10 | 11 => Fault::Stop { node, lasts },
            12 => Fault::StopSync { node, lasts },
            13 => Fault::StopWorker {
                node,
                worker: rng.u8(..shape.nodes[usize::from(node)].workers),
                lasts,
            },
            14 => Fault::Slow { node, lasts },
            15..=17 => Fault::Promote { node, force: rng.bool() },
            18 | 19 => Fault::Demote { node },
            20 => Fault::Resync { node },
            21 => Fault::Verify { node },
            22 => Fault::Ruleset { node, rules: rng.u64(..) },
            23 => Fault::Disk { node, lasts },
            24 | 25 => Fault::Demote { node },
            _ => Fault::Forge {
                node,
                kind: pick(
                    rng,
                    &[
                        Forgery::Replay,
                        Forgery::Truncated,
                        Forgery::Flipped,
                        Forgery::Renamed,
                        Forgery::Noise,
                    ],
                ),
            },
        };
        self.events.push(Event { at, fault });
        // Who thinks that the owner is dead has another one promoted; two arbiters do it at once.
        let gone =
            matches!(fault, Fault::Isolate { .. } | Fault::Crash { .. } | Fault::Stop { .. });
        if gone && rng.bool() {
            let at = at + rng.u64(5 * MILLI..60 * MILLI);
            self.events
                .push(Event { at, fault: Fault::Promote { node: other, force: rng.bool() } });
        }
        if matches!(fault, Fault::Promote { .. }) && rng.u8(..3) == 0 {
            let force = rng.bool();
            self.events.push(Event { at, fault: Fault::Promote { node: other, force } });
        }
    }

    /// Whether a node has less room than another: its table cannot be equal.
    pub(super) fn has_small_table(&self) -> bool {
        let room = |node: &NodeShape| u32::from(node.workers) * node.slots;
        let needed = self.shape.connections as u32 * 2;
        self.shape.nodes.iter().any(|node| node.slots < 64 || room(node) < needed)
    }
}
