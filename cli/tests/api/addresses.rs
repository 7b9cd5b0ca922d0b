//! What the API answers, on its socket and on loopback.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use cli::api::flows::{Flows, Sysctls};
use cli::api::model::{Drops, Interfaces, Ports, Routes, Status, Workers};
use cli::api::{self, Snapshots, Socket, SocketError};
use cli::client::ClientError;

use super::Running;
use super::made_up::MadeUp;

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
