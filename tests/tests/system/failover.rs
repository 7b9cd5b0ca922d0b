//! Two nodes with a real keepalived: addresses move, and connections go on.

use crate::Result;
use std::time::Duration;
use tests::{Pair, Setup, pair::Node, traffic, wait_until};

/// How long keepalived may take to notice and act, on a machine that is busy with other tests.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Packets that a worker may be handing to a device at one moment, of a traffic that brings one or two at a time.
const AT_ONCE: usize = 8;

pub(crate) fn sleep(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// Waits until a node is the active one and has the addresses.
pub(crate) fn wait_active(node: &Node) -> Result {
    wait_until(&format!("node {} to be active", node.number), SOON, || {
        Ok(node.role()? == "active" && node.has_addresses()?)
    })
}

/// Without replication the address moves and the connections die: this is what the other tests must be able to see.
#[test]
fn without_replication_connections_die_with_their_node() -> Result {
    let mut pair = Pair::new(&Setup { ha: false, ..Setup::default() })?;
    pair.wait_for_master(0)?;
    let talk = pair.talk("--idle 10 --echo 10 --downloads 1 --probe 1000")?;
    let flood = pair.flood(1000, 1000, 60)?;
    sleep(1000);
    let cut = pair.nodes[0].cut();
    wait_until("node 2 to be master", SOON, || pair.nodes[1].has_addresses())?;
    sleep(1000);
    let (flows, said) = flood.finish(cut)?;
    assert_eq!((flows.established, flows.established_lost), (1000, 1000), "{flows:?} {said}");
    assert!(flows.fresh >= 200 && flows.old_lost + flows.young_lost == flows.fresh, "{flows:?}");
    assert!(flows.later >= 100 && flows.later_lost == 0, "{flows:?} {said}");
    let report = talk.finish()?;
    assert_eq!(report.tcp.opened, 21, "{report:?}\n{}", pair.explain());
    assert_eq!(report.tcp.garbled + report.probe.garbled, 0, "{report:?}\n{}", pair.explain());
    assert_eq!(report.tcp.alive, 0, "{report:?}\n{}", pair.explain());
    // The probe's flow began anew, for its sender speaks.
    assert!(report.probe.lost >= 20 && report.probe.silence(0, u64::MAX) >= 20.0, "{report:?}");
    assert!(report.probe.received > 1200, "{report:?}\n{}", pair.explain());
    Ok(())
}

/// The reason this project exists: the active node dies, its connections do not, whether they are translated (IPv4) or not (IPv6).
/// Then the dead one comes back and gets every flow.
#[test]
fn a_connection_does_not_notice_that_its_firewall_died() -> Result {
    let mut pair = Pair::new(&Setup::default())?;
    wait_active(&pair.nodes[0])?;
    assert_eq!(pair.nodes[1].role()?, "standby");
    let talk = pair.talk("--idle 60 --echo 60 --downloads 2 --datagrams 10 --probe 1000")?;
    let talk6 = pair.talk6("--idle 20 --echo 20 --downloads 2 --datagrams 10")?;
    let flood = pair.flood(5000, 2000, 60)?;
    sleep(1000);
    let cut = pair.nodes[0].cut();
    wait_active(&pair.nodes[1])?;
    let taken = traffic::now();
    sleep(1500);
    let (flows, said) = flood.finish(cut)?;
    println!("{flows:?}");
    assert_eq!((flows.established, flows.established_lost), (5000, 0), "{flows:?} {said}");
    assert!(flows.fresh >= 500, "{flows:?}");
    assert_eq!(flows.old_lost, 0, "{flows:?}");
    assert!(flows.young_lost <= 2, "{flows:?}");
    assert!(flows.later >= 500 && flows.later_lost == 0, "{flows:?} {said}");
    assert!(said.contains("misled 0"), "an answer went to the wrong one: {said}");

    // Back again: everything comes over, and both say so.
    pair.nodes[0].restart()?;
    pair.wait_synchronised()?;
    let [first, second] = [pair.nodes[0].flows()?, pair.nodes[1].flows()?];
    assert!(first >= 5132 && first.abs_diff(second) <= second / 20, "{first} and {second} flows");
    sleep(500);
    let report = talk.finish()?;
    println!("{report:?}");
    let explain = || format!("{report:?}\n{}", pair.explain());
    assert_eq!((report.tcp.opened, report.tcp.alive), (122, 122), "{}", explain());
    assert_eq!(report.tcp.garbled + report.probe.garbled + report.datagrams.garbled, 0);
    assert!(report.tcp.bytes_verified > 1_000_000, "{report:?}");
    let report6 = talk6.finish()?;
    let tcp = &report6.tcp;
    assert_eq!((tcp.opened, tcp.alive), (42, 42), "{report6:?}\n{}", pair.explain());
    assert!(tcp.bytes_verified > 1_000_000 && tcp.garbled == 0, "{report6:?}");
    assert!(report6.datagrams.received > 0 && report6.datagrams.garbled == 0, "{report6:?}");
    // The figure for people is the demo's, with faster adverts; this only says that it was an outage of that kind.
    assert!(report.probe.silence(cut, taken) < 2000.0, "{}", explain());
    Ok(())
}

/// Only the daemon dies; keepalived notices that the twins are gone. Connections that came in by the port forward go on, too, and
/// masqueraded ones.
#[test]
fn a_dead_daemon_alone_is_noticed() -> Result {
    let ruleset = tests::pair::RULESET.replace("snat to 198.51.100.1", "masquerade");
    let mut pair = Pair::new(&Setup { ruleset, ..Setup::default() })?;
    wait_active(&pair.nodes[0])?;
    let out = pair.talk("--idle 10 --echo 20 --downloads 1")?;
    let inwards = pair.talk_inwards("--idle 10 --echo 20 --downloads 1")?;
    sleep(500);
    pair.nodes[0].daemon.kill();
    wait_active(&pair.nodes[1])?;
    sleep(1000);
    for talk in [out, inwards] {
        let report = talk.finish()?;
        assert_eq!(
            (report.tcp.opened, report.tcp.alive),
            (31, 31),
            "{report:?}\n{}",
            pair.explain()
        );
    }
    Ok(())
}

/// Every fifth packet between the nodes is lost, and then one of the two networks there altogether: what survives is the same.
#[test]
fn sync_packets_may_be_lost() -> Result {
    let mut pair = Pair::new(&Setup { links: 2, ..Setup::default() })?;
    wait_active(&pair.nodes[0])?;
    pair.lose(20)?;
    let flood = pair.flood(5000, 2000, 60)?;
    sleep(1500);
    pair.between.set_link(0, 0, false)?;
    sleep(1500);
    let cut = pair.nodes[0].cut();
    wait_active(&pair.nodes[1])?;
    sleep(500);
    let (flows, said) = flood.finish(cut)?;
    println!("{flows:?}");
    assert_eq!((flows.established, flows.established_lost), (5000, 0), "{flows:?} {said}");
    assert!(flows.fresh >= 2000 && flows.later_lost == 0, "{flows:?} {said}");
    // What was said in the last moments and lost could not be repaired any more, by a node that was dead. `make compare` tells how
    // young these are; here the machine may be busy with other things.
    assert!(flows.old_lost + flows.young_lost <= flows.fresh / 50, "{flows:?}");
    assert!(flows.oldest_lost_ms < 500.0, "{flows:?}");
    assert!(said.contains("misled 0"), "an answer went to the wrong one: {said}");
    Ok(())
}

/// The owner stands still for ten seconds and goes on: what it had received before, it must not forward any more. No keepalived is
/// here: one would hear the adverts that waited in the stopped daemon's twin, and might rightly make it the owner again, anew.
#[test]
fn who_slept_does_not_forward_with_an_old_term() -> Result {
    use rustix::process::Signal;
    use tests::Sniffer;
    let mut pair = Pair::new(&Setup { keepalived: false, ..Setup::default() })?;
    wait_until("node 1 to be active", SOON, || Ok(pair.nodes[0].role()? == "active"))?;
    let talk = pair.talk("--echo 20 --probe 1000")?;
    sleep(500);
    let term = pair.nodes[0].ha_field("/term")?.as_u64();
    pair.nodes[0].daemon.process().signal(Signal::STOP);
    sleep(500);
    pair.nodes[1].daemon.cli(&["ha", "promote"])?;
    pair.give_addresses(&pair.nodes[1])?;
    wait_active(&pair.nodes[1])?;
    assert!(pair.nodes[1].ha_field("/term")?.as_u64() > term);
    sleep(10_000);
    let sniffers = [Sniffer::start(&pair.wan, "node1")?, Sniffer::start(&pair.lan, "node1")?];
    pair.nodes[0].daemon.process().signal(Signal::CONT);
    wait_until("node 1 to be standby", SOON, || Ok(pair.nodes[0].role()? == "standby"))?;
    sleep(1000);
    // TCP or UDP of the traffic's port, IPv4 without options: its ports follow behind 34 bytes.
    let port = 7000_u16.to_be_bytes();
    for sniffer in &sniffers {
        let frames = sniffer.frames();
        let forwarded = frames.iter().filter(|frame| {
            frame.get(12..15) == Some(&[8, 0, 0x45])
                && matches!(frame.get(23), Some(6 | 17))
                && (frame.get(34..36) == Some(&port) || frame.get(36..38) == Some(&port))
        });
        // Nothing can be asked between the last look at the lease and the device: what was on its way there goes out. A whole burst and
        // more was waiting behind it, and would follow before the worker hears that it stands by.
        let forwarded = forwarded.count();
        assert!(forwarded <= AT_ONCE, "{forwarded} {}", pair.explain());
    }
    assert_eq!(pair.nodes[1].role()?, "active");
    let report = talk.finish()?;
    assert_eq!((report.tcp.opened, report.tcp.alive), (20, 20), "{report:?}\n{}", pair.explain());
    Ok(())
}

/// A switchover as planned, there and back: no packet is lost.
#[test]
fn a_planned_switchover_loses_no_packet() -> Result {
    let pair = Pair::new(&Setup::default())?;
    wait_active(&pair.nodes[0])?;
    let talk = pair.talk("--idle 20 --echo 20 --downloads 1 --datagrams 10 --probe 1000")?;
    let mut changes = Vec::new();
    let begin = pair.nodes[0].ha_field("/term")?.as_u64();
    for (from, to) in [(0, 1), (1, 0)] {
        sleep(1000);
        let before = traffic::now();
        if let Some(keepalived) = &pair.nodes[from].keepalived {
            keepalived.switch_over()?;
        }
        wait_active(&pair.nodes[to])?;
        sleep(1000);
        changes.push((before, traffic::now()));
        // For five seconds it passes on what still comes to it.
        let role = pair.nodes[from].role()?;
        assert!(role == "redirecting" || role == "standby", "{role}");
    }
    let report = talk.finish()?;
    println!("{report:?}");
    let explain = || format!("{report:?}\n{}", pair.explain());
    let end = pair.nodes[0].ha_field("/term")?.as_u64();
    assert_eq!(end, begin.map(|term| term + 2), "keepalived saw a live node dead: {}", explain());
    assert_eq!((report.tcp.opened, report.tcp.alive), (41, 41), "{}", explain());
    for (before, after) in changes {
        assert_eq!(report.probe.lost_between(before, after), 0, "{}", explain());
    }
    assert_eq!(report.datagrams.lost, 0, "{}", explain());
    Ok(())
}

/// An arbiter that cannot make up its mind, as keepalived on a starved machine: the ownership changes a dozen times within a second
/// or two, and no flow is lost by it.
#[test]
fn owners_that_change_quickly_lose_no_flow() -> Result {
    let pair = Pair::new(&Setup { keepalived: false, ..Setup::default() })?;
    let talk = pair.talk("--idle 40 --echo 20 --downloads 1")?;
    for _ in 0..6 {
        for index in [1, 0] {
            pair.nodes[index].daemon.cli(&["ha", "promote", "--force"])?;
            sleep(50);
        }
    }
    wait_until("node 1 to be active", SOON, || Ok(pair.nodes[0].role()? == "active"))?;
    pair.wait_synchronised()?;
    sleep(1000);
    let report = talk.finish()?;
    assert_eq!((report.tcp.opened, report.tcp.alive), (61, 61), "{report:?}\n{}", pair.explain());
    Ok(())
}

/// keepalived says once that a node is to stand by. Where nobody can take over at that moment the node goes on, and hands over as
/// soon as another one has all flows: else the addresses would be at one node and the flows at the other.
#[test]
fn a_demotion_that_was_refused_is_tried_again() -> Result {
    let mut pair = Pair::new(&Setup { keepalived: false, ..Setup::default() })?;
    pair.nodes[1].daemon.kill();
    wait_until("node 2 to be gone", SOON, || {
        Ok(pair.nodes[0].ha_field("/peers/0/alive")?.as_bool() == Some(false))
    })?;
    pair.nodes[0].daemon.cli(&["ha", "notify", "GROUP", "twinwall", "BACKUP", "100"])?;
    sleep(500);
    assert_eq!(pair.nodes[0].role()?, "active", "{}", pair.explain());
    pair.nodes[1].restart()?;
    wait_until("node 2 to be active", SOON, || Ok(pair.nodes[1].role()? == "active"))?;
    let role = pair.nodes[0].role()?;
    assert!(role == "redirecting" || role == "standby", "{role}\n{}", pair.explain());
    Ok(())
}
