//! What the API says: the JSON of each answer, and the schema of the OpenAPI document.
//!
//! The daemon writes these, the commands read them. Fields are only added, never renamed. Counters begin at zero when
//! the daemon starts and only grow.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::flows::FlowCounts;

/// The daemon as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// The version of DPDK that it runs on.
    pub dpdk: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_seconds: f64,
    /// The configuration file.
    pub config: String,
    /// Whether DPDK's memory comes from hugepages.
    pub hugepages: bool,
    /// What workers do when there is nothing to do: `poll` or `adaptive`.
    pub idle: String,
    /// ICMP errors per second that may be sent.
    pub icmp_rate: u32,
    /// Ports, and how many of them have a link.
    pub ports: u32,
    /// Ports with a link.
    pub ports_up: u32,
    /// Workers.
    pub workers: u32,
    /// The pools of frames.
    pub pools: Vec<Pool>,
    /// What forwarding knows.
    pub tables: TableCounts,
    /// The ruleset, and who changes it.
    #[serde(default)]
    pub rules: RuleCounts,
    /// Connection tracking.
    #[serde(default)]
    pub flows: FlowCounts,
}

/// A pool of frames.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pool {
    /// The NUMA socket whose memory it is.
    pub socket: u32,
    /// Frames in all.
    pub size: u32,
    /// Frames that are received, waiting or in queues now; those in workers' caches count as free.
    pub in_use: u32,
}

/// How much forwarding knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TableCounts {
    /// Counts up whenever the kernel's interfaces, routes or neighbours change what is forwarded.
    pub generation: u64,
    /// The oldest generation that a worker still runs.
    pub oldest_in_use: u64,
    /// Interfaces.
    pub interfaces: u64,
    /// IPv4 routes.
    pub ipv4_routes: u64,
    /// IPv6 routes.
    pub ipv6_routes: u64,
    /// Neighbours.
    pub neighbours: u64,
}

/// How much of a ruleset there is, and what goes on around it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleCounts {
    /// Counts commits; 1 is the empty ruleset at the start.
    pub generation: u64,
    /// The oldest generation that a worker still runs.
    pub oldest_in_use: u64,
    /// Nanoseconds from the last commit until all workers ran it.
    pub adopted_ns: u64,
    /// Tables.
    pub tables: u64,
    /// Chains.
    pub chains: u64,
    /// Rules.
    pub rules: u64,
    /// Sets and maps, the anonymous ones of rules among them.
    pub sets: u64,
    /// Elements of sets and maps.
    pub elements: u64,
    /// Stateful objects.
    pub objects: u64,
    /// Flowtables.
    pub flowtables: u64,
    /// Packets that rules would have logged, but for the rate or a full queue.
    pub logs_suppressed: u64,
    /// Steps of traced packets that were lost before listeners heard.
    pub traces_lost: u64,
    /// The netlink socket's path.
    pub socket: String,
    /// Clients that are connected to it now.
    pub clients: u64,
    /// Requests, a batch counting once.
    pub requests: u64,
    /// Messages that were refused.
    pub refused: u64,
    /// Events and answers that were lost because a client was too slow.
    pub overruns: u64,
}

/// All ports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ports {
    /// Seconds since the daemon started, when these numbers were read.
    pub uptime_seconds: f64,
    /// In the order of the configuration.
    pub ports: Vec<Port>,
}

/// One port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// The DPDK device string of the configuration.
    pub device: String,
    /// The DPDK driver.
    pub driver: String,
    /// `routed`, or `pair` for half of a transparent pair.
    pub mode: String,
    /// The other port of the pair.
    pub pair: Option<String>,
    /// Its MAC address.
    pub mac: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether its link is up.
    pub up: bool,
    /// The link's speed in Mbit/s, where the device knows.
    pub speed_mbps: Option<u32>,
    /// Receive queues: workers that receive from it.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Whether the device spreads flows over its queues.
    pub rss: bool,
    /// What the device does instead of software.
    pub offloads: Vec<String>,
    /// What it counted.
    pub counters: PortCounters,
}

/// What a port counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortCounters {
    /// Frames received by workers.
    pub rx_packets: u64,
    /// Their bytes, from the Ethernet header on, without checksum.
    pub rx_bytes: u64,
    /// Frames that the device took to send.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames that the device lost because no worker fetched them in time.
    pub rx_missed: u64,
    /// Frames that came broken.
    pub rx_errors: u64,
    /// Frames that the device lost because the pool was empty.
    pub rx_no_mbuf: u64,
    /// Frames that the device failed to send.
    pub tx_errors: u64,
    /// Frames handed to the kernel twin.
    pub to_twin: u64,
    /// Frames that the kernel sent on the twin.
    pub from_twin: u64,
    /// Frames dropped on purpose, for any reason.
    pub drops: u64,
}

/// All workers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Workers {
    /// Seconds since the daemon started, when these numbers were read.
    pub uptime_seconds: f64,
    /// In the order of the configuration's cores.
    pub workers: Vec<Worker>,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    /// Its number.
    pub index: u16,
    /// The core that it is pinned to.
    pub core: u32,
    /// The NUMA socket of that core.
    pub socket: u32,
    /// The generation of the tables that it runs.
    pub generation: u64,
    /// What it counted.
    pub counters: WorkerCounters,
}

/// What a worker counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerCounters {
    /// Turns of its loop.
    pub turns: u64,
    /// Turns in which there was nothing to do.
    pub idle_turns: u64,
    /// Nanoseconds slept for want of work.
    pub slept_ns: u64,
    /// Frames received.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames dropped on purpose.
    pub drops: u64,
    /// ICMP and ICMPv6 errors sent.
    pub icmp_sent: u64,
    /// ICMP and ICMPv6 errors that the rate limit held back.
    pub icmp_limited: u64,
    /// Packets cut into fragments.
    pub fragmented: u64,
    /// Packets that wait for their next hop's address now.
    pub waiting: u64,
    /// Packets whose verdict was remembered by their flow.
    #[serde(default)]
    pub replayed: u64,
    /// Frames handed to the workers whose flows they belong to.
    #[serde(default)]
    pub handed_over: u64,
}

/// All reasons for drops.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Drops {
    /// Seconds since the daemon started, when these numbers were read.
    pub uptime_seconds: f64,
    /// Every reason there is, whether it occurred or not.
    pub drops: Vec<Drop>,
}

/// One reason for drops.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drop {
    /// Its name, which never changes.
    pub reason: String,
    /// What it means.
    pub help: String,
    /// Frames dropped for it.
    pub packets: u64,
    /// Where, leaving out zeros.
    pub places: Vec<DropPlace>,
}

/// Where frames were dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DropPlace {
    /// The port that received them, or, for reasons of transmission, that should have sent them.
    pub port: String,
    /// The worker that dropped them.
    pub worker: u16,
    /// How many.
    pub packets: u64,
}

/// All interfaces that forwarding knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Interfaces {
    /// By kernel index.
    pub interfaces: Vec<Interface>,
}

/// A kernel interface: a port's twin, a VLAN on one, or another that packets may be handed to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    /// The kernel's index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The port below it; none for interfaces that are the kernel's alone.
    pub port: Option<String>,
    /// VLAN ids, the outer first.
    pub vlan: Vec<u16>,
    /// Its MAC address.
    pub mac: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// Its addresses with prefix length.
    pub addresses: Vec<String>,
}

/// Routes and neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Routes {
    /// How many there are.
    pub counts: TableCounts,
    /// The routes, where they were asked for with `list=true`, in the order of their prefixes.
    pub routes: Option<Vec<Route>>,
    /// Whether `limit` cut the list.
    pub truncated: bool,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Route {
    /// Where to.
    pub prefix: String,
    /// `unicast`, `local`, `broadcast`, `multicast`, `blackhole`, `unreachable` or `prohibit`.
    pub kind: String,
    /// `main` or `local`.
    pub table: String,
    /// The kernel's metric; less is better.
    pub metric: u32,
    /// The route's own MTU in bytes.
    pub mtu: Option<u32>,
    /// Where next.
    pub next_hops: Vec<NextHop>,
}

/// A next hop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NextHop {
    /// The gateway; none for a network that is on the link.
    pub via: Option<String>,
    /// The interface's name.
    pub interface: String,
    /// Its share, against the other next hops'.
    pub weight: u16,
}

/// What rules can be made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Expressions {
    /// Expressions, of which rules consist.
    pub expressions: Vec<Description>,
    /// Stateful objects, which rules share by name.
    pub objects: Vec<Description>,
    /// Matches and targets of iptables, arptables and ebtables, by revision.
    pub extensions: Vec<Extension>,
}

impl Expressions {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.expressions.is_empty() && self.objects.is_empty() && self.extensions.is_empty()
    }
}

/// An expression or a kind of object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Description {
    /// Its name on the wire.
    pub name: String,
    /// An object's type on the wire (`NFT_OBJECT_…`).
    pub number: Option<u32>,
    /// What it does.
    pub help: String,
    /// Whether it has state of its own.
    pub stateful: bool,
    /// Why no rule can use it, where none can.
    pub refusal: Option<String>,
    /// Its attributes.
    pub attributes: Vec<Field>,
}

/// An attribute of an expression or object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Field {
    /// Its number.
    pub number: u16,
    /// Its name.
    pub name: String,
    /// `integer`, `choice`, `flags`, `text`, `bytes`, `register`, `data`, `expressions` or `nested`.
    pub kind: String,
    /// Bytes of an integer; of a text or of bytes the most.
    pub bytes: Option<u32>,
    /// The least integer.
    pub min: Option<u64>,
    /// The greatest integer.
    pub max: Option<u64>,
    /// The words of a choice or of flags.
    pub words: Vec<Word>,
    /// Whether it must be there.
    pub required: bool,
    /// What it means, with its unit.
    pub help: String,
    /// What is nested in it.
    #[schema(no_recursion)]
    pub attributes: Vec<Field>,
}

/// A value with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Word {
    /// The value on the wire.
    pub value: u64,
    /// Its name.
    pub name: String,
}

/// One revision of an extension of iptables, arptables or ebtables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// Its revision.
    pub revision: u8,
    /// `match` or `target`.
    pub role: String,
    /// What it does.
    pub help: String,
    /// `acts` as on Linux; `stored` and listed; or `refused`.
    pub standing: String,
    /// What it does to packets where it is stored, or why it is refused.
    pub why: Option<String>,
    /// The families that it is for; none named: any.
    pub families: Vec<String>,
    /// The table that it must stand in.
    pub table: Option<String>,
    /// Bytes of its structure.
    pub bytes: u64,
}

/// Why a request failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiError {
    /// What is wrong.
    pub error: String,
}
