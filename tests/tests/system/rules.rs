//! Rules: the real nft and iptables-nft drive the daemon, and packets fare as on Linux.

use crate::Result;
use rustix::process::Signal;
use std::{fs, time::Duration};
use tests::{
    Daemon, LabError, PortKind, Settings, Trio,
    addresses::{CLIENT, SERVER, SERVER6},
    rules::RULESET,
    wait_until,
};

fn af_packet() -> Result<Trio> {
    Trio::new(PortKind::AfPacket, &Settings::default())
}

#[test]
fn traffic_fares_as_the_rules_say_and_as_on_linux() -> Result {
    let trio = af_packet()?;
    trio.daemon.load(RULESET)?;
    let _listener = trio.listen()?;
    trio.client.sh(&format!("ping -n -q -c 3 -i 0.05 -W 2 {SERVER}"))?;
    assert_eq!(trio.connect(SERVER, 7000)?, "ok");
    assert_eq!(trio.connect(SERVER, 7001)?, "ECONNREFUSED");
    // As a Linux client takes ICMP "communication administratively prohibited" and "host unreachable" in answer to its SYN.
    assert_eq!(trio.connect(SERVER, 7002)?, "EHOSTUNREACH");
    assert_eq!(trio.connect(SERVER, 7003)?, "EHOSTUNREACH");
    assert_eq!(trio.connect(SERVER, 7004)?, "timeout");
    assert_eq!(trio.connect(SERVER6, 7001)?, "ECONNREFUSED");
    assert_eq!(trio.connect(SERVER6, 7002)?, "EACCES");
    assert_eq!(trio.connect(SERVER6, 7003)?, "EHOSTUNREACH");

    // 28 bytes of headers for each.
    trio.send_udp(7005, 250, 100, 1000)?;
    wait_until("every datagram to be counted", Duration::from_secs(5), || {
        Ok(trio.daemon.counters("list counter inet filter greetings")? == [[250, 250 * 128]])
    })?;
    let refused = trio.daemon.counters("list chain inet filter tcp_in")?;
    // A refused connection is one SYN; the one that is dropped tries again.
    assert_eq!(refused[0], [2, 60 + 80], "{refused:?}");
    assert!(refused[3][0] >= 2, "{refused:?}");

    // A set's element decides from the moment that nft returns, either way.
    trio.daemon.nft("add element inet filter refused_ports { 7000 }")?;
    assert_eq!(trio.connect(SERVER, 7000)?, "ECONNREFUSED");
    trio.daemon.nft("delete element inet filter refused_ports { 7000 }")?;
    assert_eq!(trio.connect(SERVER, 7000)?, "ok");
    trio.daemon.nft("flush ruleset")?;
    assert_eq!(trio.connect(SERVER, 7004)?, "ok");
    trio.daemon.stop().map(|_| ())
}

#[test]
fn a_limit_is_exact_within_a_hundredth() -> Result {
    let trio = af_packet()?;
    let (passed, wanted) = trio.limited()?;
    let off = (passed as f64 - wanted).abs() / wanted;
    assert!(off <= 0.01, "{passed} packets passed, not {wanted:.0}");
    trio.daemon.stop().map(|_| ())
}

#[test]
fn a_changing_ruleset_loses_nothing_and_is_adopted_at_once() -> Result {
    // Two workers where there are two cores.
    let cores = if fs::read_to_string("/sys/devices/system/cpu/online").unwrap().trim() == "0" {
        vec![0]
    } else {
        vec![0, 1]
    };
    let trio = Trio::new(PortKind::AfPacket, &Settings { cores, ..Settings::default() })?;
    trio.daemon.load(RULESET)?;
    let mut server = trio.server.start(&["iperf3", "-s", "-1", "--forceflush"])?;
    server.wait_for_output("Server listening", Duration::from_secs(10))?;
    let mut client = trio.client.start(&[
        "iperf3",
        "-c",
        SERVER,
        "-u",
        "-b",
        "10M",
        "-l",
        "1000",
        "-t",
        "4",
        "-J",
        "--connect-timeout",
        "5000",
    ])?;
    let mut changes = 0;
    let mut took = Vec::new();
    while client.is_running() {
        trio.daemon.nft("add rule inet filter tcp_in tcp dport 1-100 counter")?;
        trio.daemon.nft("insert rule inet filter forward ip saddr 203.0.113.9 drop")?;
        changes += 2;
        let status = trio.daemon.json("status")?;
        let number = |key: &str| {
            status.pointer(&format!("/rules/{key}")).and_then(serde_json::Value::as_u64).unwrap()
        };
        assert_eq!(number("generation"), number("oldest_in_use"), "acknowledged before all ran it");
        took.push(number("adopted_ns"));
    }
    let report = client.finish(Duration::from_secs(10))?.json()?;
    let number = |path: &str| report.pointer(path).and_then(serde_json::Value::as_u64);
    assert!(changes >= 20, "only {changes} changes");
    assert_eq!(number("/end/sum/lost_packets"), Some(0), "{report:#}");
    assert!(number("/end/sum/packets").is_some_and(|packets| packets > 4_000), "{report:#}");
    took.sort_unstable();
    println!(
        "{changes} changes; adopted in {} µs (median), {} µs (worst)",
        took[took.len() / 2] / 1000,
        took[took.len() - 1] / 1000
    );
    assert!(took[took.len() / 2] < 1_000_000, "median {took:?} ns");
    trio.daemon.stop().map(|_| ())
}

#[test]
fn monitors_tell_what_happens() -> Result {
    let trio = af_packet()?;
    trio.daemon.load(RULESET)?;
    trio.daemon.nft("insert rule inet filter forward icmp type echo-request meta nftrace set 1")?;
    let mut monitor = trio.daemon.start_tool(&["stdbuf", "-oL", "nft", "monitor"])?;
    let mut trace = trio.daemon.start_tool(&["stdbuf", "-oL", "nft", "monitor", "trace"])?;
    // A listener hears only what happens after it listens; it says nothing then.
    wait_until("both to listen", Duration::from_secs(10), || {
        trio.daemon.nft("add rule inet filter udp_in udp dport 4242 counter")?;
        Ok(monitor.output().contains("4242"))
    })?;
    monitor.wait_for_output("udp dport 4242 counter", Duration::from_secs(5))?;
    monitor.wait_for_output("# new generation", Duration::from_secs(5))?;
    trio.client.sh(&format!("ping -n -q -c 1 -W 2 {SERVER}"))?;
    for words in [
        "inet filter forward packet: iif \"lan\" oif \"wan\"",
        "inet filter forward rule icmp type echo-request meta nftrace set 1 (verdict continue)",
        "(verdict accept)",
    ] {
        trace.wait_for_output(words, Duration::from_secs(5))?;
    }
    assert!(trace.output().contains(&format!("ip saddr {CLIENT} ip daddr {SERVER}")));
    trio.daemon.stop().map(|_| ())
}

#[test]
fn logged_packets_are_in_the_log_and_not_too_many() -> Result {
    let trio = af_packet()?;
    trio.daemon.load("table ip t {\n chain c {\n type filter hook forward priority 0;\n udp dport 7 log prefix \"seen: \" level warn\n }\n }\n")?;
    trio.send_udp(7, 1, 10, 0)?;
    wait_until("the line", Duration::from_secs(5), || {
        let log = trio.daemon.log();
        Ok(log.lines().any(|line| {
            line.contains("seen:")
                && line.contains(SERVER)
                && line.contains("dport=7")
                && line.contains("lan")
        }))
    })?;
    trio.send_udp(7, 20_000, 10, 0)?;
    wait_until("what was suppressed to be said", Duration::from_secs(5), || {
        Ok(trio.daemon.log().contains("more packets were to be logged than may be"))
    })?;
    let lines = trio.daemon.log().matches("seen:").count();
    assert!(lines < 5_000, "{lines} lines");
    let status = trio.daemon.json("status")?;
    assert!(status.pointer("/rules/logs_suppressed").and_then(serde_json::Value::as_u64) > Some(0));
    trio.daemon.stop().map(|_| ())
}

/// A configuration that begins with a file of rules.
fn with_file(trio: &mut Trio, ruleset: &str) -> std::path::PathBuf {
    let file = trio.lab.scratch().join("nftables.conf");
    fs::write(&file, ruleset).unwrap();
    let config = trio.daemon.config_file().to_owned();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\n[rules]\nruleset = \"{}\"\n", file.display())).unwrap();
    file
}

#[test]
fn rules_of_a_file_are_there_at_each_start_and_at_sighup() -> Result {
    let mut trio = af_packet()?;
    let file = with_file(&mut trio, RULESET);
    trio.daemon.kill();
    trio.daemon.restart()?;
    let listed = trio.daemon.nft("list ruleset")?.0;
    assert!(listed.contains("7004 counter") && listed.contains("@friends"), "{listed}");
    // By hand something is added; SIGHUP brings the file's rules back, as `systemctl reload nftables` does.
    trio.daemon.nft("add table ip by_hand")?;
    trio.daemon.process().signal(Signal::HUP);
    wait_until("the file's rules", Duration::from_secs(10), || {
        Ok(!trio.daemon.nft("list ruleset")?.has("by_hand"))
    })?;
    // A bad file changes nothing while it runs.
    trio.daemon.nft("add table ip by_hand")?;
    fs::write(
        &file,
        "flush ruleset\ntable inet filter {\n chain c {\n tcp dport nonsense accept\n }\n}\n",
    )
    .unwrap();
    trio.daemon.process().signal(Signal::HUP);
    wait_until("the refusal", Duration::from_secs(10), || {
        let log = trio.daemon.log();
        Ok(log.contains("the old rules stay") && log.contains("nonsense"))
    })?;
    let kept = trio.daemon.nft("list ruleset")?;
    assert!(kept.has("by_hand") && kept.has("@friends"), "{}", kept.0);
    // And it stops a start: nothing is forwarded unprotected.
    trio.daemon.kill();
    let (config, socket) = (trio.daemon.config_file().to_owned(), trio.daemon.socket().to_owned());
    let mut refused = Daemon::spawn(&trio.router, config, socket)?;
    assert!(!refused.process().wait(Duration::from_secs(30))?.success());
    let log = refused.log();
    assert!(log.contains("nothing is forwarded without it") && log.contains("nonsense"), "{log}");
    Ok(())
}

#[test]
fn the_last_commit_survives_a_crash() -> Result {
    let mut trio = af_packet()?;
    let state = trio.lab.scratch().join("kept/ruleset.nfnl");
    let config = trio.daemon.config_file().to_owned();
    let text = fs::read_to_string(&config).unwrap();
    let rules = format!("{text}\n[rules]\nrestore = \"last\"\nstate = \"{}\"\n", state.display());
    fs::write(&config, rules).unwrap();
    trio.daemon.kill();
    trio.daemon.restart()?;
    trio.daemon.load(RULESET)?;
    trio.daemon.tool(&[
        "iptables-nft",
        "-A",
        "FORWARD",
        "-p",
        "tcp",
        "--dport",
        "8080",
        "-m",
        "comment",
        "--comment",
        "kept",
        "-j",
        "REJECT",
    ])?;
    let before = trio.daemon.nft("list ruleset")?.0;
    let xt = trio.daemon.tool(&["iptables-nft-save"])?.0;
    std::thread::sleep(Duration::from_millis(1200));
    trio.daemon.kill();
    trio.daemon.restart()?;
    assert_eq!(trio.daemon.nft("list ruleset")?.0, before);
    let rules = |text: &str| {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(rules(&trio.daemon.tool(&["iptables-nft-save"])?.0), rules(&xt));
    // A clean stop keeps what was committed just before.
    trio.daemon.nft("add table ip just_before")?;
    trio.daemon.process().signal(Signal::TERM);
    trio.daemon.process().wait(Duration::from_secs(20))?;
    trio.daemon.restart()?;
    assert!(trio.daemon.nft("list tables")?.has("just_before"));
    // What is no ruleset stops a start.
    trio.daemon.kill();
    fs::write(&state, "table ip t { }").unwrap();
    let (config, socket) = (config, trio.daemon.socket().to_owned());
    let mut refused = Daemon::spawn(&trio.router, config, socket)?;
    assert!(!refused.process().wait(Duration::from_secs(30))?.success());
    assert!(refused.log().contains("move the file away"), "{}", refused.log());
    Ok(())
}

#[test]
fn iptables_drives_it_too() -> Result {
    let trio = af_packet()?;
    let rule = [
        "-A",
        "FORWARD",
        "-p",
        "icmp",
        "-d",
        SERVER,
        "-j",
        "REJECT",
        "--reject-with",
        "icmp-port-unreachable",
    ];
    trio.daemon.tool(&[&["iptables-nft"], &rule[..]].concat())?;
    let (output, answered) = trio.client.try_sh(&format!("ping -n -c 1 -W 2 {SERVER}"))?;
    assert!(!answered && output.has("Destination Port Unreachable"), "{}", output.0);
    let saved = trio.daemon.tool(&["iptables-nft-save"])?.0;
    assert!(saved.contains("-A FORWARD -d 198.51.100.2/32 -p icmp -j REJECT"), "{saved}");
    trio.daemon.tool(&["iptables-nft", "-F"])?;
    trio.client.sh(&format!("ping -n -c 1 -W 2 {SERVER}"))?;
    // The kernel of the router has none of it.
    let kernel = trio.router.sh("nft list ruleset")?.0;
    assert!(kernel.trim().is_empty(), "{kernel}");
    Ok::<_, LabError>(()).and_then(|()| trio.daemon.stop().map(|_| ()))
}
