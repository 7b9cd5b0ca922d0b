//! `vdev`: what the pipeline costs on a DPDK device, against testpmd's `macswap` on the same one. See benches/README.md.
//!
//! Both run for a few seconds, in turns, on one core over `net_ring0`, where what is sent is received again: 512 UDP frames of
//! 64 B go round for ever. testpmd swaps two MAC addresses; ours is the whole worker: control messages, twins' queue, rx,
//! parse, route among 1,000 routes, rewrite, tx. What a frame cost is the thread's CPU time divided by frames, which says the
//! same on a busy machine. TTLs are put back at sending, or frames would die: ours pays for that too.

use std::{
    io::Write,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use benches::{node, random::Random, routes, stats::Spread};
use capsule::{
    Eal, EalConfig, Hugepages, IdlePolicy, Mbuf, MbufPool, MbufPools, Port, PortConfig, PortIo,
    Runtime,
};
use clap::Parser;
use conntrack::shard::{Config, Shard};
use dataplane::{control, worker::Worker};
use etherparse::PacketBuilder;
use packet::Tick;
use packet::{BURST, Burst, Frame, PacketIo, PortIndex};
use ruleset::ids::WorkerId;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

const DEVICE: &str = "net_ring0";
/// Frames that go round; less than the ring holds.
const FRAMES: usize = 512;
const TTL: u8 = 64;

/// The pipeline on a DPDK device against testpmd macswap on the same.
#[derive(Debug, Parser)]
struct Args {
    /// Runs of each
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Seconds of each run
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// The core to run on [default: the last]
    #[arg(long)]
    core: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// One run of ours; prints ns per frame. EAL starts once per process, so each run is a process.
    #[arg(long, hide = true)]
    ours: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let last = std::thread::available_parallelism()?.get() - 1;
    let core = args.core.unwrap_or(last);
    if args.ours {
        println!("{}", ours(core, Duration::from_secs(args.seconds))?);
        return Ok(());
    }
    let (mut pipeline, mut macswap) = (Vec::new(), Vec::new());
    for _ in 0..args.runs.max(1) {
        macswap.push(testpmd(core, Duration::from_secs(args.seconds))?);
        let output = Command::new(std::env::current_exe()?)
            .args(["--ours", "--core", &core.to_string(), "--seconds", &args.seconds.to_string()])
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(output.status.success(), "the run of ours failed");
        pipeline.push(String::from_utf8(output.stdout)?.trim().parse::<f64>()?);
    }
    let ratio = Spread::of(pipeline.iter().zip(&macswap).map(|(ours, theirs)| ours / theirs));
    let (pipeline, macswap) = (Spread::of(pipeline), Spread::of(macswap));
    if args.json {
        let spread = |s: Spread| json!({ "min": s.min, "median": s.median, "max": s.max });
        let result = json!({
            "device": DEVICE,
            "runs": args.runs,
            "pipeline_ns": spread(pipeline),
            "macswap_ns": spread(macswap),
            "ratio": spread(ratio),
        });
        println!("{result:#}");
        return Ok(());
    }
    println!(
        "{DEVICE}, {FRAMES} frames of 64 B, {} runs of {} s on core {core}: ns of CPU time per frame",
        args.runs, args.seconds
    );
    println!("{:>18} {:>8} {:>8} {:>8}", "", "min", "median", "max");
    for (name, s) in [("testpmd macswap", macswap), ("pipeline", pipeline), ("ratio", ratio)] {
        println!("{name:>18} {:8.2} {:8.2} {:8.2}", s.min, s.median, s.max);
    }
    Ok(())
}

/// ns of CPU time per frame that testpmd's forwarding thread took.
fn testpmd(core: usize, time: Duration) -> Result<f64> {
    let child = Command::new("dpdk-testpmd")
        .args([
            "--lcores",
            &format!("0@0,1@{core}"),
            "--no-pci",
            "--no-huge",
            "-m",
            "512",
            "--no-shconf",
            "--no-telemetry",
        ])
        .args([
            "--vdev",
            DEVICE,
            "--",
            "--forward-mode=macswap",
            "--total-num-mbufs=8192",
            "--tx-first",
            "--no-mlockall",
        ])
        .args(["--txpkts=60", &format!("--txd={}", 512), &format!("--rxd={}", 512)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("starting dpdk-testpmd (package dpdk)")?;
    let mut child = Killed(child);
    std::thread::sleep(time + Duration::from_secs(1));
    let cpu = thread_time(child.0.id(), "worker-1")
        .context("testpmd has no forwarding thread: did it start?")?;
    child.0.stdin.take().context("no pipe")?.write_all(b"\n")?;
    let mut output = String::new();
    std::io::Read::read_to_string(&mut child.0.stdout.take().context("no pipe")?, &mut output)?;
    child.0.wait()?;
    let frames: f64 = output
        .lines()
        .find_map(|line| line.trim().strip_prefix("RX-packets:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .context("testpmd printed no count")?;
    ensure!(frames > 0.0, "testpmd forwarded nothing");
    Ok(cpu.as_nanos() as f64 / frames)
}

/// A child that does not outlive this process's interest in it.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It has ended already, but after an error.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// CPU time of a process's thread whose name ends so (DPDK 22.11: `rte-worker-1`), in the scheduler's nanoseconds (proc(5), `schedstat`).
fn thread_time(process: u32, name: &str) -> Result<Duration> {
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.trim().ends_with(name) {
            let stat = std::fs::read_to_string(task.join("schedstat"))?;
            let ns = stat.split(' ').next().context("empty schedstat")?.parse()?;
            return Ok(Duration::from_nanos(ns));
        }
    }
    anyhow::bail!("no thread {name}")
}

/// ns of CPU time per frame that our worker took.
fn ours(core: usize, time: Duration) -> Result<f64> {
    let _eal = Eal::start(&EalConfig { hugepages: Hugepages::Off, ..EalConfig::default() })?;
    let pools = MbufPools::new("vdev", 8191, 256);
    let port = Port::open(&PortConfig::new("port", DEVICE), &pools)?;
    port.start()?;
    let mac = port.mac();
    let ports = [port];
    let io =
        PortIo::for_workers(&ports, &[core], &pools)?.into_iter().next().context("no queues")?;

    let mut random = Random::new(1);
    let table = routes::table::<[u8; 4]>(1000, &mut random);
    let mut rib = node::loopback(mac);
    for (n, (prefix, len)) in table.iter().enumerate() {
        node::loopback_route(&mut rib, (*prefix).into(), *len, n);
    }
    let mut seeds = Vec::new();
    for dst in routes::addresses(&table, FRAMES, &mut random) {
        let builder = PacketBuilder::ethernet2(node::SOURCE_MAC, mac)
            .ipv4([198, 51, 100, 1], dst, TTL)
            .udp(1024, 53);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &[0; 18])?;
        seeds.push(bytes);
    }
    let (link, _handle) = control::link(WorkerId(0), 1, node::no_twin());
    let stats = link.stats.clone();
    let tables = rib.publish().context("no tables")?;
    let flows = Shard::new(Config { max: 1 << 10, worker: 0 })?;
    let mut worker = Worker::new(Loop(io), link, tables, flows, 1000);

    let (report, result) = mpsc::channel();
    let mut begun: Option<(Duration, u64)> = None;
    let turn = move |now: Duration| {
        for seed in seeds.drain(..) {
            let mut burst = Burst::<Mbuf>::new();
            if let Some(mut frame) = packet::FramePool::alloc(worker.io().pool())
                && frame.append(&seed)
            {
                burst.push(frame);
                worker.io().0.tx(PortIndex(0), &mut burst);
            }
        }
        // As in the daemon one turn is one burst; only the clock is looked at less often.
        let mut handled = 0;
        for _ in 0..64 {
            handled += worker.turn(Tick::at(now));
        }
        let frames = stats.port(PortIndex(0)).map_or(0, |port| port.rx_packets.get());
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        let cpu = Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32);
        match begun {
            None => {
                if now > Duration::from_millis(200) {
                    begun = Some((cpu, frames));
                }
            }
            Some((since, before)) if cpu.saturating_sub(since) > time / 2 && frames > before => {
                let ns = (cpu - since).as_nanos() as f64 / (frames - before) as f64;
                // Nobody listens any more after the first.
                let _sent = report.send(ns);
            }
            Some(_) => {}
        }
        handled
    };
    let runtime = Runtime::spawn(&[core], IdlePolicy::Poll, Instant::now(), vec![turn])?;
    let ns =
        result.recv_timeout(time * 8 + Duration::from_secs(5)).context("frames do not go round")?;
    drop(runtime.stop()?);
    Ok(ns)
}

/// A port whose frames get back at sending what the hop took from their TTL.
struct Loop(PortIo);

impl PacketIo for Loop {
    type Frame = Mbuf;
    type Pool = MbufPool;

    #[inline]
    fn rx(&mut self, port: PortIndex, into: &mut Burst<Mbuf>) -> usize {
        self.0.rx(port, into)
    }

    #[inline]
    fn tx(&mut self, port: PortIndex, burst: &mut Burst<Mbuf>) -> usize {
        const { assert!(BURST <= FRAMES) };
        for frame in burst.iter_mut() {
            if let Some([ttl, protocol, hi, lo]) = frame.read::<4>(22)
                && ttl == TTL - 1
            {
                let (sum, borrow) = u16::from_be_bytes([hi, lo]).overflowing_sub(0x0100);
                let [hi, lo] = sum.wrapping_sub(u16::from(borrow)).to_be_bytes();
                frame.write(22, [TTL, protocol, hi, lo]);
            }
        }
        self.0.tx(port, burst)
    }

    fn free(&mut self, burst: &mut Burst<Mbuf>) {
        self.0.free(burst);
    }

    fn pool(&self) -> &MbufPool {
        self.0.pool()
    }
}
