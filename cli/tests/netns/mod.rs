//! A network namespace per test, the tools that configure it, and this test in the place of workers and neighbours.
#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cli::mirror::{Batch, Cause, Mirror, MirrorConfig};
use cli::twin::{Taps, TwinQueues, TwinSpec, TwinWaker, Twins};
use dataplane::rib::{
    Change, IfIndex, Iface, NeighbourState, Prefix, Route, RouteKind, RouteTable,
};
use packet::{PortIndex, RxMeta, VecFrame, VecPool};

/// Nothing here takes longer on a machine that is merely busy.
const PATIENCE: Duration = Duration::from_secs(30);

struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// Runs `test` in a thread that is in a new network namespace, as are the threads and processes that it starts. Its
/// argument is a folder for files.
pub(crate) fn inside(test: impl FnOnce(&Path) + Send) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: this test makes network namespaces, which needs root");
        return;
    }
    let name = format!("twmirror-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let output =
        Command::new("ip").args(["netns", "add", &name]).output().expect("iproute2 is installed");
    assert!(output.status.success(), "{output:?}");
    let namespace = Namespace(name);
    let folder = tempfile::tempdir().unwrap();
    let result = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let file = std::fs::File::open(Path::new("/run/netns").join(&namespace.0)).unwrap();
                rustix::thread::move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&file),
                    Some(rustix::thread::LinkNameSpaceType::Network),
                )
                .unwrap();
                ip("link set lo up");
                test(folder.path());
            })
            .join()
    });
    drop(namespace);
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

fn run_ip(args: &str) -> Output {
    Command::new("ip").args(args.split_whitespace()).output().expect("iproute2 is installed")
}

/// Runs `ip` with these words; it must succeed.
pub(crate) fn ip(args: &str) -> String {
    let output = run_ip(args);
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `ip` with these words, whatever comes of it.
pub(crate) fn try_ip(args: &str) {
    run_ip(args);
}

/// Whether `ip` fails with these words.
pub(crate) fn ip_fails(args: &str) -> bool {
    !run_ip(args).status.success()
}

/// Runs `ip -batch` over these lines.
pub(crate) fn batch(folder: &Path, lines: impl Iterator<Item = String>) {
    let file = folder.join("batch");
    std::fs::write(&file, lines.map(|line| line + "\n").collect::<String>()).unwrap();
    ip(&format!("-batch {}", file.display()));
}

/// Whether every ping came back.
pub(crate) fn ping(args: &str) -> bool {
    Command::new("ping")
        .args(["-q"])
        .args(args.split_whitespace())
        .output()
        .expect("ping is installed")
        .status
        .success()
}

/// Sets a sysctl of the namespace.
pub(crate) fn write_sysctl(name: &str, value: &str) {
    std::fs::write(Path::new("/proc/sys").join(name), value).unwrap();
}

/// Waits for `condition`.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The processor time of this process's threads of that name, other tests' included.
pub(crate) fn cpu_of(thread: &str) -> Duration {
    let ticks: u64 = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok())
        .filter(|stat| stat.contains(&format!("({thread})")))
        .map(|stat| {
            let fields: Vec<u64> = stat
                .rsplit(')')
                .next()
                .unwrap()
                .split_whitespace()
                .map(|field| field.parse().unwrap_or(0))
                .collect();
            fields[11] + fields[12] // utime and stime, in hundredths of a second
        })
        .sum();
    Duration::from_millis(10 * ticks)
}

/// A twin for `port`, with link.
pub(crate) fn spec(port: PortIndex, name: &str) -> TwinSpec {
    let mac = [2, 0, 0, 0, 0, 1 + port.0 as u8];
    TwinSpec { port, name: name.to_owned(), mac, mtu: 1500, link_up: true, worker: 0 }
}

/// Twins with this test as their worker.
pub(crate) struct Net {
    pub(crate) twins: Twins,
    pub(crate) queues: TwinQueues<VecFrame>,
    pub(crate) pool: VecPool,
    waker: Arc<TwinWaker>,
}

impl Net {
    pub(crate) fn start(taps: Taps) -> Self {
        let (pool, queues) = (VecPool::new(1024), TwinQueues::new(256));
        let waker = Arc::new(TwinWaker::new().unwrap());
        let twins = taps.start(pool.clone(), vec![queues.clone()], waker.clone()).unwrap();
        Self { twins, queues, pool, waker }
    }

    pub(crate) fn index(&self, port: PortIndex) -> IfIndex {
        self.twins.indices().iter().find(|(_, other)| *other == port).unwrap().0
    }

    /// Gives a frame to the kernel.
    pub(crate) fn send(&self, port: PortIndex, frame: VecFrame) {
        self.queues.to_twin.push((port, frame)).unwrap();
        self.waker.wake();
    }

    /// Waits for a frame from the kernel that `wanted` recognises, dropping others.
    pub(crate) fn expect(&self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut found = None;
        until(what, || {
            while let Some((_, frame)) = self.queues.from_twin.pop() {
                let bytes = frame.to_vec();
                if bytes.len() >= 78.min(bytes.len())
                    && bytes.len() >= 42
                    && wanted_safely(&wanted, &bytes)
                {
                    found = Some(bytes);
                    return true;
                }
            }
            false
        });
        found.unwrap()
    }

    /// Answers the kernel's frames from now on; what is sent is split at `offsets`. With a `tci` only frames of that
    /// VLAN are answered, and the answers come as from a device that stripped their tag.
    pub(crate) fn serve(
        &self,
        answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static,
        offsets: &[usize],
        tci: Option<u16>,
    ) -> Server {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, queues, waker, pool) =
            (stop.clone(), self.queues.clone(), self.waker.clone(), self.pool.clone());
        let offsets = offsets.to_vec();
        let thread = std::thread::spawn(move || {
            let mut answered = 0;
            while !stopped.load(Ordering::Relaxed) {
                while let Some((port, frame)) = queues.from_twin.pop() {
                    let mut bytes = frame.to_vec();
                    if let Some(tci) = tci {
                        let [high, low] = tci.to_be_bytes();
                        if bytes.get(12..16) != Some(&[0x81, 0, high, low]) {
                            continue;
                        }
                        bytes.drain(12..16);
                    }
                    let Some(reply) = answer(&bytes) else { continue };
                    let mut reply = pool.frame_split(&reply, &offsets).unwrap();
                    reply.set_rx_meta(RxMeta { vlan_tci: tci, ..RxMeta::default() });
                    let _ = queues.to_twin.push((port, reply));
                    waker.wake();
                    answered += 1;
                }
                std::thread::sleep(Duration::from_micros(200));
            }
            answered
        });
        Server { stop, thread }
    }

    /// Stops the twins; every frame must be back in the pool.
    pub(crate) fn nothing_leaks(self) {
        let Self { twins, queues, pool, .. } = self;
        twins.stop();
        while queues.from_twin.pop().is_some() {}
        while queues.to_twin.pop().is_some() {}
        assert_eq!(pool.outstanding(), 0);
    }
}

/// Patterns index freely; a frame too short for them is not the one.
fn wanted_safely(wanted: &impl Fn(&[u8]) -> bool, bytes: &[u8]) -> bool {
    let mut padded = bytes.to_vec();
    padded.resize(padded.len().max(80), 0);
    wanted(&padded)
}

pub(crate) struct Server {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Server {
    /// Stops answering; returns how many frames were answered.
    pub(crate) fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// The answer of 02:00:00:00:00:02 to an ARP request.
pub(crate) fn arp_reply(frame: &[u8]) -> Option<Vec<u8>> {
    if frame.get(12..14)? != [8, 6] || frame.get(20..22)? != [0, 1] || frame.len() < 42 {
        return None;
    }
    let mut reply = frame.to_vec();
    let mac = [2, 0, 0, 0, 0, 2];
    reply[..6].copy_from_slice(&frame[6..12]);
    reply[6..12].copy_from_slice(&mac);
    reply[21] = 2;
    reply[22..28].copy_from_slice(&mac);
    reply[28..32].copy_from_slice(&frame[38..42]);
    reply[32..42].copy_from_slice(&frame[22..32]);
    Some(reply)
}

/// The answer to an IPv4 echo request: addresses swapped, type 0, and the checksum as RFC 1624 has it.
pub(crate) fn echo_reply(frame: &[u8]) -> Option<Vec<u8>> {
    if frame.get(12..14)? != [8, 0] || frame.get(23)? != &1 || frame.get(34)? != &8 {
        return None;
    }
    let mut reply = frame.to_vec();
    reply[..6].copy_from_slice(&frame[6..12]);
    reply[6..12].copy_from_slice(&frame[..6]);
    reply[26..30].copy_from_slice(&frame[30..34]);
    reply[30..34].copy_from_slice(&frame[26..30]);
    reply[34] = 0;
    let sum = u32::from(u16::from_be_bytes([frame[36], frame[37]])) + 0x0800;
    let sum = (sum & 0xffff) + (sum >> 16);
    reply[36..38].copy_from_slice(&(sum as u16).to_be_bytes());
    Some(reply)
}

/// What the mirror told so far, as a Rib would hold it.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) batches: Vec<Cause>,
    pub(crate) ifaces: HashMap<IfIndex, Iface>,
    pub(crate) addresses: HashSet<(IfIndex, Prefix)>,
    pub(crate) routes: HashMap<(RouteTable, Prefix, u32), Route>,
    pub(crate) neighbours: HashMap<(IfIndex, IpAddr), NeighbourState>,
}

impl State {
    fn apply(&mut self, batch: Batch) {
        self.batches.push(batch.cause);
        for change in batch.changes {
            match change {
                Change::Iface(iface) => drop(self.ifaces.insert(iface.index, iface)),
                Change::IfaceGone(index) => assert!(self.ifaces.remove(&index).is_some()),
                Change::Address { iface, prefix } => {
                    assert!(self.ifaces.contains_key(&iface), "an address before its interface");
                    self.addresses.insert((iface, prefix));
                }
                Change::AddressGone { iface, prefix } => {
                    assert!(self.addresses.remove(&(iface, prefix)))
                }
                Change::Route(route) => {
                    let key = (route.table, route.prefix, route.metric);
                    let before = self.routes.insert(key, route.clone());
                    assert_ne!(before, Some(route), "told again without a change");
                }
                Change::RouteGone { table, prefix, metric } => {
                    assert!(
                        self.routes.remove(&(table, prefix, metric)).is_some(),
                        "gone without having been told"
                    );
                }
                Change::Neighbour { iface, addr, state } => {
                    assert_ne!(
                        self.neighbours.insert((iface, addr), state),
                        Some(state),
                        "told again"
                    );
                }
                Change::NeighbourGone { iface, addr } => {
                    assert!(self.neighbours.remove(&(iface, addr)).is_some())
                }
            }
        }
    }

    pub(crate) fn route(&self, table: RouteTable, to: &str, metric: u32) -> Option<&Route> {
        let (addr, len) = to.split_once('/').unwrap();
        self.routes.get(&(
            table,
            Prefix { addr: addr.parse().unwrap(), len: len.parse().unwrap() },
            metric,
        ))
    }

    pub(crate) fn main(&self, to: &str, metric: u32) -> Option<&Route> {
        self.route(RouteTable::Main, to, metric)
    }
}

/// A running mirror and what it told.
pub(crate) struct Watch {
    pub(crate) mirror: Mirror,
    told: Arc<(Mutex<State>, Condvar)>,
}

impl Watch {
    pub(crate) fn start(taps: &Taps) -> Self {
        Self::start_with(taps, MirrorConfig::new(taps.indices()), Duration::ZERO)
    }

    /// With a sink that takes `slowly` for each batch.
    pub(crate) fn start_with(_: &Taps, config: MirrorConfig, slowly: Duration) -> Self {
        let told = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let sink = told.clone();
        let mirror = Mirror::spawn(config, move |batch| {
            sink.0.lock().unwrap().apply(batch);
            sink.1.notify_all();
            std::thread::sleep(slowly);
        })
        .unwrap();
        Self { mirror, told }
    }

    /// Waits until what was told satisfies `condition`.
    pub(crate) fn until(&self, what: &str, condition: impl Fn(&State) -> bool) -> State {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.told.0.lock().expect("the mirror's thread did not panic");
        loop {
            if !state.batches.is_empty() && condition(&state) {
                return state.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain for {what}; told so far: {state:#?}");
            state = self.told.1.wait_timeout(state, left).unwrap().0;
        }
    }

    pub(crate) fn state(&self) -> State {
        self.told.0.lock().unwrap().clone()
    }

    /// What was told is, in the end, what `ip route` and `ip address` show of this namespace.
    pub(crate) fn agrees_with_the_kernel(&self) {
        let mut differs = String::new();
        let started = Instant::now();
        loop {
            let state = self.state();
            let (kernel, told) = (kernel_routes(), told_routes(&state));
            let addresses = (kernel_addresses(), told_addresses(&state));
            if kernel == told && addresses.0 == addresses.1 {
                return;
            }
            if addresses.0 != addresses.1 {
                differs += &format!("kernel {:?}, told {:?}\n", addresses.0, addresses.1);
            }
            for (key, shown) in &kernel {
                if told.get(key) != Some(shown) {
                    differs += &format!("kernel {key:?} {shown:?}, told {:?}\n", told.get(key));
                }
            }
            for key in told.keys().filter(|key| !kernel.contains_key(*key)) {
                differs += &format!("told {key:?}, not in the kernel\n");
            }
            assert!(started.elapsed() < PATIENCE / 3, "{differs}");
            differs.clear();
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Destination and metric of each route of the main table, with the living ways on of the one that the kernel uses:
/// gateway and interface, in order of their names. What is no unicast route has its kind there.
type Shown = BTreeMap<(String, u64), Vec<String>>;

fn kernel_routes() -> Shown {
    let mut shown = Shown::new();
    for (family, default, whole) in [("-4", "0.0.0.0/0", "/32"), ("-6", "::/0", "/128")] {
        let json = ip(&format!("{family} -j -d route show table main"));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        for route in json.as_array().unwrap() {
            let mut to = route["dst"].as_str().unwrap().replace("default", default);
            if !to.contains('/') {
                to += whole;
            }
            let one = vec![route.clone()];
            let hops = match (route["type"].as_str().unwrap(), route["nexthops"].as_array()) {
                ("unicast", hops) => ways(hops.unwrap_or(&one)),
                (kind, _) => vec![kind.to_owned()],
            };
            if !hops.is_empty() {
                shown.entry((to, route["metric"].as_u64().unwrap_or(0))).or_insert(hops);
            }
        }
    }
    shown
}

fn ways(hops: &[serde_json::Value]) -> Vec<String> {
    let dead = |hop: &&serde_json::Value| {
        hop["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "dead"))
    };
    let mut ways: Vec<_> = hops
        .iter()
        .filter(|hop| !dead(hop))
        .map(|hop| {
            let gateway = hop["gateway"].as_str().or(hop["via"]["host"].as_str()).unwrap_or("link");
            format!("{gateway} {}", hop["dev"].as_str().unwrap())
        })
        .collect();
    ways.sort();
    ways
}

fn told_routes(state: &State) -> Shown {
    let main = state.routes.values().filter(|route| route.table == RouteTable::Main);
    main.map(|route| {
        let mut ways: Vec<_> = match route.kind {
            RouteKind::Unicast => route
                .next_hops
                .iter()
                .map(|hop| {
                    let gateway = hop.via.map_or("link".to_owned(), |via| via.to_string());
                    format!("{gateway} {}", state.ifaces[&hop.iface].name)
                })
                .collect(),
            kind => vec![format!("{kind:?}").to_lowercase()],
        };
        ways.sort();
        ((format!("{}/{}", route.prefix.addr, route.prefix.len), route.metric.into()), ways)
    })
    .collect()
}

/// Interface, address and prefix length of every address.
fn kernel_addresses() -> HashSet<(String, IpAddr, u8)> {
    let json: serde_json::Value = serde_json::from_str(&ip("-j addr show")).unwrap();
    let links = json.as_array().unwrap().iter();
    links
        .flat_map(|link| {
            let addresses = link["addr_info"].as_array().unwrap().iter();
            addresses.map(|address| {
                let addr = address["local"].as_str().unwrap().parse().unwrap();
                let len = u8::try_from(address["prefixlen"].as_u64().unwrap()).unwrap();
                (link["ifname"].as_str().unwrap().to_owned(), addr, len)
            })
        })
        .collect()
}

fn told_addresses(state: &State) -> HashSet<(String, IpAddr, u8)> {
    let told = state.addresses.iter();
    told.map(|(iface, prefix)| (state.ifaces[iface].name.clone(), prefix.addr, prefix.len))
        .collect()
}
