//! A bare rx→tx loop over a device, for comparing with `dpdk-testpmd --forward-mode=io` or `macswap` on the same one.
//!
//! ```text
//! cargo run --release -p capsule --example burst -- net_ring0 io 5     # device, io|macswap|idle, seconds
//! dpdk-testpmd -l 0,1 --no-pci --no-huge -m 512 --vdev net_ring0 -- --forward-mode=io --total-num-mbufs=8192 \
//!     --tx-first --stats-period 1
//! ```
//!
//! It puts 512 frames of 60 bytes into the device first, as `--tx-first` does; on net_ring they go round for ever. Prints one
//! line per second: millions of frames per second, and nanoseconds of the worker's CPU time per frame, which a busy machine
//! disturbs less. `idle` sends nothing of its own and eases off: the share of a core that an idle worker takes, and the
//! latency of what it sends back, can be seen.

#![allow(unsafe_code)]

use std::{
    env,
    time::{Duration, Instant},
};

use capsule::{
    Disposition, Eal, EalConfig, Hugepages, IdlePolicy, Mbuf, MbufPools, PacketRx, PacketTx, Port,
    PortConfig, PortIo, Runtime, forward_burst,
};
use packet::{BURST, Burst, Frame, PacketIo, PortIndex};

/// Frames put into the device first.
const SEED: usize = 512;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = env::args().skip(1);
    let device = args.next().unwrap_or_else(|| "net_ring0".into());
    let (macswap, idle) = match args.next().as_deref() {
        None | Some("io") => (false, false),
        Some("macswap") => (true, false),
        Some("idle") => (true, true),
        Some(other) => return Err(format!("{other}: io, macswap or idle").into()),
    };
    let seconds: u64 = args.next().map_or(Ok(5), |text| text.parse())?;

    let _eal = Eal::start(&EalConfig { hugepages: Hugepages::Off, ..EalConfig::default() })?;
    let pools = MbufPools::new("burst", 8191, 256);
    let port = Port::open(&PortConfig::new("port", device), &pools)?;
    port.start()?;
    let ports = [port];
    let core = 0;
    let mut io = PortIo::for_workers(&ports, &[core], &pools)?.remove(0);
    let pool = io.pool().clone();
    let mut seeded = idle;
    let mut burst: Burst<Mbuf> = Burst::new();
    let mut report = Report { since: Instant::now(), cpu: Duration::ZERO, frames: 0 };

    let turn = move |_now: Duration| {
        let Some(queue) = io.queue_mut(PortIndex(0)) else { return 0 };
        if !seeded {
            seeded = true;
            for _ in 0..SEED / BURST {
                pool.alloc_burst(&mut burst, BURST);
                for frame in &mut burst {
                    let _room = frame.append(&[0x02; 60]);
                }
                queue.tx(&mut burst);
                burst.clear();
            }
        }
        // Several bursts per turn, as the time and the counters of a turn are the runtime's and not the loop's.
        let mut frames = 0;
        for _ in 0..if idle { 1 } else { 64 } {
            let (received, _sent) = forward_queue(queue, &mut burst, macswap);
            frames += received;
        }
        report.add(frames);
        frames
    };
    let policy = if idle { IdlePolicy::Adaptive } else { IdlePolicy::Poll };
    let runtime = Runtime::spawn(&[core], policy, Instant::now(), vec![turn])?;
    std::thread::sleep(Duration::from_secs(seconds));
    println!("{:?}", runtime.stats());
    drop(runtime.stop()?);
    Ok(())
}

/// One burst from a queue and back to it.
fn forward_queue(
    queue: &mut capsule::PortQueue,
    burst: &mut Burst<Mbuf>,
    macswap: bool,
) -> (usize, usize) {
    if !macswap {
        let received = queue.rx(burst);
        let sent = queue.tx(burst);
        burst.clear();
        return (received, sent);
    }
    forward_burst(queue, burst, |frame| {
        let Some(macs) = frame.read::<12>(0) else { return Disposition::Drop };
        let mut swapped = [0; 12];
        swapped[..6].copy_from_slice(&macs[6..]);
        swapped[6..].copy_from_slice(&macs[..6]);
        frame.write(0, swapped);
        Disposition::Emit
    })
}

/// Prints the rate once a second.
struct Report {
    since: Instant,
    cpu: Duration,
    frames: usize,
}

/// The calling thread's CPU time.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

impl Report {
    fn add(&mut self, frames: usize) {
        self.frames += frames;
        let elapsed = self.since.elapsed();
        if elapsed >= Duration::from_secs(1) {
            let (frames, cpu) = (self.frames as f64, cpu_time());
            let busy = (cpu - self.cpu).as_secs_f64();
            let (rate, share) =
                (frames / elapsed.as_secs_f64() / 1e6, 100.0 * busy / elapsed.as_secs_f64());
            println!(
                "{rate:.1} Mpps, {:.2} ns of CPU per frame, {share:.1} % of a core",
                busy * 1e9 / frames
            );
            *self = Report { since: Instant::now(), cpu, frames: 0 };
        }
    }
}
