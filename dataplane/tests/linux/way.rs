//! A packet's way through a worker with two ports, tap0 and tap1, that knows of the bed what Linux knows of it.

use std::sync::Arc;

use conntrack::shard::{Config, Shard};
use dataplane::control::{self, Arrivals, FromWorker, ToWorker, Wake, WorkerHandle};
use dataplane::rib::Rib;
use dataplane::tables::{PortMode, PortState};
use dataplane::worker::Worker;
use packet::Tick;
use packet::{PortIndex, VecFrame, VecIo, VecPool};
use ruleset::ids::WorkerId;
use ruleset::program::Program;

use crate::bed::Kind;
use crate::node::{self, IN, NAMES, OUT};
use crate::packets::{arp_reply, number};

/// When all happens: as on the other side of the engine.
const NOW: Tick = Tick(1_000_000_000);

struct Nobody;

impl Wake for Nobody {
    fn wake(&self) {}
}

/// The whole pipeline.
pub(crate) struct Way {
    kind: Kind,
    worker: Worker<VecIo>,
    handle: WorkerHandle<VecFrame>,
    pool: VecPool,
}

impl Way {
    /// With the interfaces of the namespace that this thread is in.
    pub(crate) fn new(kind: Kind) -> Self {
        let modes = match kind {
            Kind::Bridged => [PortMode::Pair(OUT), PortMode::Pair(IN)],
            Kind::Routed | Kind::Arp => [PortMode::Routed; 2],
        };
        let ports =
            modes.map(|mode| PortState { mode, up: true, max_frame: 1522, vlan_insert: false });
        let mut rib = Rib::new(ports.to_vec());
        rib.name_ports(NAMES);
        node::known(&mut rib);
        let pool = VecPool::new(4096);
        let (link, handle) = control::link(WorkerId(0), 2, Arc::new(Nobody));
        // The bed's kernel answers nothing by itself, either.
        let flows = Shard::new(Config { max: 1 << 12, worker: 0 }).unwrap();
        let tables = rib.publish().unwrap();
        let worker = Worker::new(VecIo::new(2, pool.clone()), link, tables, flows, 0);
        Self { kind, worker, handle, pool }
    }

    /// What comes of frames that go into tap0, one after the other, or in bursts.
    pub(crate) fn pass(
        &mut self,
        program: &Arc<Program>,
        frames: &[Vec<u8>],
        singly: bool,
    ) -> Vec<Option<Vec<u8>>> {
        self.load(program);
        let mut out = vec![None; frames.len()];
        if self.kind == Kind::Arp {
            for (frame, place) in frames.iter().zip(&mut out) {
                self.receive(frame);
                self.work();
                *place = self.sent(IN).pop();
            }
        } else {
            for frame in frames {
                self.receive(frame);
                if singly {
                    self.work();
                }
            }
            self.work();
            self.sent(IN);
            for frame in self.sent(OUT) {
                if let Some(place) = number(&frame).and_then(|number| out.get_mut(number)) {
                    *place = Some(frame);
                }
            }
        }
        assert_eq!(self.pool.outstanding(), 0, "frames leaked");
        out
    }

    fn load(&mut self, program: &Arc<Program>) {
        let (_arrivals, arrivals) = Arrivals::new(1);
        for arrival in arrivals {
            self.handle.control.send(ToWorker::Program(program.clone(), arrival)).unwrap();
        }
    }

    /// What leaves by each port for one frame that goes into tap0, answers among it.
    pub(crate) fn through(&mut self, program: &Arc<Program>, frame: &[u8]) -> [Vec<Vec<u8>>; 2] {
        self.load(program);
        // Begins the limit anew: as many answers as are wanted.
        self.handle.control.send(ToWorker::IcmpRate(1000)).unwrap();
        self.receive(frame);
        self.work();
        [IN, OUT].map(|port| self.sent(port))
    }

    fn receive(&mut self, bytes: &[u8]) {
        let frame = self.pool.frame(bytes).unwrap();
        self.worker.io().push_rx(IN, frame);
    }

    /// Turns until nothing is left to do. What the kernel is asked, it answers.
    fn work(&mut self) {
        while self.worker.turn(NOW) > 0 {
            while let Some((port, frame)) = self.handle.to_twin.pop() {
                if self.kind == Kind::Arp
                    && let Some(reply) = arp_reply(&frame.to_vec())
                {
                    let reply = self.pool.frame(&reply).unwrap();
                    assert!(self.handle.from_twin.push((port, reply)).is_ok());
                }
            }
        }
        for message in self.handle.up.try_iter() {
            assert!(!matches!(message, FromWorker::Resolve { .. }), "all neighbours are known");
        }
    }

    fn sent(&mut self, port: PortIndex) -> Vec<Vec<u8>> {
        self.worker.io().drain_sent(port).map(|frame| frame.to_vec()).collect()
    }
}
