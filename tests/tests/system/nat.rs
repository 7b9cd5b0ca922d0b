//! Real connections through a stateful ruleset and NAT: neither end notices but by the addresses.

use crate::Result;
use std::time::Duration;
use tests::{
    Netns, PortKind, Process, Settings, Trio,
    addresses::{CLIENT, LAN, SERVER, SERVER6, WAN, WAN6},
    wait_until,
};

/// As people write it for a home or an office: what the inside begins, and one service of its own.
const RULESET: &str = "
table inet fw {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state invalid counter drop
    ct state established,related counter accept
    iifname \"lan\" ct state new counter accept
    ct status dnat counter accept
  }
  chain leaving {
    type nat hook postrouting priority srcnat;
    oifname \"wan\" masquerade
  }
  chain arriving {
    type nat hook prerouting priority dstnat;
    iifname \"wan\" tcp dport 8080 dnat ip to 192.0.2.2:80
  }
}
";

/// The trio with the rules, whose server cannot reach the client by itself.
fn translated(kind: PortKind) -> Result<Trio> {
    let trio = Trio::new(kind, &Settings::default())?;
    trio.daemon.load(RULESET)?;
    trio.server.script("ip route del default\nip -6 route del default")?;
    Ok(trio)
}

/// Says who connects.
fn greeter(netns: &Netns, port: u16) -> Result<Process> {
    let program = format!(
        "import socket
s=socket.socket(socket.AF_INET6); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(('::',{port})); s.listen(); print('listening')
while True:
  c,a=s.accept(); c.sendall(('you are '+a[0].replace('::ffff:','')+' ').encode()); c.close()"
    );
    let mut greeter = netns.start(&["python3", "-u", "-c", &program])?;
    greeter.wait_for_output("listening", Duration::from_secs(10))?;
    Ok(greeter)
}

/// What a greeter says.
fn greeted(netns: &Netns, target: &str, port: u16) -> Result<String> {
    let program = format!(
        "import socket
try: print(socket.create_connection(('{target}',{port}),3).recv(99).decode())
except OSError as e: print(type(e).__name__)"
    );
    Ok(netns.run(&["python3", "-c", &program])?.0.trim().to_owned())
}

#[test]
fn connections_pass_a_stateful_ruleset_and_masquerade() -> Result {
    let trio = translated(PortKind::AfPacket)?;
    // Ping, traceroute, TCP both ways, a download, in both families.
    trio.tour()?;
    let _server = greeter(&trio.server, 7100)?;
    assert_eq!(greeted(&trio.client, SERVER, 7100)?, format!("you are {WAN}"));
    assert_eq!(greeted(&trio.client, SERVER6, 7100)?, format!("you are {WAN6}"));
    // The outside reaches the one service that is forwarded, under its own name, and nothing else.
    let _inside = greeter(&trio.client, 80)?;
    assert_eq!(greeted(&trio.server, WAN, 8080)?, format!("you are {SERVER}"));
    trio.server.sh(&format!("ip route add {CLIENT}/32 via {WAN}"))?;
    assert_eq!(greeted(&trio.server, CLIENT, 80)?, "TimeoutError");
    let counters = trio.daemon.counters("list chain inet fw forward")?;
    let [invalid, established, begun, forwarded] = counters[..] else { panic!("{counters:?}") };
    assert_eq!(invalid[0], 0, "no packet of a good connection is invalid: {counters:?}");
    assert!(established[0] > 1000 && begun[0] > 8, "{counters:?}");
    assert_eq!(forwarded[0], 1, "{counters:?}");
    assert!(trio.daemon.drops("rule_forward")? >= 1);
    trio.daemon.stop().map(|_| ())
}

#[test]
fn a_ruleset_change_and_another_port_range_do_not_disturb_connections() -> Result {
    let trio = translated(PortKind::AfPacket)?;
    let mut server = trio.server.start(&["iperf3", "-s", "-1", "--forceflush"])?;
    server.wait_for_output("Server listening", Duration::from_secs(10))?;
    let words = ["iperf3", "-c", SERVER, "-t", "4", "-i", "0.5", "-J", "--connect-timeout", "5000"];
    let mut client = trio.client.start(&words)?;
    let mut changes = 0;
    while client.is_running() {
        trio.daemon.load(&format!("flush ruleset\n{RULESET}"))?;
        trio.daemon
            .nft("insert rule inet fw leaving oifname wan tcp dport 9 masquerade to :1-9")?;
        changes += 2;
    }
    let report = client.finish(Duration::from_secs(10))?.json()?;
    assert!(changes >= 10, "only {changes} changes");
    let intervals = report.pointer("/intervals").and_then(serde_json::Value::as_array).unwrap();
    let stalled = intervals.iter().filter(|interval| {
        interval.pointer("/sum/bits_per_second").and_then(serde_json::Value::as_f64) < Some(1e6)
    });
    assert_eq!(stalled.count(), 0, "{report:#}");
    trio.daemon.stop().map(|_| ())
}

#[test]
fn a_path_mtu_behind_nat_is_told_to_whom_it_concerns() -> Result {
    let mut trio = translated(PortKind::AfPacket)?;
    // A narrow link behind the server, which routes there: what it tells is about translated packets.
    let far = trio.lab.netns("far")?;
    trio.lab.veth((&trio.server, "narrow"), (&far, "eth0"))?;
    trio.server.script(
        "sysctl -qw net.ipv4.ip_forward=1
         ip address add 203.0.113.1/24 dev narrow
         ip link set narrow mtu 1300",
    )?;
    far.script(&format!(
        "ip address add 203.0.113.9/24 dev eth0
         ip link set eth0 mtu 1300
         ip route add {WAN}/32 via 203.0.113.1"
    ))?;
    trio.router.sh(&format!("ip route add 203.0.113.0/24 via {SERVER}"))?;
    wait_until("the way there", Duration::from_secs(10), || {
        Ok(trio.client.try_sh("ping -n -c 1 -W 1 203.0.113.9")?.1)
    })?;
    let (told, _) = trio.client.try_sh("ping -n -c 1 -W 3 -M do -s 1400 203.0.113.9")?;
    assert!(told.has(&format!("From {SERVER}")) && told.has("mtu = 1300"), "{}", told.0);
    assert!(trio.client.sh("ip route get 203.0.113.9")?.has("mtu 1300"));
    trio.client.sh("ip route flush cache")?;
    // TCP finds out by itself, and traceroute sees each hop though it sits behind NAT.
    let mut server = far.start(&["iperf3", "-s", "-1", "--forceflush"])?;
    server.wait_for_output("Server listening", Duration::from_secs(10))?;
    let words = ["iperf3", "-c", "203.0.113.9", "-t", "1", "-J", "--connect-timeout", "5000"];
    let report = trio.client.run_for(&words, Duration::from_secs(20))?.json()?;
    let rate = report.pointer("/end/sum_received/bits_per_second").and_then(|n| n.as_f64());
    assert!(rate > Some(1e6), "{report:#}");
    assert_eq!(trio.traceroute("203.0.113.9")?, [LAN, SERVER, "203.0.113.9"]);
    trio.daemon.stop().map(|_| ())
}

#[test]
fn ten_thousand_queries_a_second_are_answered_through_nat() -> Result {
    const QUERIES: u64 = 30_000;
    let trio = translated(PortKind::AfPacket)?;
    let file = trio.lab.scratch().join("queries");
    let queries: String = (0..QUERIES).map(|n| format!("n{n}.example A\n")).collect();
    std::fs::write(&file, queries).unwrap();
    let mut server = trio.server.start(&[
        "dnsmasq",
        "--no-daemon",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--cache-size=0",
        "--address=/example/192.0.2.77",
        "--user=root",
    ])?;
    wait_until("the name server", Duration::from_secs(10), || {
        Ok(server.output().contains("started"))
    })?;
    // Many sockets: each is a flow of its own.
    let file = file.display().to_string();
    let words = ["dnsperf", "-s", SERVER, "-d", &file, "-Q", "10000", "-c", "200", "-n", "1"];
    let report = trio.client.run_for(&words, Duration::from_secs(40))?.0;
    let number = |what: &str| {
        let line = report.lines().find(|line| line.contains(what));
        line.and_then(|line| line.split(':').nth(1)?.split_whitespace().next()?.parse::<f64>().ok())
    };
    let (done, rate) = (number("Queries completed"), number("Queries per second"));
    println!("{report}");
    assert_eq!(done, Some(QUERIES as f64), "{report}");
    assert!(rate > Some(9_000.0), "{report}");
    let invalid = trio.daemon.counters("list chain inet fw forward")?;
    assert_eq!(invalid[0][0], 0, "{invalid:?}");
    server.kill();
    trio.daemon.stop().map(|_| ())
}
