//! Connections: stateful rules and NAT on real traffic, seen by the real conntrack and by the operator's commands.

use crate::Result;
use std::time::Duration;
use tests::{
    PortKind, Settings, Trio,
    addresses::{CLIENT, SERVER, WAN},
    flows::{PORT, STATEFUL},
    wait_until,
};

fn stateful() -> Result<Trio> {
    let trio = Trio::new(PortKind::AfPacket, &Settings::default())?;
    trio.daemon.load(STATEFUL)?;
    Ok(trio)
}

#[test]
fn masquerade_and_a_port_forward_are_seen_by_conntrack() -> Result {
    let trio = stateful()?;
    let Trio { client, server, .. } = &trio;
    assert_eq!(trio.meet(client, server, (SERVER, PORT))?, [WAN, "ok"], "the client is hidden");
    assert_eq!(trio.meet(server, client, (WAN, 8080))?, [SERVER, "ok"], "the port leads inside");
    assert_eq!(
        trio.meet(server, client, (CLIENT, PORT))?,
        ["nobody", "timeout"],
        "nothing else does"
    );

    let flows = trio.conntrack(&["-p", "tcp"])?;
    let has =
        |parts: &[&str]| flows.iter().any(|line| parts.iter().all(|part| line.contains(part)));
    let hidden = [
        &format!("src={CLIENT} dst={SERVER}")[..],
        &format!("src={SERVER} dst={WAN}"),
        "[ASSURED]",
    ];
    assert!(has(&hidden), "{flows:#?}");
    let forwarded = [
        &format!("src={SERVER} dst={WAN}")[..],
        "dport=8080",
        &format!("src={CLIENT} dst={SERVER} sport=7000"),
    ];
    assert!(has(&forwarded), "{flows:#?}");

    // Filters, and the end of one and of all. (`-U` is refused for translated flows, as by Linux.)
    assert_eq!(trio.conntrack(&["--dst-nat"])?.len(), 1);
    assert_eq!(trio.conntrack(&["--mark", "7"])?.len(), 0);
    trio.daemon.tool(&["conntrack", "-D", "-p", "tcp", "--dport", "8080"])?;
    assert_eq!(trio.conntrack(&["--dst-nat"])?.len(), 0);
    trio.daemon.tool(&["conntrack", "-F"])?;
    assert_eq!(trio.conntrack(&[])?.len(), 0);
    trio.daemon.stop().map(|_| ())
}

#[test]
fn events_are_told_while_they_happen() -> Result {
    let trio = stateful()?;
    let mut events = trio.daemon.start_tool(&["stdbuf", "-oL", "conntrack", "-E", "-p", "udp"])?;
    // It says nothing before the first event: send until there is one.
    wait_until("an event", Duration::from_secs(10), || {
        trio.send_udp(7005, 1, 10, 0)?;
        Ok(events.output().contains("[NEW]"))
    })?;
    trio.daemon.tool(&["conntrack", "-F"])?;
    events.wait_for_output("[DESTROY]", Duration::from_secs(5))?;
    let told = events.output();
    assert!(told.contains(&format!("src={CLIENT} dst={SERVER}")), "{told}");
    events.kill();
    trio.daemon.stop().map(|_| ())
}

#[test]
fn operators_see_flows_and_settings() -> Result {
    let trio = stateful()?;
    let set = trio.daemon.cli(&[
        "sysctl",
        "nf_conntrack_acct=1",
        "nf_conntrack_timestamp=1",
        "nf_conntrack_udp_timeout=7",
    ])?;
    assert!(set.has("net.netfilter.nf_conntrack_udp_timeout = 7"), "{set:?}");
    trio.send_udp(7005, 20, 100, 100)?;
    trio.meet(&trio.client, &trio.server, (SERVER, PORT))?;

    let flows = trio.daemon.json("flows")?;
    let all = flows["flows"].as_array().unwrap();
    let udp = all.iter().find(|flow| flow["protocol"] == "udp").expect("the datagrams' flow");
    assert_eq!(udp["packets"], serde_json::json!([20, 0]), "{udp}");
    assert_eq!(udp["bytes"], serde_json::json!([20 * 128, 0]), "{udp}");
    assert_eq!(udp["reply"]["destination"], WAN, "{udp}");
    assert!(udp["timeout_seconds"].as_u64().unwrap() <= 7, "{udp}");
    let text = trio.daemon.cli(&["flows", "--protocol", "tcp", "--nat"])?;
    assert!(
        text.has(&format!("as {WAN}:"))
            && text.has("ESTABLISHED") | text.has("TIME_WAIT") | text.has("CLOSE"),
        "{text:?}"
    );

    wait_until("the counts", Duration::from_secs(5), || {
        let status = trio.daemon.json("status")?;
        Ok(status["flows"]["inserted"].as_u64() >= Some(2)
            && status["flows"]["flows"].as_u64() >= Some(1))
    })?;
    // A timeout ends what it is told to end.
    wait_until("the datagrams' flow to end", Duration::from_secs(15), || {
        Ok(trio.conntrack(&["-p", "udp"])?.is_empty())
    })?;
    trio.daemon.stop().map(|_| ())
}
