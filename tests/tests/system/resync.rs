//! Nodes that come and go while others are being told everything; a third node; rules that differ; another arbiter.

use crate::{
    Result,
    failover::{SOON, sleep, wait_active},
};
use std::time::Duration;
use tests::{Pair, Setup, wait_until};

/// A node that is started again in the middle of a bulk begins it anew, and gets everything.
#[test]
fn a_bulk_that_is_interrupted_begins_anew() -> Result {
    let mut pair = Pair::new(&Setup::default())?;
    wait_active(&pair.nodes[0])?;
    let flood = pair.flood(40_000, 500, 60)?;
    for _ in 0..3 {
        pair.nodes[1].cut();
        pair.nodes[1].restart()?;
        // Somewhere in the bulk, or before it, or just behind.
        sleep(50);
    }
    pair.nodes[1].cut();
    pair.nodes[1].restart()?;
    pair.wait_synchronised()?;
    let [first, second] = [pair.nodes[0].flows()?, pair.nodes[1].flows()?];
    assert!(second >= 40_000 && first.abs_diff(second) <= first / 20, "{first} and {second} flows");
    let cut = pair.nodes[0].cut();
    wait_active(&pair.nodes[1])?;
    let (flows, said) = flood.finish(cut)?;
    assert_eq!((flows.established, flows.established_lost), (40_000, 0), "{flows:?} {said}");
    assert!(flows.old_lost == 0 && flows.young_lost <= 2, "{flows:?}");
    Ok(())
}

/// The owner dies in the middle of a bulk: the other one has a part of the flows, says so, and serves after a bounded time.
#[test]
fn an_owner_that_dies_in_a_bulk_is_followed_by_who_is_left() -> Result {
    let ha_lines = "promote_unsynchronised_s = 2".to_owned();
    let mut pair = Pair::new(&Setup { ha_lines, ..Setup::default() })?;
    wait_active(&pair.nodes[0])?;
    let flood = pair.flood(40_000, 0, 60)?;
    pair.nodes[1].cut();
    pair.nodes[1].restart()?;
    let cut = pair.nodes[0].cut();
    wait_until("node 2 to be active", Duration::from_secs(20), || {
        Ok(pair.nodes[1].role()? == "active" && pair.nodes[1].has_addresses()?)
    })?;
    pair.wait_for_path()?;
    // What it has works; what it has not was never there for it.
    let (flows, said) = flood.finish(cut)?;
    println!("{flows:?} {said}");
    assert_eq!(flows.established, 40_000);
    assert!(said.contains("misled 0"), "{said}");
    // The first comes back empty, and is filled by the second.
    pair.nodes[0].restart()?;
    pair.wait_synchronised()?;
    assert_eq!(pair.nodes[1].role()?, "active");
    Ok(())
}

/// Three nodes: two may die, one after the other.
#[test]
fn of_three_nodes_two_may_die() -> Result {
    let mut pair = Pair::new(&Setup { nodes: 3, ..Setup::default() })?;
    wait_active(&pair.nodes[0])?;
    let talk = pair.talk("--idle 20 --echo 20 --downloads 1")?;
    sleep(500);
    for dying in 0..2 {
        pair.nodes[dying].cut();
        wait_active(&pair.nodes[dying + 1])?;
        sleep(1500);
    }
    let report = talk.finish()?;
    assert_eq!((report.tcp.opened, report.tcp.alive), (41, 41), "{report:?}\n{}", pair.explain());
    Ok(())
}

/// Nodes whose rules differ say so, and one can take the other's.
#[test]
fn rules_that_differ_are_noticed_and_can_be_pulled() -> Result {
    let pair = Pair::new(&Setup { keepalived: false, ..Setup::default() })?;
    let agree = |index: usize| {
        Ok::<_, tests::LabError>(pair.nodes[index].ha_field("/peers/0/ruleset_agrees")? == true)
    };
    wait_until("agreement", SOON, || Ok(agree(0)? && agree(1)?))?;
    pair.nodes[0].daemon.nft("add rule inet filter forward tcp dport 4711 counter drop")?;
    wait_until("disagreement", SOON, || Ok(!agree(0)? && !agree(1)?))?;
    let screen = pair.nodes[1].daemon.cli(&["ha", "status"])?.0;
    assert!(
        screen.contains("SAME RULES") && screen.contains(" NO "),
        "a person sees it:\n{screen}"
    );
    pair.nodes[1].daemon.cli(&["ha", "pull-ruleset", "1"])?;
    wait_until("agreement again", SOON, || Ok(agree(0)? && agree(1)?))?;
    assert!(pair.nodes[1].daemon.nft("list ruleset")?.has("4711"));
    Ok(())
}

/// A key is exchanged as docs/config.md says, by SIGHUP on one node after the other. Traffic and replication do not notice; a file
/// that is wrong, or would make a node deaf to the other, changes nothing.
#[test]
fn keys_are_exchanged_while_everything_runs() -> Result {
    const NEW: &str = "2 a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5";
    let mut pair = Pair::new(&Setup { keepalived: false, ..Setup::default() })?;
    let talk = pair.talk("--idle 20 --echo 20 --downloads 1 --probe 1000")?;
    let flood = pair.flood(500, 500, 60)?;
    let bulks = pair.nodes[0].ha_count("bulks_given")?;
    let mut reload = |lines: &[&str], nodes: &[usize], says: &str| {
        pair.write_keys(lines)?;
        for &node in nodes {
            let daemon = &mut pair.nodes[node].daemon;
            let before = daemon.log().matches(says).count();
            daemon.process().signal(rustix::process::Signal::HUP);
            wait_until(&format!("{says:?} of node {}", node + 1), SOON, || {
                Ok(daemon.log().matches(says).count() > before)
            })?;
        }
        Ok::<_, tests::LabError>(())
    };
    let (took, old) = ("the keys changed: it took effect", tests::pair::KEY);
    reload(&["2 a5a5"], &[0, 1], "the new configuration is wrong: nothing was changed")?;
    reload(&[NEW], &[0], "seals with key 1")?;
    reload(&[NEW, old], &[0, 1], took)?;
    reload(&[old, NEW], &[0], took)?;
    // One sends with the old key, one with the new one.
    sleep(500);
    reload(&[old, NEW], &[1], took)?;
    reload(&[NEW], &[0, 1], took)?;
    sleep(500);
    for node in &pair.nodes {
        for name in ["rejected_key", "rejected_forged", "silences"] {
            assert_eq!(node.ha_count(name)?, 0, "{name}\n{}", pair.explain());
        }
        assert!(node.daemon.log().contains("accepted=[2] sending=2"), "{}", pair.explain());
    }
    assert_eq!(pair.nodes[0].ha_count("bulks_given")?, bulks, "{}", pair.explain());
    let cut = pair.nodes[0].cut();
    pair.nodes[1].daemon.cli(&["ha", "promote"])?;
    pair.give_addresses(&pair.nodes[1])?;
    let (flows, said) = flood.finish(cut)?;
    assert_eq!((flows.established, flows.established_lost), (500, 0), "{flows:?} {said}");
    assert!(flows.fresh >= 300 && flows.old_lost == 0, "{flows:?} {said}");
    let report = talk.finish()?;
    assert_eq!((report.tcp.opened, report.tcp.alive), (41, 41), "{report:?}\n{}", pair.explain());
    assert_eq!(report.probe.lost_between(0, cut - 50_000_000), 0, "{report:?}\n{}", pair.explain());
    Ok(())
}

/// The agent for pacemaker, called as pacemaker calls it.
#[test]
fn the_resource_agent_drives_the_roles() -> Result {
    let pair = Pair::new(&Setup { keepalived: false, ..Setup::default() })?;
    let agent = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/pacemaker/twinwall");
    let call = |index: usize, action: &str| {
        let node = &pair.nodes[index];
        let program = tests::Daemon::binary()?.display().to_string();
        let [binary, socket] = [
            format!("OCF_RESKEY_binary={program}"),
            format!("OCF_RESKEY_socket={}", node.daemon.socket().display()),
        ];
        let mut process = node.netns.start(&["env", &binary, &socket, agent, action])?;
        let status = process.wait(Duration::from_secs(30))?;
        Ok::<_, tests::LabError>((status.code().unwrap_or(-1), process.output()))
    };
    // OCF_SUCCESS 0, OCF_NOT_RUNNING 7, OCF_RUNNING_PROMOTED 8 (OCF Resource Agent API 1.1).
    let expect = |index: usize, action: &str, code: i32| {
        let (is, output) = call(index, action)?;
        assert_eq!(is, code, "{action} on node {}: {output}\n{}", index + 1, pair.explain());
        Ok::<_, tests::LabError>(output)
    };
    assert!(expect(0, "meta-data", 0)?.contains("<resource-agent name=\"twinwall\""));
    expect(0, "validate-all", 0)?;
    expect(0, "monitor", 8)?;
    expect(1, "monitor", 0)?;
    expect(1, "start", 0)?;
    expect(1, "notify", 0)?;
    // As pacemaker moves the promoted role: demote here, promote there.
    expect(0, "demote", 0)?;
    expect(0, "monitor", 0)?;
    expect(1, "promote", 0)?;
    expect(1, "monitor", 8)?;
    expect(1, "promote", 0)?;
    expect(1, "stop", 0)?;
    expect(1, "monitor", 0)?;
    let (code, _) = call(0, "no-such-action")?;
    assert_eq!(code, 3);
    Ok(())
}
