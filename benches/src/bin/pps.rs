//! `pps`: what one packet costs in the pipeline, in process, on one core, without a device. See benches/README.md.

use std::{
    process::Command,
    sync::Barrier,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use benches::{
    cluster,
    images::Images,
    node,
    ring_io::RingIo,
    scenario::{self, Name, Options, Size},
    stats::Spread,
};
use clap::Parser;
use conntrack::shard::{Config, Shard};
use dataplane::{
    control::{self, Arrivals, ToWorker, WorkerLink},
    owners::{Owners, Peers},
    worker::Worker,
};
use packet::{ChecksumStatus, Layers, Tick, VecFrame, VecPool};
use quanta::Clock;
use ruleset::ids::WorkerId;
use serde_json::json;

/// Frames that are received between two looks at the clock: as many as a card's receive ring holds.
const RING: usize = 1024;

/// When the flows that packets of the warm-up began have gone on for long enough.
const SETTLED: Tick = Tick(5_000_000_000);

/// Drives the packet path in process on one core and prints packets per second, ns and cycles per packet.
#[derive(Debug, Parser)]
struct Args {
    /// What is measured
    #[arg(long, value_enum, default_value_t = Name::Route)]
    scenario: Name,
    /// Distinct 5-tuples
    #[arg(long, default_value_t = 1_000_000)]
    flows: usize,
    /// Routes in the table
    #[arg(long, default_value_t = 1_000)]
    routes: usize,
    /// Rules that each packet meets, in scenario rules
    #[arg(long, default_value_t = 10)]
    rules: usize,
    /// In scenario mixed, of so many packets one begins a flow
    #[arg(long, default_value_t = 50)]
    new_every: usize,
    /// 4 or 6
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=6))]
    family: u8,
    /// Bytes on the wire with FCS, or imix, or a .pcap file
    #[arg(long, default_value = "64")]
    size: Size,
    /// Draw flows by Zipf's law with this exponent, instead of one after the other
    #[arg(long)]
    zipf: Option<f64>,
    /// The device says that checksums are good, as cards do; without, software verifies the IPv4 header
    #[arg(long)]
    rx_checksum: bool,
    /// Frames that go round
    #[arg(long, default_value_t = 4096)]
    frames: usize,
    /// Measured runs
    #[arg(long, default_value_t = 15)]
    runs: usize,
    /// Packets in each run
    #[arg(long, default_value_t = 1 << 20)]
    packets: usize,
    /// So many workers, on cores from 0 on, each of which receives the packets of its own flows, as a card spreads them
    #[arg(long, default_value_t = 1)]
    workers: u16,
    /// As the owner of a cluster, which says what changes in its flows; the thread that sends it runs on another core
    #[arg(long)]
    cluster: bool,
    /// The core to run on [default: the last]
    #[arg(long)]
    core: Option<usize>,
    /// Where randomness begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Count instructions per packet under valgrind's callgrind instead of time
    #[arg(long)]
    instructions: bool,
    /// Where callgrind leaves its profile (for callgrind_annotate) [default: it is deleted]
    #[arg(long)]
    callgrind_out: Option<std::path::PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Run so many packets without a clock: what --instructions runs under callgrind
    #[arg(long, hide = true)]
    counted: Option<usize>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.instructions {
        return count_instructions(&args);
    }
    let options = Options {
        family: args.family,
        flows: args.flows.max(1),
        routes: args.routes,
        rules: args.rules,
        new_every: args.new_every,
        size: args.size.clone(),
        zipf: args.zipf,
        seed: args.seed,
    };
    if args.workers > 1 {
        return spread_out(&args, &options);
    }
    let setup = scenario::build(args.scenario, &options)?;
    let mut bench = Bench::new(setup, &args, Peers::alone(WorkerId(0)))?;
    let core =
        args.core.map_or_else(|| std::thread::available_parallelism().map(|n| n.get() - 1), Ok)?;
    let pinned = benches::pin(core);

    bench.warm_up(args.counted.unwrap_or(args.packets));
    if let Some(packets) = args.counted {
        bench.run_counted(packets);
        return Ok(());
    }
    bench.mix_in();
    let runs: Vec<Run> = (0..args.runs.max(1)).map(|_| bench.run(args.packets)).collect();
    bench.check()?;

    let ns = Spread::of(runs.iter().map(|run| run.ns));
    let cycles = Spread::of(runs.iter().map(|run| run.cycles));
    let mean = Spread::of(runs.iter().map(|run| run.mean_ns));
    let mpps = Spread { min: 1e3 / ns.max, median: 1e3 / ns.median, max: 1e3 / ns.min };
    if args.json {
        let result = json!({
            "scenario": format!("{:?}", args.scenario).to_lowercase(),
            "family": args.family,
            "flows": bench.images.len(),
            "routes": args.routes,
            "rules": args.rules,
            "frame_bytes": bench.images.mean_size(),
            "zipf": args.zipf,
            "rx_checksum": args.rx_checksum,
            "runs": runs.len(),
            "packets_per_run": args.packets,
            "core": core,
            "pinned": pinned,
            "mpps": spread(mpps),
            "ns_per_packet": spread(ns),
            "cycles_per_packet": spread(cycles),
            "mean_ns_per_packet": spread(mean),
        });
        println!("{result:#}");
        return Ok(());
    }
    println!(
        "{:?}: IPv{}, {} flows, {} routes, {:.0} B, {} runs of {} packets on core {core}{}",
        args.scenario,
        args.family,
        bench.images.len(),
        args.routes,
        bench.images.mean_size(),
        runs.len(),
        args.packets,
        if pinned { "" } else { " (not pinned)" },
    );
    if bench.mixed.is_some() {
        let rate = |ns: f64| 1e6 / (ns * args.new_every as f64);
        println!(
            "{:.0} thousand new flows/s, {:.2} ns by the mean",
            rate(mean.median),
            mean.median
        );
    }
    println!("{:>22} {:>8} {:>8} {:>8}", "", "min", "median", "max");
    for (name, spread) in [("Mpps", mpps), ("ns per packet", ns), ("TSC cycles per packet", cycles)]
    {
        println!("{name:>20} {:8.2} {:8.2} {:8.2}", spread.min, spread.median, spread.max);
    }
    Ok(())
}

/// Several workers at once, each a thread on a core of its own with the flows that are its.
fn spread_out(args: &Args, options: &Options) -> Result<()> {
    let owners = Owners::new(0x6d5a, args.workers);
    let barrier = Barrier::new(args.workers.into());
    let one = |peers: Peers<VecFrame>| -> Result<f64> {
        let me = peers.me();
        let mut setup = scenario::build(args.scenario, options)?;
        let pool = VecPool::new(1);
        setup.images.retain(|head| {
            let frame = pool.frame(head);
            frame.is_some_and(|frame| owners.of(&Layers::of(&frame).key) == me)
        });
        let mut bench = Bench::new(setup, args, peers)?;
        ensure!(benches::pin(me.0.into()), "worker {} has no core of its own", me.0);
        bench.warm_up(args.packets);
        barrier.wait();
        let runs = (0..args.runs.max(1)).map(|_| bench.run(args.packets).ns);
        let ns = Spread::of(runs).median;
        bench.check()?;
        Ok(1e3 / ns)
    };
    let each: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            Peers::mesh(owners).into_iter().map(|peers| scope.spawn(|| one(peers))).collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended.map(|ended| ended.map_err(|_| anyhow!("a worker panicked"))?).collect::<Result<_>>()
    })?;
    println!(
        "{:?}: {} workers at once: {each:.2?} Mpps, together {:.2}",
        args.scenario,
        each.len(),
        each.iter().sum::<f64>()
    );
    Ok(())
}

fn spread(spread: Spread) -> serde_json::Value {
    let round = |n: f64| (n * 100.0).round() / 100.0;
    json!({ "min": round(spread.min), "median": round(spread.median), "max": round(spread.max) })
}

/// One run, per packet. Rounds of [`RING`] packets are timed one by one: their median leaves out rounds in which another
/// process had the core, their mean has everything in it.
struct Run {
    ns: f64,
    cycles: f64,
    mean_ns: f64,
}

struct Bench {
    worker: Worker<RingIo>,
    /// The control side's ends: nobody listens, but they stay open.
    _handle: control::WorkerHandle<packet::VecFrame>,
    _sync: Option<cluster::Cluster>,
    images: Images,
    leaving: u64,
    received: u64,
    clock: Clock,
    start: Instant,
    answered: bool,
    pace: Duration,
    passed: Duration,
    mixed: Option<(usize, usize)>,
}

impl Bench {
    fn new(mut setup: scenario::Setup, args: &Args, peers: Peers<VecFrame>) -> Result<Self> {
        let tables = setup.rib.publish().context("the scenario has no tables")?;
        let checksum =
            if args.rx_checksum { ChecksumStatus::Good } else { ChecksumStatus::Unknown };
        let (link, handle) = control::link(peers.me(), node::PORTS, node::no_twin());
        let (cluster, sync) = if args.cluster {
            let (link, sync) = cluster::join(setup.tracked.max(1 << 10))?;
            (Some(link), Some(sync))
        } else {
            (None, None)
        };
        let link = WorkerLink { peers, cluster, ..link };
        let io = RingIo::new(args.frames.max(RING), checksum)?;
        let flows = Shard::new(Config { max: setup.tracked.max(1 << 10), worker: 0 })?;
        let mut worker = Worker::new(io, link, tables, flows, 1000);
        let (_nobody_waits, each) = Arrivals::new(1);
        for arrival in each {
            let program = ToWorker::Program(setup.program.clone(), arrival);
            handle.control.send(program).ok().context("the worker is gone")?;
        }
        worker.turn(Tick(0));
        Ok(Self {
            worker,
            _handle: handle,
            _sync: sync,
            images: setup.images,
            leaving: setup.leaving,
            received: 0,
            clock: Clock::new(),
            start: Instant::now(),
            answered: setup.answered,
            pace: Duration::from_secs(setup.pace),
            passed: Duration::from_nanos(SETTLED.0),
            mixed: setup.mixed,
        })
    }

    fn fill(&mut self) -> usize {
        let n = self.worker.io().fill(&self.images, RING);
        self.received += n as u64;
        n
    }

    /// The clock runs only while the worker turns, not while frames are filled.
    fn run(&mut self, packets: usize) -> Run {
        self.passed += self.pace;
        let (mut ns, mut cycles) = (Vec::new(), Vec::new());
        let mut done = 0;
        while done < packets {
            let n = self.fill();
            done += n;
            let now = Tick::at(self.passed + self.start.elapsed());
            let start = Instant::now();
            let first = self.clock.raw();
            turn_until_empty(&mut self.worker, now);
            cycles.push((self.clock.raw() - first) as f64 / n as f64);
            ns.push(start.elapsed().as_nanos() as f64 / n as f64);
        }
        let mean_ns = ns.iter().sum::<f64>() / ns.len() as f64;
        Run { ns: Spread::of(ns).median, cycles: Spread::of(cycles).median, mean_ns }
    }

    fn warm_up(&mut self, packets: usize) {
        let mut done = 0;
        let packets = if self.answered { packets.max(self.images.len()) } else { packets };
        while self.answered && done < packets {
            done += self.fill();
            for answer in [true, false] {
                self.worker.io().answer = answer;
                while self.worker.io().waiting() > 0 {
                    self.worker.turn(Tick(0));
                }
            }
        }
        // Once more, and again: a flow that goes on for some seconds is assured, and then what rules say of it is remembered.
        for _ in 0..if self.answered { 2 } else { 1 } {
            done = 0;
            while done < packets {
                done += self.fill();
                while self.worker.io().waiting() > 0 {
                    self.worker.turn(SETTLED);
                }
            }
        }
    }

    /// New flows come from now on, too, where the scenario has some.
    fn mix_in(&mut self) {
        if let Some((known, every)) = self.mixed {
            self.images.mix_in(known, every);
        }
    }

    fn run_counted(&mut self, packets: usize) {
        let mut done = 0;
        while done < packets {
            done += self.fill();
            turn_until_empty(&mut self.worker, SETTLED);
        }
    }

    /// Every packet must have left that the scenario says does.
    fn check(&mut self) -> Result<()> {
        let received = self.received;
        let io = self.worker.io();
        ensure!(
            io.sent * 1000 >= received * self.leaving,
            "of {received} packets {} were sent and {} freed: this is not what was to be measured",
            io.sent,
            io.freed,
        );
        Ok(())
    }
}

/// What is measured. Callgrind is told to count in here alone, so it keeps its name.
#[inline(never)]
fn turn_until_empty(worker: &mut Worker<RingIo>, now: Tick) {
    while worker.io().waiting() > 0 {
        worker.turn(now);
    }
}

/// Runs this program again under callgrind, which counts instructions inside of `turn_until_empty` only.
fn count_instructions(args: &Args) -> Result<()> {
    let packets = args.packets.min(1 << 17).next_multiple_of(RING);
    let file = args.callgrind_out.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("pps-callgrind.{}", std::process::id()))
    });
    let own = std::env::args()
        .skip(1)
        .filter(|arg| !["--instructions", "--json"].contains(&arg.as_str()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*turn_until_empty*"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe()?)
        .args(own)
        .args(["--counted", &packets.to_string()])
        .output()
        .context("running valgrind (package valgrind)")?;
    ensure!(output.status.success(), "valgrind: {}", String::from_utf8_lossy(&output.stderr));
    let profile = std::fs::read_to_string(&file)?;
    if args.callgrind_out.is_none() {
        std::fs::remove_file(&file)?;
    }
    let total: u64 = profile
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")))
        .and_then(|n| n.split(' ').next()?.parse().ok())
        .context("callgrind's profile has no total")?;
    ensure!(total > 0, "callgrind saw no call of turn_until_empty");
    let each = total as f64 / packets as f64;
    if args.json {
        println!(
            "{:#}",
            json!({ "instructions_per_packet": (each * 10.0).round() / 10.0, "packets": packets })
        );
    } else {
        println!("{each:.1} instructions per packet ({packets} packets)");
    }
    Ok(())
}
