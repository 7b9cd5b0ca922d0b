//! The API over a real Unix socket, with a made-up daemon behind it; the commands as its clients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cli::api::flows::{FlowCounts, FlowEntry, Flows, FlowsQuery, Sort, Sysctl, Sysctls, Tuple};
use cli::api::ha::{Ha, HaBulk, HaCommand, HaError, HaFlows, HaLag, HaLink, HaPeer, HaVerify};
use cli::api::model::{
    Drop, DropPlace, Drops, Interface, Interfaces, NextHop, Pool, Port, PortCounters, Ports, Route,
    Routes, Status, TableCounts, Worker, WorkerCounters, Workers,
};
use cli::api::{self, Snapshots, Socket, SocketError};
use cli::client::{Client, ClientError};

/// A daemon of two ports, whose counters grow by a known amount each time they are read, once a "second".
#[derive(Default)]
struct MadeUp {
    reads: AtomicU64,
    /// Likewise of its state among others.
    looks: AtomicU64,
    /// It has no other nodes.
    alone: bool,
}

impl MadeUp {
    fn step(&self) -> u64 {
        self.reads.fetch_add(1, Ordering::Relaxed) + 1
    }
}

fn port(name: &str, n: u64) -> Port {
    Port {
        name: name.into(),
        device: "net_null0".into(),
        driver: "net_null".into(),
        mode: "routed".into(),
        mac: "02:00:00:00:00:01".into(),
        mtu: 1500,
        up: true,
        speed_mbps: Some(10_000),
        rx_queues: 1,
        tx_queues: 1,
        counters: PortCounters {
            rx_packets: n * 2_000,
            rx_bytes: n * 128_000,
            drops: n * 5,
            ..PortCounters::default()
        },
        ..Port::default()
    }
}

impl Snapshots for MadeUp {
    fn status(&self) -> Status {
        Status {
            version: "1.2.3".into(),
            dpdk: "DPDK 22.11".into(),
            pid: 77,
            uptime_seconds: 4_000.0,
            ports: 2,
            ports_up: 1,
            workers: 1,
            idle: "adaptive".into(),
            pools: vec![Pool { socket: 0, size: 16_384, in_use: 2_048 }],
            tables: TableCounts {
                generation: 9,
                oldest_in_use: 9,
                interfaces: 3,
                ipv4_routes: 4,
                ipv6_routes: 5,
                neighbours: 6,
            },
            flows: FlowCounts {
                tracking: "auto".into(),
                flows: 1_234,
                room: 262_144,
                early_dropped: 3,
                nat_taken: 9,
                by_worker: vec![1_000, 234],
                ..FlowCounts::default()
            },
            ..Status::default()
        }
    }

    fn ports(&self) -> Ports {
        let n = self.step();
        Ports {
            uptime_seconds: n as f64,
            ports: vec![port("lan", n), Port { up: false, ..port("wan", 0) }],
        }
    }

    fn workers(&self) -> Workers {
        let n = self.step();
        let counters = WorkerCounters {
            turns: n * 100,
            idle_turns: n * 75,
            rx_packets: n * 2_000,
            ..WorkerCounters::default()
        };
        Workers {
            uptime_seconds: n as f64,
            workers: vec![Worker { index: 0, core: 3, counters, ..Worker::default() }],
        }
    }

    fn drops(&self) -> Drops {
        let n = self.step();
        let places = vec![
            DropPlace { port: "lan".into(), worker: 0, packets: n * 3 },
            DropPlace { port: "lan".into(), worker: 1, packets: n },
            DropPlace { port: "wan".into(), worker: 0, packets: n },
        ];
        let happened =
            Drop { reason: "no_route".into(), help: "No route.".into(), packets: n * 5, places };
        let never =
            Drop { reason: "ttl_expired".into(), help: "Too old.".into(), ..Drop::default() };
        Drops { uptime_seconds: n as f64, drops: vec![happened, never] }
    }

    fn interfaces(&self) -> Interfaces {
        let lan = Interface {
            index: 5,
            name: "lan".into(),
            port: Some("lan".into()),
            ..Interface::default()
        };
        Interfaces { interfaces: vec![lan] }
    }

    fn routes(&self, limit: Option<usize>) -> Routes {
        let route = |prefix: &str| Route {
            prefix: prefix.into(),
            kind: "unicast".into(),
            next_hops: vec![NextHop { via: None, interface: "lan".into(), weight: 1 }],
            ..Route::default()
        };
        let all = ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"];
        Routes {
            counts: TableCounts { ipv4_routes: 2, ipv6_routes: 1, ..TableCounts::default() },
            truncated: limit.is_some_and(|limit| limit < all.len()),
            routes: limit.map(|limit| all.iter().take(limit).map(|prefix| route(prefix)).collect()),
        }
    }

    fn flows(&self, query: &FlowsQuery) -> Flows {
        let n = self.step();
        let flow = FlowEntry {
            id: 7,
            protocol: "tcp".into(),
            original: Tuple { source: "10.0.0.1".into(), ..Tuple::default() },
            // What was asked for comes back in the mark.
            mark: query.filter.port.unwrap_or_default().into(),
            bytes: Some([n * 1_000, n * 250]),
            started_seconds: Some(0.0),
            ..FlowEntry::default()
        };
        let flows = if query.sort == Sort::Bytes { vec![flow] } else { Vec::new() };
        Flows { uptime_seconds: n as f64, matching: 5, accounting: true, timestamps: true, flows }
    }

    fn sysctls(&self) -> Sysctls {
        let setting = |name: &str, value| Sysctl {
            name: format!("net.netfilter.nf_conntrack_{name}"),
            value,
        };
        Sysctls { settings: vec![setting("acct", 0), setting("udp_timeout", 30)] }
    }

    fn set_sysctl(&self, wanted: &Sysctl) -> Result<Sysctl, String> {
        if wanted.value > 100 { Err("must be 0 to 100".into()) } else { Ok(wanted.clone()) }
    }

    fn ha(&self) -> Result<Ha, HaError> {
        if self.alone {
            return Err(HaError::Alone);
        }
        let n = self.looks.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Ha {
            uptime_seconds: n as f64,
            node: 1,
            role: "active".into(),
            term: 5,
            owner: Some(1),
            synchronised: true,
            epoch: 9,
            ruleset_hash: "00c0ffee00c0ffee".into(),
            flows: HaFlows { own: 1_000, imported: 99_000 },
            lag_us: HaLag { p50: 210, p99: 1_900 },
            unsynchronised: 17,
            bulk: HaBulk { running: true, done: 470_000, of: 1_048_576 },
            verify: Some(HaVerify { running: false, compared: 1_024, differ: 1, skipped: 2 }),
            counters: [("nacks".to_owned(), 3 * n), ("rejected_forged".to_owned(), 4)].into(),
            peers: vec![HaPeer {
                node: 2,
                alive: true,
                role: "standby".into(),
                watermark_age_us: Some(5_000),
                ..HaPeer::default()
            }],
            links: vec![HaLink {
                interface: "sync0".into(),
                error: Some("Network is down (os error 100)".into()),
                tx_datagrams: 1_000 * n,
                tx_errors: 8,
                ..HaLink::default()
            }],
            alarms: vec!["node 2 has another ruleset".into()],
            ..Ha::default()
        })
    }

    fn ha_command(&self, command: &HaCommand) -> Result<String, HaError> {
        match command {
            HaCommand::Promote { force: false } => {
                Err(HaError::Refused("flows are missing".into()))
            }
            other => Ok(format!("{other:?}")),
        }
    }
}

/// The API of a made-up daemon, running on a thread until dropped.
struct Running {
    folder: tempfile::TempDir,
    tcp: Option<SocketAddr>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(listen: Option<SocketAddr>) -> Self {
        Self::of(MadeUp::default(), listen)
    }

    fn of(made_up: MadeUp, listen: Option<SocketAddr>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = Socket::bind(&folder.path().join("api.sock")).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, bound) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
            let routers = api::routers(Arc::new(made_up), recorder.handle());
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            metrics::with_local_recorder(&recorder, || {
                api::metrics::describe();
                let stop = async {
                    stopped.await.ok();
                };
                runtime
                    .block_on(api::serve(
                        &socket,
                        listen,
                        routers,
                        |tcp| ready.send(tcp).unwrap(),
                        stop,
                    ))
                    .unwrap();
            });
        });
        let tcp = bound.recv().unwrap();
        Self { folder, tcp, stop: Some(stop), thread: Some(thread) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    fn get<T: serde::de::DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        runtime().block_on(Client::new(&self.path()).get(target))
    }

    fn text(&self, target: &str) -> String {
        let bytes = runtime().block_on(Client::new(&self.path()).get_bytes(target)).unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// Runs the binary against this daemon: exit code, stdout, stderr.
    fn twinwall(&self, args: &[&str]) -> (Option<i32>, String, String) {
        twinwall(&self.path(), args)
    }
}

impl std::ops::Drop for Running {
    fn drop(&mut self) {
        self.stop.take().unwrap().send(()).ok();
        self.thread.take().unwrap().join().unwrap();
        assert!(!self.path().exists(), "the socket is left behind");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn twinwall(socket: &std::path::Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_twinwall"))
        .args(args)
        .env("TWINWALL_SOCKET", socket)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_address_answers_with_what_the_daemon_has() {
    let daemon = Running::start(None);
    let made_up = MadeUp::default();
    assert_eq!(daemon.get::<Status>("/v1/status").unwrap(), made_up.status());
    assert_eq!(daemon.get::<Ports>("/v1/ports").unwrap(), made_up.ports());
    assert_eq!(daemon.get::<Workers>("/v1/workers").unwrap(), made_up.workers());
    assert_eq!(daemon.get::<Drops>("/v1/drops").unwrap(), made_up.drops());
    assert_eq!(daemon.get::<Interfaces>("/v1/interfaces").unwrap(), made_up.interfaces());
    assert_eq!(daemon.get::<Routes>("/v1/routes").unwrap(), made_up.routes(None));
    assert_eq!(daemon.get::<Routes>("/v1/routes?list=true").unwrap(), made_up.routes(Some(1000)));
    let flows = daemon.get::<Flows>("/v1/flows?sort=bytes&port=443&address=10.0.0.0/8").unwrap();
    assert_eq!((flows.matching, flows.flows[0].mark), (5, 443));
    assert_eq!(daemon.get::<Sysctls>("/v1/sysctl").unwrap(), made_up.sysctls());
    let two = daemon.get::<Routes>("/v1/routes?list=true&limit=2").unwrap();
    assert_eq!((two.routes.unwrap().len(), two.truncated), (2, true));
    assert_eq!(daemon.text("/v1/openapi.json"), api::document());
}

#[test]
fn what_is_not_there_is_refused_in_json() {
    let daemon = Running::start(None);
    for (target, status, message) in [
        ("/v1/nothing", 404, "/v1/openapi.json lists"),
        ("/v1/routes?list=maybe", 400, "provided string was not `true` or `false`"),
        ("/v1/routes?limt=3", 400, "unknown field `limt`"),
        ("/v1/routes?limit=100001", 400, "limit is at most 100000"),
        ("/v1/flows?limit=10001", 400, "limit is at most 10000"),
        ("/v1/flows?address=ten", 400, "is no address such as"),
        ("/v1/flows?sort=colour", 400, "unknown variant"),
    ] {
        match daemon.get::<Routes>(target) {
            Err(ClientError::Refused { status: got, message: said }) => {
                assert_eq!(got.as_u16(), status, "{target}");
                assert!(said.contains(message), "{target}: {said}");
            }
            other => panic!("{target}: {other:?}"),
        }
    }
}

#[test]
fn metrics_have_a_meaning_and_the_present_numbers() {
    let daemon = Running::start(None);
    daemon.text("/metrics");
    // Reads count: the first scrape read ports, workers and drops once each.
    let text = daemon.text("/metrics");
    for line in [
        "# HELP twinwall_port_rx_packets_total Frames received by workers.",
        "# TYPE twinwall_port_rx_packets_total counter",
        "twinwall_port_rx_packets_total{port=\"lan\"} 8000",
        "twinwall_port_rx_bytes_total{port=\"lan\"} 512000",
        "twinwall_port_up{port=\"lan\"} 1",
        "twinwall_port_up{port=\"wan\"} 0",
        "twinwall_worker_turns_total{worker=\"0\",core=\"3\"} 500",
        "twinwall_drops_total{reason=\"no_route\",port=\"lan\"} 24",
        "twinwall_drops_total{reason=\"no_route\",port=\"wan\"} 6",
        "twinwall_drops_total{reason=\"ttl_expired\",port=\"lan\"} 0",
        "# TYPE twinwall_pool_frames_in_use gauge",
        "twinwall_pool_frames_in_use{socket=\"0\"} 2048",
        "twinwall_routes{family=\"ipv6\"} 5",
        "twinwall_flows{worker=\"0\"} 1000",
        "twinwall_flows_room 262144",
        "# TYPE twinwall_flows_early_dropped_total counter",
        "twinwall_flows_early_dropped_total 3",
        "twinwall_nat_tuples_taken_total 9",
        "twinwall_info{version=\"1.2.3\",dpdk=\"DPDK 22.11\"} 1",
    ] {
        assert!(text.lines().any(|have| have == line), "{line:?} is missing in\n{text}");
    }
    // Each family is described.
    for family in text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|rest| rest.split(' ').next().unwrap())
    {
        assert!(text.contains(&format!("# HELP {family} ")), "{family} has no description");
    }
}

#[test]
fn loopback_answers_too_and_writes_are_refused() {
    use std::io::{Read, Write};
    let daemon = Running::start(Some("127.0.0.1:0".parse().unwrap()));
    let ask_for = |method: &str, target: &str| {
        let mut stream = std::net::TcpStream::connect(daemon.tcp.unwrap()).unwrap();
        write!(stream, "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let ask = |method: &str| ask_for(method, "/v1/status");
    assert!(ask("GET").starts_with("HTTP/1.1 200 OK"));
    assert!(ask("GET").contains("\"version\":\"1.2.3\""));
    let refused = ask("POST");
    assert!(refused.starts_with("HTTP/1.1 405") && refused.contains("read only"), "{refused}");
    assert!(ask_for("GET", "/v1/sysctl").starts_with("HTTP/1.1 200 OK"));
    let refused = ask_for("PUT", "/v1/sysctl");
    assert!(
        refused.starts_with("HTTP/1.1 405"),
        "only the Unix socket changes anything: {refused}"
    );
}

#[test]
fn the_openapi_document_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == api::document(),
        "docs/openapi.json is old: cargo run -p cli -- openapi > docs/openapi.json"
    );
    let document: serde_json::Value = serde_json::from_str(&committed).unwrap();
    for path in [
        "/v1/status",
        "/v1/ports",
        "/v1/workers",
        "/v1/drops",
        "/v1/interfaces",
        "/v1/routes",
        "/v1/flows",
        "/v1/sysctl",
        "/metrics",
    ] {
        assert!(document["paths"][path]["get"]["responses"]["200"].is_object(), "{path}");
    }
}

#[test]
fn a_second_daemon_is_refused_and_a_stale_socket_replaced() {
    let daemon = Running::start(None);
    let path = daemon.path();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    match Socket::bind(&path) {
        Err(error @ SocketError::Taken(_)) => {
            assert!(error.to_string().contains("already answers on"), "{error}")
        }
        other => panic!("{other:?}"),
    }
    assert!(daemon.get::<Status>("/v1/status").is_ok(), "the first one goes on");

    let stale = daemon.folder.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    let socket = Socket::bind(&stale).unwrap();
    assert!(stale.exists());
    drop(socket);
    assert!(!stale.exists());

    let file = daemon.folder.path().join("precious");
    std::fs::write(&file, "data").unwrap();
    assert!(matches!(Socket::bind(&file), Err(SocketError::NotASocket(_))));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "data");
}

#[test]
fn a_socket_that_another_took_over_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/api.sock");
    let first = Socket::bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = UnixListener::bind(&path).unwrap();
    drop(first);
    assert!(path.exists(), "the second daemon's socket");
    drop(second);
}

#[test]
fn commands_print_tables() {
    let daemon = Running::start(None);
    let (code, out, err) = daemon.twinwall(&["ports"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("PORT  LINK") && lines[0].ends_with("LOST"), "{out}");
    assert!(
        lines[1].starts_with("lan   10.0 Gbit/s  routed  net_null") && lines[1].contains("2,000"),
        "{out}"
    );
    assert!(lines[2].starts_with("wan   down"), "{out}");
    assert_eq!(lines.len(), 3, "{out}");

    let (_, out, _) = daemon.twinwall(&["drops"]);
    assert!(
        out.contains("no_route") && out.contains("lan 8, wan 2") && !out.contains("ttl_expired"),
        "{out}"
    );
    assert!(daemon.twinwall(&["drops", "--all"]).1.contains("ttl_expired"));

    let (_, out, _) = daemon.twinwall(&["status"]);
    for part in [
        "1,234 of 262,144, tracking auto, 0 packets invalid, 3 given up early",
        "1.2.3 on DPDK 22.11",
        "01:06:40",
        "2, 1 up",
        "2,048 of 16,384 in use",
        "4 IPv4, 5 IPv6",
    ] {
        assert!(out.contains(part), "{part:?} is missing in\n{out}");
    }
    let (_, out, _) = daemon.twinwall(&["workers"]);
    assert!(out.lines().nth(1).unwrap().starts_with("0          3"), "{out}");
}

#[test]
fn commands_print_rates_and_json() {
    let daemon = Running::start(None);
    let (code, out, _) = daemon.twinwall(&["ports", "--watch", "0.1", "--count", "2"]);
    assert_eq!(code, Some(0));
    let lan: Vec<&str> = out.lines().filter(|line| line.starts_with("lan")).collect();
    assert_eq!(lan.len(), 2, "{out}");
    assert!(lan.iter().all(|line| line.contains("2.00 k") && line.contains("1.02 M")), "{out}");

    let (_, out, _) = daemon.twinwall(&["workers", "--watch", "0.1", "--count", "1", "--json"]);
    let json: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    let rates = &json["workers"][0]["rates"];
    assert_eq!(
        (rates["rx_packets"].as_f64(), rates["busy"].as_f64()),
        (Some(2000.0), Some(0.25)),
        "{out}"
    );

    let (_, out, _) = daemon.twinwall(&["drops", "--watch", "0.1", "--count", "3", "--json"]);
    let lines: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert!(lines.iter().all(|line| line["drops"][0]["packets_per_second"] == 5.0), "{out}");

    for command in ["status", "ports", "workers", "drops"] {
        let (code, out, _) = daemon.twinwall(&[command, "--json"]);
        assert_eq!(code, Some(0));
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(json.is_object() && !out.contains("rates"), "{out}");
    }
}

#[test]
fn without_a_daemon_commands_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.sock");
    for command in ["status", "ports", "workers", "drops"] {
        let (code, out, err) = twinwall(&missing, &[command]);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(err.contains("twinwall is not running") && err.contains("none.sock"), "{err}");
        assert!(err.contains("twinwall run --config") && err.contains("--socket"), "{err}");
    }
}

#[test]
fn usage_is_exit_code_2_and_check_0_or_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.toml");
    let path = file.to_str().unwrap();
    assert_eq!(twinwall(&file, &["frobnicate"]).0, Some(2));
    assert_eq!(twinwall(&file, &["check", "--conf"]).0, Some(2));
    std::fs::write(
        &file,
        "[dataplane]\nhugepages = \"off\"\n[[port]]\nname = \"lan\"\ndevice = \"net_null0\"\n",
    )
    .unwrap();
    let (code, out, err) = twinwall(&file, &["check", "--config", path]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{err}");
    assert!(out.contains("good: 1 ports"), "{out}");
    std::fs::write(
        &file,
        "[dataplane]\nhugepages = \"off\"\n[[port]]\nname = \"lan\"\ndevice = \"eth9\"\n",
    )
    .unwrap();
    let (code, _, err) = twinwall(&file, &["check", "--config", path]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("t.toml:5:10") && err.contains("device = \"eth9\"") && err.contains("help:"),
        "{err}"
    );
}

#[test]
fn completions_and_manual_pages_come_out() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = twinwall(folder.path(), &["completions", shell]);
        assert!(code == Some(0) && out.contains("workers"), "{shell}");
    }
    assert!(twinwall(folder.path(), &["man"]).1.contains(".TH twinwall 1"));
    let out = folder.path().join("man");
    assert_eq!(twinwall(folder.path(), &["man", "--out", out.to_str().unwrap()]).0, Some(0));
    for page in ["twinwall.1", "twinwall-run.1", "twinwall-drops.1"] {
        assert!(out.join(page).exists(), "{page}");
    }
    assert!(twinwall(folder.path(), &["--version"]).1.starts_with("twinwall 0."));
}

#[test]
fn flows_are_shown_by_what_was_asked() {
    let daemon = Running::start(None);
    let (code, out, err) = daemon.twinwall(&["flows", "--sort", "bytes", "--port", "443"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.lines().nth(1).unwrap().starts_with("tcp    10.0.0.1"), "{out}");
    assert!(out.trim_end().ends_with("1 of 5 flows"), "{out}");
    let (_, out, _) = daemon.twinwall(&[
        "flows", "-s", "bytes", "--port", "8", "--watch", "0.1", "--count", "1", "--json",
    ]);
    let json: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(json["flows"][0]["mark"], 8);
    assert_eq!(json["flows"][0]["bits_per_second"], 10_000.0, "{out}");
    let (code, _, err) = daemon.twinwall(&["flows", "--address", "10.0.0.0/33"]);
    assert!(code == Some(2) && err.contains("is no address such as"), "{err}");
}

#[test]
fn settings_are_shown_and_set() {
    let daemon = Running::start(None);
    let said = |args: &[&str]| daemon.twinwall(&[&["sysctl"], args].concat());
    let all = "net.netfilter.nf_conntrack_acct = 0\nnet.netfilter.nf_conntrack_udp_timeout = 30\n";
    assert_eq!(said(&[]), (Some(0), all.into(), String::new()));
    let one = said(&["nf_conntrack_udp_timeout"]);
    assert_eq!(one.1, "net.netfilter.nf_conntrack_udp_timeout = 30\n");
    let set = said(&["net.netfilter.nf_conntrack_acct=1", "nf_conntrack_udp_timeout"]);
    assert_eq!(set.0, Some(0), "{set:?}");
    assert!(set.1.starts_with("net.netfilter.nf_conntrack_acct = 1\n"), "{set:?}");
    for (wrong, why) in [
        ("nf_conntrack_acct=101", "must be 0 to 100"),
        ("nf_conntrack_acct=yes", "is no NAME=NUMBER"),
        ("nf_conntrack_nonsense", "there is no setting"),
    ] {
        let (code, _, err) = said(&[wrong]);
        assert!(code == Some(1) && err.contains(why), "{wrong}: {err}");
    }
    let (_, json, _) = said(&["--json", "nf_conntrack_acct"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["settings"][0]["value"], 0);
}

#[test]
fn a_node_among_others_is_shown_and_told_what_to_be() {
    let daemon = Running::start(None);
    let (code, out, _) = daemon.twinwall(&["ha", "status"]);
    assert_eq!(code, Some(0));
    for line in [
        "role          active",
        "owner         this node, term 5",
        "flows         1,000 own, 99,000 imported",
        "bulk          [#############-----------------]  45 % 470,000 of 1,048,576 slots",
        "lag           half 0.21 ms, 99 of 100 1.90 ms, 17 changes of flows not confirmed",
        "verify        1,024 parts compared, 1 differ, 2 skipped",
        "sync0: Network is down (os error 100)",
        "ALARM  node 2 has another ruleset",
    ] {
        assert!(out.lines().any(|found| found == line), "{line:?} in\n{out}");
    }
    let (_, out, _) = daemon.twinwall(&["ha", "status", "--watch", "0.1", "--count", "1"]);
    assert!(out.contains("nacks"), "{out}");
    assert!(!out.contains("rejected_forged"), "it did not grow: {out}");
    let (_, out, _) = daemon.twinwall(&["ha", "status", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["peers"][0]["watermark_age_us"], 5_000);
    assert_eq!(json["counters"]["rejected_forged"], 4);
    let metrics = daemon.text("/metrics");
    for line in [
        "twinwall_ha_role{role=\"active\"} 1",
        "twinwall_ha_role{role=\"standby\"} 0",
        "twinwall_ha_lag_seconds{quantile=\"0.99\"} 0.0019",
        "twinwall_ha_peer_watermark_age_seconds{peer=\"2\"} 0.005",
        "twinwall_ha_events_total{event=\"rejected_forged\"} 4",
        "twinwall_ha_link_tx_errors_total{interface=\"sync0\"} 8",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line:?} in\n{metrics}");
    }

    assert_eq!(daemon.twinwall(&["ha", "check"]).0, Some(0));
    let (code, _, said) = daemon.twinwall(&["ha", "promote"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("409 Conflict: flows are missing"), "{said}");
    for (args, done) in [
        (&["ha", "promote", "--force"][..], "Promote { force: true }"),
        (&["ha", "demote"], "Demote"),
        (&["ha", "resync"], "Resync"),
        (&["ha", "pull-ruleset", "2"], "PullRuleset(2)"),
        (&["ha", "notify", "GROUP", "twinwall", "MASTER", "150"], "Notify(\"MASTER\")"),
        (&["ha", "notify", "INSTANCE", "lan", "FAULT"], "Notify(\"FAULT\")"),
    ] {
        let (code, out, said) = daemon.twinwall(args);
        assert_eq!((code, out.trim()), (Some(0), done), "{args:?}: {said}");
    }
    let (code, out, _) = daemon.twinwall(&["ha", "verify"]);
    assert_eq!((code, out.trim()), (Some(1), "1,024 parts compared, 1 differ, 2 skipped"));
    let post = |target: &str, body: &str| {
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        let patience = std::time::Duration::from_secs(5);
        let client = Client::new(&daemon.path());
        runtime().block_on(client.post::<serde_json::Value>(target, &value, patience))
    };
    let refused = post("/v1/ha/promote", "{\"forced\": true}").unwrap_err().to_string();
    assert!(refused.contains("400 Bad Request") || refused.contains("422"), "{refused}");
    assert!(refused.contains("forced"), "{refused}");
}

#[test]
fn a_node_that_is_alone_says_so() {
    let daemon = Running::of(MadeUp { alone: true, ..MadeUp::default() }, None);
    for args in [&["ha", "status"][..], &["ha", "check"]] {
        let (code, _, said) = daemon.twinwall(args);
        assert_eq!(code, Some(1));
        assert!(said.contains("404 Not Found: this node is alone"), "{said}");
    }
    assert!(!daemon.text("/metrics").contains("twinwall_ha_role{"));
}
