//! The demo's part on rules: the real nft loads them, and traffic fares as on Linux.

use super::{Finding, shape};
use crate::{
    Trio,
    addresses::{SERVER, SERVER6},
    rules::RULESET,
};
use serde_json::{Value, json};
use std::time::Duration;

/// nft loads the ruleset and lists it; what is allowed passes.
pub(super) fn loaded(trio: &Trio) -> Finding {
    trio.daemon.load(RULESET)?;
    let status = trio.daemon.json("status")?;
    let count = |key: &str| status.pointer(&format!("/rules/{key}")).and_then(Value::as_u64);
    let listing = trio.daemon.nft("list ruleset")?.0;
    if !listing.contains("tcp dport @refused_ports") {
        return Err(shape("nft's listing", listing));
    }
    let _listener = trio.listen()?;
    trio.client.sh(&format!("ping -n -q -c 3 -i 0.05 -W 2 {SERVER}"))?;
    for target in [SERVER, SERVER6] {
        let end = trio.connect(target, 7000)?;
        if end != "ok" {
            return Err(shape("a connection that is allowed", format!("{target}: {end}")));
        }
    }
    let (Some(rules), Some(sets)) = (count("rules"), count("sets")) else {
        return Err(shape("how many rules there are", status.to_string()));
    };
    let text =
        format!("nft loaded {rules} rules, {sets} sets and maps; ping and TCP port 7000 pass");
    Ok((text, json!({ "rules": rules, "sets": sets })))
}

/// What is refused is refused as a Linux router does it.
pub(super) fn refused(trio: &Trio) -> Finding {
    let _listener = trio.listen()?;
    let mut ends = Vec::new();
    for (target, port, wanted) in [
        (SERVER, 7001, "ECONNREFUSED"),
        (SERVER, 7002, "EHOSTUNREACH"),
        (SERVER, 7004, "timeout"),
        (SERVER6, 7001, "ECONNREFUSED"),
        (SERVER6, 7002, "EACCES"),
        (SERVER6, 7003, "EHOSTUNREACH"),
    ] {
        let end = trio.connect(target, port)?;
        if end != wanted {
            return Err(shape(
                "a refused connection",
                format!("{target} {port}: {end}, not {wanted}"),
            ));
        }
        ends.push(json!({ "target": target, "port": port, "end": end }));
    }
    let text = "tcp reset: ECONNREFUSED; icmp: EHOSTUNREACH, EACCES; drop: timeout".to_owned();
    Ok((text, json!({ "connections": ends })))
}

/// Counters hold what was sent.
pub(super) fn counted(trio: &Trio) -> Finding {
    let before = trio.daemon.counters("list counter inet filter greetings")?;
    trio.send_udp(7005, 1000, 100, 2000)?;
    std::thread::sleep(Duration::from_millis(200));
    let after = trio.daemon.counters("list counter inet filter greetings")?;
    match (&before[..], &after[..]) {
        // 28 bytes of headers each.
        ([[packets, bytes]], [[now, now_bytes]])
            if now - packets == 1000 && now_bytes - bytes == 128_000 =>
        {
            let text = "1,000 datagrams sent, 1,000 packets and 128,000 bytes counted";
            Ok((text.into(), json!({ "packets": 1000, "bytes": 128_000 })))
        }
        _ => Err(shape("the counter", format!("{before:?} before, {after:?} after"))),
    }
}

/// A limit holds within a hundredth.
pub(super) fn limited(trio: &Trio) -> Finding {
    let (passed, wanted) = trio.limited()?;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let off = (passed as f64 - wanted) / wanted * 100.0;
    let text = format!("{passed} packets passed at 400/second, {off:+.2} % off");
    trio.daemon.load(RULESET)?;
    if off.abs() <= 1.0 {
        Ok((text, json!({ "packets": passed, "percent_off": off })))
    } else {
        Err(shape("the limit", text))
    }
}

/// Rules change while iperf3 runs: no packet is lost, and `nft monitor` tells.
pub(super) fn changed(trio: &Trio) -> Finding {
    let mut monitor = trio.daemon.start_tool(&["stdbuf", "-oL", "nft", "monitor"])?;
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
        "3",
        "-J",
        "--connect-timeout",
        "5000",
    ])?;
    std::thread::sleep(Duration::from_millis(500));
    let (mut changes, mut slowest) = (0, 0);
    while client.is_running() {
        trio.daemon.nft("add rule inet filter udp_in udp dport 4242 counter")?;
        changes += 1;
        let status = trio.daemon.json("status")?;
        slowest =
            slowest.max(status.pointer("/rules/adopted_ns").and_then(Value::as_u64).unwrap_or(0));
    }
    let report = client.finish(Duration::from_secs(10))?.json()?;
    let number = |path: &str| report.pointer(path).and_then(Value::as_u64);
    let (sent, lost) = (number("/end/sum/packets"), number("/end/sum/lost_packets"));
    monitor.wait_for_output(
        "add rule inet filter udp_in udp dport 4242 counter",
        Duration::from_secs(5),
    )?;
    let text = format!(
        "{changes} rules added while iperf3 sent {} datagrams, {} lost; nft monitor shows them; all workers run one after {:.2} ms at most",
        sent.unwrap_or(0),
        lost.map_or("?".into(), |lost| lost.to_string()),
        Duration::from_nanos(slowest).as_secs_f64() * 1e3
    );
    let fields = json!({ "rules_added": changes, "datagrams": sent, "lost": lost, "slowest_adoption_ns": slowest });
    trio.daemon.nft("flush ruleset")?;
    match (changes, sent, lost) {
        (1.., Some(1000..), Some(0)) => Ok((text, fields)),
        _ => Err(shape("a ruleset that changes", text)),
    }
}
