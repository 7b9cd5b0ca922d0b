//! Forwarding as the kernel's routes say, and what senders are told when it cannot be done.

use crate::Result;
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use tests::{
    Output, PortKind, Settings, Sniffer, Trio,
    addresses::{LAN, LAN6, SERVER, SERVER6},
    wait_until,
};

/// A host that is routed nowhere unless a test routes it.
const FAR: &str = "203.0.113.9";
const FAR6: &str = "2001:db8:f::9";

fn af_packet() -> Result<Trio> {
    Trio::new(PortKind::AfPacket, &Settings::default())
}

/// One ping whose answer is an ICMP error; returns what ping says.
fn refused(trio: &Trio, line: &str) -> Result<Output> {
    Ok(trio.client.try_sh(&format!("ping -n -c 1 -W 3 {line}"))?.0)
}

/// Pings until ping says `words`: a route takes a moment to be mirrored.
fn until_refused(trio: &Trio, line: &str, words: &[&str]) -> Result {
    wait_until(&format!("ping {line}: {words:?}"), Duration::from_secs(10), || {
        let output = refused(trio, line)?;
        Ok(words.iter().all(|word| output.has(word)))
    })
}

#[test]
fn a_hop_limit_that_runs_out_is_told() -> Result {
    let trio = af_packet()?;
    let output = refused(&trio, &format!("-t 1 {SERVER}"))?;
    assert!(
        output.has(&format!("From {LAN}")) && output.has("Time to live exceeded"),
        "{}",
        output.0
    );
    let output = refused(&trio, &format!("-t 1 {SERVER6}"))?;
    assert!(
        output.has(&format!("From {LAN6}")) && output.has("Time exceeded: Hop limit"),
        "{}",
        output.0
    );
    assert_eq!(trio.daemon.drops("ttl_expired")?, 2);
    trio.daemon.stop().map(|_| ())
}

#[test]
fn no_route_and_refusing_routes_are_told() -> Result {
    let trio = af_packet()?;
    until_refused(&trio, FAR, &[&format!("From {LAN}"), "Destination Net Unreachable"])?;
    until_refused(&trio, FAR6, &[&format!("From {LAN6}"), "Destination unreachable: No route"])?;
    assert!(trio.daemon.drops("no_route")? >= 2);
    // What Linux answers for each kind; for IPv6 it tells an unreachable route from none in no way.
    for (kind, reason, words, words6) in [
        (
            "unreachable",
            "unreachable",
            "Destination Host Unreachable",
            "Destination unreachable: Address unreachable",
        ),
        (
            "prohibit",
            "prohibited",
            "Packet filtered",
            "Destination unreachable: Administratively prohibited",
        ),
    ] {
        trio.router.script(&format!(
            "ip route replace {kind} {FAR}/32\nip -6 route replace {kind} {FAR6}/128"
        ))?;
        until_refused(&trio, FAR, &[&format!("From {LAN}"), words])?;
        until_refused(&trio, FAR6, &[&format!("From {LAN6}"), words6])?;
        assert!(trio.daemon.drops(reason)? >= 2, "{reason}");
    }
    trio.router.script(&format!(
        "ip route replace blackhole {FAR}/32\nip -6 route replace blackhole {FAR6}/128"
    ))?;
    wait_until("the blackhole", Duration::from_secs(10), || {
        refused(&trio, FAR)?;
        Ok(trio.daemon.drops("blackhole")? >= 1)
    })?;
    wait_until("the IPv6 blackhole", Duration::from_secs(10), || {
        let before = trio.daemon.drops("blackhole")?;
        refused(&trio, FAR6)?;
        Ok(trio.daemon.drops("blackhole")? == before + 1)
    })?;
    let output = refused(&trio, FAR)?;
    assert!(!output.has("From"), "a blackhole is silent: {}", output.0);
    trio.daemon.stop().map(|_| ())
}

#[test]
fn the_path_mtu_is_told_and_tcp_follows_it() -> Result {
    let trio = af_packet()?;
    trio.router.sh("ip link set wan mtu 1400")?;
    until_refused(&trio, &format!("-M do -s 1472 {SERVER}"), &["mtu = 1400"])?;
    until_refused(&trio, &format!("-M do -s 1452 {SERVER6}"), &["Packet too big: mtu=1400"])?;
    assert!(trio.daemon.drops("too_big")? >= 2);
    // The kernel of the sender has learnt it, and what fits passes.
    assert!(trio.client.sh(&format!("ip route get {SERVER}"))?.has("mtu 1400"));
    assert!(trio.client.sh(&format!("ip route get {SERVER6}"))?.has("mtu 1400"));
    trio.client.sh(&format!("ping -n -c 1 -W 2 -M do -s 1372 {SERVER}"))?;
    trio.client.sh(&format!("ping -n -c 1 -W 2 -M do -s 1352 {SERVER6}"))?;
    trio.client.script("ip route flush cache\nip -6 route flush cache")?;
    assert!(trio.iperf(SERVER, 1, false)? > 10e6);
    assert!(trio.iperf(SERVER6, 1, false)? > 10e6);
    trio.daemon.stop().map(|_| ())
}

#[test]
fn an_ipv4_packet_is_fragmented_where_it_may_be() -> Result {
    let trio = Trio::new(PortKind::AfXdp, &Settings::default())?;
    trio.router.sh("ip link set wan mtu 1280")?;
    let sniffer = Sniffer::start(&trio.server, "eth0")?;
    wait_until("the new MTU", Duration::from_secs(10), || {
        trio.client.sh(&format!("ping -n -c 1 -W 2 -M dont -s 1400 {SERVER}"))?;
        // Bit 13 of the flags and offset: more fragments.
        Ok(sniffer
            .frames()
            .iter()
            .any(|frame| frame.get(12..14) == Some(&[8, 0]) && frame[20] & 0x20 != 0))
    })?;
    for frame in sniffer
        .frames()
        .iter()
        .filter(|frame| frame.get(12..14) == Some(&[8, 0]) && frame[20] & 0x3f != 0)
    {
        assert!(frame.len() <= 14 + 1280, "a fragment of {} bytes", frame.len());
    }
    // The server put the fragments together again, or it would not have answered.
    trio.client.sh(&format!("ping -n -c 20 -i 0.02 -W 2 -M dont -s 1400 {SERVER}"))?;
    trio.daemon.stop().map(|_| ())
}

#[test]
fn equal_paths_share_flows_and_a_flow_keeps_its_path() -> Result {
    const FLOWS: usize = 200;
    let trio = af_packet()?;
    // Two next hops that are only MAC addresses: the sniffer behind the wire tells them apart.
    trio.router.script(
        "ip neigh replace 198.51.100.11 lladdr 02:00:00:00:00:11 dev wan nud permanent
         ip neigh replace 198.51.100.12 lladdr 02:00:00:00:00:12 dev wan nud permanent
         ip route add 203.0.113.0/24 nexthop via 198.51.100.11 dev wan nexthop via 198.51.100.12 dev wan",
    )?;
    let send = format!(
        "import socket,time
for again in range(3):
  for n in range({FLOWS}):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 20000 + n))
    try: s.sendto(b'x' * 20, ('203.0.113.%d' % (n % 200 + 1), 9))
    except OSError: pass
    s.close()
  time.sleep(0.1)"
    );
    let sniffer = Sniffer::start(&trio.server, "eth0")?;
    let mut paths: HashMap<[u8; 12], HashSet<u8>> = HashMap::new();
    wait_until("every flow on the wire", Duration::from_secs(15), || {
        trio.client.run(&["python3", "-c", &send])?;
        paths.clear();
        for frame in sniffer.frames() {
            // UDP to the network that has two paths: flow = addresses and ports, path = the MAC's last byte.
            if frame.len() >= 42
                && frame[12..14] == [8, 0]
                && frame[23] == 17
                && frame[30..33] == [203, 0, 113]
            {
                paths.entry(frame[26..38].try_into().unwrap()).or_default().insert(frame[5]);
            }
        }
        Ok(paths.len() == FLOWS)
    })?;
    assert!(paths.values().all(|path| path.len() == 1), "a flow changed its path");
    let first = paths.values().filter(|path| path.contains(&0x11)).count();
    let second = paths.values().filter(|path| path.contains(&0x12)).count();
    assert_eq!(first + second, FLOWS);
    // Half and half within four standard deviations (σ = 7.1).
    assert!(first.abs_diff(FLOWS / 2) <= 28, "{first} flows by one path, {second} by the other");
    trio.daemon.stop().map(|_| ())
}

#[test]
fn a_changing_table_loses_nothing() -> Result {
    let trio = af_packet()?;
    let mut server = trio.server.start(&["iperf3", "-s", "-1", "--forceflush"])?;
    server.wait_for_output("Server listening", Duration::from_secs(10))?;
    let mut client = trio.client.start(&[
        "iperf3",
        "-c",
        SERVER,
        "-u",
        "-b",
        "20M",
        "-l",
        "1000",
        "-t",
        "5",
        "-J",
        "--connect-timeout",
        "5000",
    ])?;
    let generation = |trio: &Trio| {
        Ok::<_, tests::LabError>(trio.daemon.json("status")?.pointer("/tables/generation").cloned())
    };
    let before = generation(&trio)?;
    let mut changes = 0;
    while client.is_running() {
        // The route in use is replaced by one as good, by a more specific one, and back, among routes of no matter.
        trio.router.script(&format!(
            "ip route add {SERVER}/32 dev wan
             ip route add 203.0.113.0/24 via {SERVER}
             ip route del {SERVER}/32 dev wan
             ip route replace 203.0.113.0/24 via {SERVER} metric 5
             ip route flush root 203.0.113.0/24"
        ))?;
        changes += 5;
    }
    let report = client.finish(Duration::from_secs(10))?.json()?;
    let number = |path: &str| report.pointer(path).and_then(serde_json::Value::as_u64);
    assert!(changes >= 50, "only {changes} changes in 5 s");
    assert_ne!(generation(&trio)?, before, "the changes were not mirrored");
    assert_eq!(number("/end/sum/lost_packets"), Some(0), "{report:#}");
    assert!(number("/end/sum/packets").is_some_and(|packets| packets > 10_000), "{report:#}");
    trio.daemon.stop().map(|_| ())
}

#[test]
fn a_packet_waits_for_its_neighbour() -> Result {
    let trio = af_packet()?;
    for target in [SERVER, SERVER6] {
        for _ in 0..5 {
            trio.router.sh("ip neigh flush dev wan")?;
            // One packet, one answer: the packet that made the kernel ask is not lost.
            let (output, answered) = trio.client.try_sh(&format!("ping -n -c 1 -W 3 {target}"))?;
            assert!(
                answered,
                "{}\n{}\n{}",
                output.0,
                trio.daemon.cli(&["drops"])?.0,
                trio.router.sh("ip neigh show dev wan")?.0
            );
        }
    }
    trio.daemon.stop().map(|_| ())
}

#[test]
fn a_neighbour_that_is_not_there_is_told() -> Result {
    let trio = af_packet()?;
    for (target, via, words) in [
        ("198.51.100.77", LAN, "Destination Host Unreachable"),
        ("2001:db8:2::77", LAN6, "Destination unreachable: Address unreachable"),
    ] {
        let output = trio.client.try_sh(&format!("ping -n -c 3 -W 5 {target}"))?.0;
        assert!(output.has(&format!("From {via}")) && output.has(words), "{}", output.0);
    }
    assert!(trio.daemon.drops("neighbour_failed")? >= 2);
    // Only so many packets wait for one neighbour, the others are counted; nothing grows.
    trio.client.try_sh("ping -n -q -c 100 -i 0.005 -W 1 198.51.100.78")?;
    assert!(trio.daemon.drops("neighbour_queue_full")? > 0);
    trio.daemon.stop().map(|_| ())
}

#[test]
fn errors_are_limited_to_the_rate() -> Result {
    let settings = Settings { dataplane: "icmp_rate = 10".into(), ..Settings::default() };
    let trio = Trio::new(PortKind::AfPacket, &settings)?;
    let output = trio.client.try_sh(&format!("ping -n -c 200 -i 0.005 -W 1 {FAR}"))?.0;
    let errors = output.0.matches("Destination Net Unreachable").count();
    assert!(
        (1..=60).contains(&errors),
        "{errors} errors for 200 packets in a second, at 10 a second"
    );
    assert!(trio.daemon.drops("no_route")? >= 200, "all are counted, told or not");
    trio.daemon.stop().map(|_| ())
}

#[test]
fn a_link_that_goes_down_and_up_is_followed() -> Result {
    let trio = af_packet()?;
    // The port and its twin's carrier say the same.
    let wait_for_link = |up: bool| {
        wait_until(
            if up { "the link to be up" } else { "the link to be down" },
            Duration::from_secs(10),
            || {
                let ports = trio.daemon.json("ports")?;
                let port =
                    ports.pointer("/ports/0/up").and_then(serde_json::Value::as_bool) == Some(true);
                let carrier = !trio.router.sh("ip link show lan")?.has("NO-CARRIER");
                Ok(port == up && carrier == up)
            },
        )
    };
    wait_for_link(true)?;
    trio.client.sh("ip link set eth0 down")?;
    wait_for_link(false)?;
    trio.client.sh("ip link set eth0 up")?;
    wait_for_link(true)?;
    Trio::address_client(&trio.client)?;
    trio.wait_for_paths()?;
    trio.daemon.stop().map(|_| ())
}
