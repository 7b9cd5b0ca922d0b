//! Everything that moves packets, started in order and stopped in the opposite one.
//!
//! # Life cycle
//!
//! [`Engine::start`]: DPDK → pools → ports → twins → Rib → rules → workers → sync thread → control thread → mirror. The netlink server answers
//! from "rules" on, and the configured ruleset is loaded then. [`Engine::stop`]: other
//! nodes (handover, goodbye) → rules → mirror → workers drain → twins → workers end → control thread → queues are emptied → ports close → the pools are counted: a
//! frame that is missing then was leaked, and is logged.
//!
//! # Who may touch what
//!
//! [`Shared`] is read by the API and the control thread; its locks are held for a moment only, and no worker knows it.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use capsule::{
    Eal, EalConfig, IdlePolicy, LogLevel, Mbuf, MbufPools, Port, PortIo, RssKey, Runtime,
};
use conntrack::shard::Shard;
use crossbeam::channel::Receiver;
use dataplane::control::{FrameQueue, Wake, WorkerHandle, WorkerLink, link};
use dataplane::notes::Note;
use dataplane::owners::{Owners, Peers};
use dataplane::rib::Rib;
use dataplane::tables::Tables;
use dataplane::worker::Worker;
use packet::Tick;
use packet::{FramePool, PortIndex};
use parking_lot::{Mutex, RwLock};
use ruleset::ids::WorkerId;
use tokio::sync::mpsc::UnboundedSender;

use crate::config::{self, DeviceKind, Hugepages, Idle, Loaded, Mode};
use crate::mirror::{Mirror, MirrorConfig, Resolver};
use crate::twin::{Taps, TwinQueues, TwinSpec, TwinWaker, Twins};

use super::below::Below;
use super::control::{Control, ControlThread, Duties, Rope, icmp_share};
use super::error::DaemonError;
use super::flows::{Flows, share};
use super::ha;
use super::ports;
use super::rules::{Rules, Socket};

/// Frames that each worker keeps at hand without asking the pool.
const POOL_CACHE: u32 = 256;

/// How long workers may take to send what they hold.
const DRAIN: Duration = Duration::from_secs(2);

/// How long a device gets to send what it took before it is stopped.
const FLUSH: Duration = Duration::from_millis(10);

/// A worker's turn. Boxed: it is called once a burst.
type Turn = Box<dyn FnMut(Duration) -> usize + Send>;

/// What the API and the control thread read.
pub(super) struct Shared {
    /// When the daemon started: zero for workers' ticks and the API's uptime.
    pub(super) origin: Instant,
    /// Whether DPDK's memory comes from hugepages.
    pub(super) hugepages: bool,
    /// The Rib and the workers' counters.
    pub(super) control: Arc<Control>,
    /// The workers' flows.
    pub(super) flows: Arc<Flows>,
    /// The ports, in the configuration's order; empty once stopped.
    pub(super) ports: RwLock<Vec<Port>>,
    /// The pools of frames.
    pub(super) pools: MbufPools,
    /// The running workers.
    pub(super) runtime: Mutex<Option<Runtime<Turn>>>,
    /// The running twins.
    pub(super) twins: Mutex<Option<Twins>>,
    /// This node among others; `None`: it is alone.
    pub(super) ha: Option<Arc<ha::Handle>>,
}

/// What ends the workers' work.
#[derive(Default)]
struct Drain {
    /// Set by [`Engine::stop`], read by workers each turn.
    wanted: AtomicBool,
    /// Workers that have drained. Each adds itself once.
    done: AtomicUsize,
}

/// The queues between a worker and the twin thread, kept to be emptied at the end.
struct Queues {
    to_twin: FrameQueue<Mbuf>,
    from_twin: FrameQueue<Mbuf>,
}

/// Everything that moves packets. Fields are dropped in this order should a start fail halfway.
pub(super) struct Engine {
    /// The rules and who answers for them. First: nobody waits for workers that are gone.
    rules: Option<Rules>,
    /// The sync thread. Before the workers, whom it has hand over.
    cluster: Option<ha::Cluster>,
    mirror: Option<Mirror>,
    control_thread: Option<ControlThread>,
    /// What the API reads.
    pub(super) shared: Arc<Shared>,
    drain: Arc<Drain>,
    queues: Vec<Queues>,
    workers: usize,
    /// Restored when all else is gone.
    _below: Below,
    /// Last: DPDK ends when nobody uses it any more.
    _eal: Eal,
}

/// The twin thread's bell, for workers to ring.
struct Bell(Arc<TwinWaker>);

impl Wake for Bell {
    fn wake(&self) {
        self.0.wake();
    }
}

/// A key whose 16 bits do not repeat within themselves, or the configured one.
fn rss_key(configured: Option<u16>) -> RssKey {
    let seed = configured.unwrap_or_else(|| {
        let random = RandomState::new();
        let keys = (0u32..)
            .map(|n| random.hash_one(n).to_le_bytes())
            .map(|b| u16::from_le_bytes([b[0], b[1]]));
        let good = |key: &u16| [1, 2, 4, 8].iter().all(|by| key.rotate_left(*by) != *key);
        keys.into_iter().find(good).unwrap_or(0x6d5a)
    });
    RssKey::symmetric(seed.to_be_bytes())
}

/// A worker's part of the flow table. Its memory is taken as flows come.
fn shard(loaded: &Loaded, worker: WorkerId) -> Result<Shard, DaemonError> {
    let config::Conntrack { max, settings, .. } = &loaded.config.conntrack;
    let total = u64::from(*max.get_ref());
    let max = share(total, usize::from(worker.0), loaded.resolved.cores.len());
    let max = u32::try_from(max).unwrap_or(u32::MAX);
    let mut shard = Shard::new(conntrack::shard::Config { max, worker: worker.0 })
        .map_err(system("reserve the flow table"))?;
    *shard.settings_mut() = *settings;
    Ok(shard)
}

/// DPDK's share of the configuration.
fn eal_config(loaded: &Loaded) -> EalConfig {
    let dataplane = &loaded.config.dataplane;
    let pci = loaded.config.ports.iter().filter_map(|port| match &port.device.get_ref().kind {
        DeviceKind::Pci(address) => Some(address.clone()),
        DeviceKind::Virtual(_) => None,
    });
    EalConfig {
        memory_mib: *dataplane.memory.get_ref(),
        // The fallback of "auto" is decided, and warned of, where the line in the file is known.
        hugepages: match (dataplane.hugepages.get_ref(), loaded.resolved.hugepages) {
            (_, false) => capsule::Hugepages::Off,
            (Hugepages::Require, true) => capsule::Hugepages::Require,
            (_, true) => capsule::Hugepages::Auto,
        },
        pci: pci.collect(),
        file_prefix: Some(format!("twinwall-{}", std::process::id())),
        extra_args: dataplane.eal_args.iter().map(|arg| arg.get_ref().clone()).collect(),
        log_level: match loaded.config.log.level {
            "error" => LogLevel::Error,
            "warn" | "info" => LogLevel::Warning,
            "debug" => LogLevel::Info,
            _ => LogLevel::Debug,
        },
        ..EalConfig::default()
    }
}

impl Engine {
    /// Starts everything, rules answering on `socket`. `failed` hears of workers that end by themselves.
    ///
    /// # Errors
    ///
    /// What refused to start; what was started before it is stopped again.
    pub(super) fn start(
        loaded: &Loaded,
        socket: Socket,
        failed: UnboundedSender<DaemonError>,
    ) -> Result<Self, DaemonError> {
        let origin = Instant::now();
        let dataplane = &loaded.config.dataplane;
        let eal = Eal::start(&eal_config(loaded))?;
        eal.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
        let pools = MbufPools::new("twinwall", *dataplane.mbufs.get_ref(), POOL_CACHE);
        let rss = rss_key(dataplane.rss_key);
        let ports = ports::open(loaded, &pools, rss)?;
        for port in &ports {
            port.warnings()
                .iter()
                .for_each(|warning| tracing::warn!(port = port.name(), "{warning}"));
        }
        let cores: Vec<usize> = loaded.resolved.cores.iter().map(|core| *core as usize).collect();
        let io = PortIo::for_workers(&ports, &cores, &pools)?;

        let below = Below::quiet(loaded);
        let states = ports::states(loaded, &ports);
        let taps = Taps::create(twin_specs(loaded, &ports, cores.len()))
            .map_err(|error| ports::blame_twin(loaded, error))?;
        let twin_indices = taps.indices();
        let waker = Arc::new(TwinWaker::new().map_err(system("make an eventfd"))?);
        let mut rib = Rib::new(states);
        rib.name_ports(loaded.config.ports.iter().map(|port| port.name.get_ref().as_str()));
        let first = || std::io::Error::other("a new Rib has nothing to publish");
        let tables = rib.publish().ok_or_else(first).map_err(system("make the first tables"))?;

        let macs: Vec<[u8; 6]> = ports.iter().map(Port::mac).collect();
        let mut plan = ha::Plan::new(loaded, &macs, origin)?;
        let drain = Arc::new(Drain::default());
        let (mut turns, mut handles) = (Vec::new(), Vec::new());
        let workers = u32::try_from(cores.len()).unwrap_or(u32::MAX);
        let RssKey([high, low, ..]) = rss;
        let owners = Owners::new(
            u16::from_be_bytes([high, low]),
            u16::try_from(workers).unwrap_or(u16::MAX),
        );
        for ((n, io), peers) in (0..workers).zip(io).zip(Peers::mesh(owners)) {
            let worker = WorkerId(u16::try_from(n).unwrap_or(u16::MAX));
            let bell = Arc::new(Bell(waker.clone()));
            let (rope, handle) = link::<Mbuf>(worker, ports.len(), bell);
            let share = icmp_share(dataplane.icmp_rate, n, workers);
            let flows = shard(loaded, worker)?;
            let cluster = plan.as_mut().and_then(|plan| plan.worker(flows.capacity()));
            let rope = WorkerLink { peers, cluster, ..rope };
            turns.push(turn(io, rope, tables.clone(), flows, share, drain.clone()));
            handles.push(handle);
        }
        // The Rib needs the first tables back before it can publish twice more.
        drop(tables);
        let twin_pool = pools.on(ports.first().map_or(0, Port::socket))?;
        let twins = start_twins(taps, twin_pool, &handles, waker)?;
        let up = handles.iter().map(|handle| handle.up.clone()).collect();
        let queues = handles
            .iter()
            .map(|handle| Queues {
                to_twin: handle.to_twin.clone(),
                from_twin: handle.from_twin.clone(),
            })
            .collect();
        let notes = handles.iter().map(|handle| handle.notes.clone()).collect();
        let ropes = handles
            .into_iter()
            .map(|handle| Rope { control: handle.control, stats: handle.stats, wall: handle.wall })
            .collect();
        let control = Arc::new(Control::new(rib, ropes));
        let conntrack = &loaded.config.conntrack;
        let room = *conntrack.max.get_ref();
        let shared = Arc::new(Shared {
            origin,
            hugepages: eal.has_hugepages(),
            flows: Arc::new(Flows::new(control.clone(), owners, room, conntrack.tracking)),
            control,
            ports: RwLock::new(ports),
            pools,
            runtime: Mutex::new(None),
            twins: Mutex::new(Some(twins)),
            ha: plan.as_ref().map(ha::Plan::handle),
        });
        let mut engine = Self {
            rules: None,
            cluster: None,
            mirror: None,
            control_thread: None,
            shared,
            drain,
            queues,
            workers: cores.len(),
            _below: below,
            _eal: eal,
        };
        let idle = match dataplane.idle {
            Idle::Poll => IdlePolicy::Poll,
            Idle::Adaptive => IdlePolicy::Adaptive,
        };
        let started = engine.start_rules(loaded, socket, notes).and_then(|()| {
            let plan = plan.map(|plan| (plan, owners));
            engine.start_threads(loaded, &cores, idle, turns, up, twin_indices, plan, failed)
        });
        if let Err(error) = started {
            // Stopping says what it has to say in the log; the reason to stop is this one.
            let _ = engine.stop();
            return Err(error);
        }
        tracing::info!(
            ports = loaded.config.ports.len(),
            ?cores,
            hugepages = engine.shared.hugepages,
            "forwarding"
        );
        Ok(engine)
    }

    /// Rules before packets.
    fn start_rules(
        &mut self,
        loaded: &Loaded,
        socket: Socket,
        notes: Vec<Receiver<Note>>,
    ) -> Result<(), DaemonError> {
        let Shared { control, flows, origin, .. } = &*self.shared;
        self.rules = Some(Rules::start(socket, loaded, control, flows, notes, *origin)?);
        Ok(())
    }

    /// The rules; none once stopped.
    pub(super) fn rules(&self) -> Option<&Rules> {
        self.rules.as_ref()
    }

    #[expect(clippy::too_many_arguments, reason = "the last step of one start; each is used once")]
    fn start_threads(
        &mut self,
        loaded: &Loaded,
        cores: &[usize],
        idle: IdlePolicy,
        turns: Vec<Turn>,
        up: Vec<Receiver<dataplane::control::FromWorker>>,
        twins: Vec<(dataplane::rib::IfIndex, PortIndex)>,
        plan: Option<(ha::Plan, Owners)>,
        failed: UnboundedSender<DaemonError>,
    ) -> Result<(), DaemonError> {
        let control = &self.shared.control;
        control.set_clocks(self.shared.origin);
        control.begin();
        let runtime = Runtime::spawn(cores, idle, self.shared.origin, turns)?;
        control.run_in(runtime.threads());
        *self.shared.runtime.lock() = Some(runtime);
        if let (Some((plan, owners)), Some(rules)) = (plan, &self.rules) {
            self.cluster = Some(plan.start(control, &self.shared.flows, owners, rules.shared())?);
        }
        let resolver = Resolver::spawn()?;
        let duties = Duties {
            resolve: Box::new(move |iface, addr| resolver.ask(iface, addr)),
            tick: Box::new(watch(loaded, self.shared.clone(), failed)),
        };
        let control = self.shared.control.clone();
        let thread = ControlThread::spawn(control.clone(), up, duties)
            .map_err(system("start the control thread"))?;
        self.control_thread = Some(thread);
        self.mirror =
            Some(Mirror::spawn(MirrorConfig::new(twins), move |batch| control.apply(batch))?);
        Ok(())
    }

    /// Stops everything and leaves nothing behind.
    ///
    /// # Errors
    ///
    /// A worker that panicked. A frame that is missing is logged.
    pub(super) fn stop(mut self) -> Result<(), DaemonError> {
        // Before the rules: what it hears of them may be asked for.
        if let Some(cluster) = self.cluster.take() {
            cluster.stop();
        }
        self.rules = None;
        self.mirror = None;
        self.drain.wanted.store(true, Ordering::Release);
        let runtime = self.shared.runtime.lock().take();
        let begun = Instant::now();
        while runtime.as_ref().is_some_and(|runtime| !runtime.failed())
            && self.drain.done.load(Ordering::Acquire) < self.workers
        {
            if begun.elapsed() > DRAIN {
                tracing::warn!("workers did not drain within {DRAIN:?}");
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // The twin thread gives the kernel what the workers had for it, and goes.
        if let Some(twins) = self.shared.twins.lock().take() {
            twins.stop();
        }
        // The turns own the workers, those own their queues and frames: all freed here.
        let ended = runtime.map_or(Ok(()), |runtime| runtime.stop().map(drop));
        self.control_thread = None;
        for queues in &self.queues {
            for queue in [&queues.to_twin, &queues.from_twin] {
                while queue.pop().is_some() {}
            }
        }
        std::thread::sleep(FLUSH);
        let ports = std::mem::take(&mut *self.shared.ports.write());
        for port in &ports {
            if let Err(error) = port.stop() {
                tracing::warn!(port = port.name(), %error, "the port did not stop");
            }
        }
        drop(ports);
        for (socket, pool) in self.shared.pools.all() {
            let (missing, size) = (pool.in_use(), pool.capacity());
            if missing == 0 {
                tracing::info!(socket, size, "every frame is back in its pool");
            } else {
                tracing::warn!(socket, missing, size, "frames did not come back to their pool");
            }
        }
        ended.map_err(DaemonError::from)
    }
}

pub(super) fn system(doing: &'static str) -> impl Fn(std::io::Error) -> DaemonError {
    move |error| DaemonError::System { doing, error }
}

/// A worker's turn, which ends with draining once that is wanted.
fn turn(
    io: PortIo,
    link: WorkerLink<Mbuf>,
    tables: Arc<Tables>,
    flows: Shard,
    icmp_rate: u32,
    drain: Arc<Drain>,
) -> Turn {
    let mut worker = Worker::new(io, link, tables, flows, icmp_rate);
    let mut drained = false;
    Box::new(move |now| {
        if !drain.wanted.load(Ordering::Relaxed) {
            return worker.turn(Tick::at(now));
        }
        if !drained {
            drained = true;
            worker.drain();
            drain.done.fetch_add(1, Ordering::Release);
        }
        0
    })
}

/// A twin for each routed port. What the kernel sends on it leaves by one worker, another for each port.
fn twin_specs(loaded: &Loaded, ports: &[Port], workers: usize) -> Vec<TwinSpec> {
    let configured = loaded.config.ports.iter().zip(ports).zip(0u16..);
    configured
        .filter(|((port, _), _)| matches!(port.mode, Mode::Routed))
        .map(|((port, opened), n)| TwinSpec {
            port: PortIndex(n),
            name: port.name.get_ref().clone(),
            mac: opened.mac(),
            mtu: *port.mtu.get_ref(),
            link_up: opened.link().up,
            worker: usize::from(n) % workers.max(1),
        })
        .collect()
}

fn start_twins<P: FramePool<Frame = Mbuf>>(
    taps: Taps,
    pool: P,
    handles: &[WorkerHandle<Mbuf>],
    waker: Arc<TwinWaker>,
) -> Result<Twins, DaemonError> {
    let queues = handles
        .iter()
        .map(|handle| TwinQueues {
            to_twin: handle.to_twin.clone(),
            from_twin: handle.from_twin.clone(),
        })
        .collect();
    Ok(taps.start(pool, queues, waker)?)
}

/// What the control thread looks at now and then: links, which forwarding and twins follow, and whether workers live.
fn watch(
    loaded: &Loaded,
    shared: Arc<Shared>,
    failed: UnboundedSender<DaemonError>,
) -> impl FnMut() + Send + 'static {
    let routed: Vec<bool> =
        loaded.config.ports.iter().map(|port| matches!(port.mode, Mode::Routed)).collect();
    let mut told = false;
    move || {
        shared.control.set_clocks(shared.origin);
        for ((port, index), routed) in
            shared.ports.read().iter().zip((0u16..).map(PortIndex)).zip(&routed)
        {
            let link = port.link();
            if shared.control.set_link(index, link.up) {
                let state = if link.up { "up" } else { "down" };
                tracing::info!(port = port.name(), speed_mbps = link.speed_mbps, "link {state}");
            }
            if *routed
                && let Some(twins) = shared.twins.lock().as_mut()
                && let Err(error) = twins.set_link(index, link.up)
            {
                tracing::warn!(port = port.name(), %error, "the twin does not follow the link");
            }
        }
        if !told && shared.runtime.lock().as_ref().is_some_and(Runtime::failed) {
            told = true;
            // Nobody listens only when the daemon is stopping anyway.
            let _ = failed.send(DaemonError::WorkerEnded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_keys_do_not_repeat_themselves() {
        for _ in 0..100 {
            let RssKey(key) = rss_key(None);
            let seed = u16::from_be_bytes([key[0], key[1]]);
            assert!([1, 2, 4, 8].iter().all(|by| seed.rotate_left(*by) != seed), "{seed:04x}");
        }
        assert_eq!(rss_key(Some(0x6d5a)), RssKey::symmetric([0x6d, 0x5a]));
    }
}
