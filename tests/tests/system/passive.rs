//! A passive node: it sees what a mirror shows it, and can say whether that is what the active node has.

use crate::{Result, failover::SOON};
use tests::pair::{Node, Talk};
use tests::{Pair, Setup, addresses::SERVER, wait_until};

/// What `ha verify` on a node found, and whether it said by its exit code that nothing differs.
fn verify(node: &Node) -> Result<(bool, [u64; 4])> {
    let said = node.daemon.cli(&["ha", "verify"]).is_ok();
    let found = node.ha_field("/verify")?;
    let field = |name: &str| found[name].as_u64().unwrap_or_default();
    Ok((said, ["compared", "differ", "skipped", "flows"].map(field)))
}

/// It has neither routes nor neighbours, sees one side of the active node's NAT, and sees the same flows; what it misses is noticed.
#[test]
fn a_passive_node_verifies_what_it_saw() -> Result {
    let setup = Setup { nodes: 1, watcher: true, keepalived: false, ..Setup::default() };
    let pair = Pair::new(&setup)?;
    let watcher = pair.watcher(&setup)?;
    pair.mirror(&watcher, true)?;
    // What began before is not known there.
    pair.nodes[0].daemon.tool(&["conntrack", "-F"])?;
    let talk = pair.talk("--idle 20 --echo 10 --datagrams 10")?;
    let inwards = pair.talk_inwards("--idle 5 --echo 5")?;
    let ports = pair.nodes[0].daemon.tool(&["conntrack", "-L", "-n"])?.0;
    assert!(ports.lines().count() >= 40, "they are translated:\n{ports}");
    wait_until("the passive node to see what the active one has", SOON, || {
        let (said, [compared, differ, _, flows]) = verify(&watcher)?;
        Ok(said && compared >= 1000 && (differ, flows) == (0, 50))
    })
    .inspect_err(|_| {
        for node in [&pair.nodes[0], &watcher] {
            println!("{:?}\n{:?}", node.daemon.tool(&["conntrack", "-L"]), node.ha());
        }
    })?;

    // One that is lost there.
    let tcp = watcher.daemon.tool(&["conntrack", "-L", "-p", "tcp", "--orig-dst", SERVER])?.0;
    let port = tcp.split_whitespace().find_map(|word| word.strip_prefix("sport="));
    let port = port.unwrap_or_default();
    watcher.daemon.tool(&["conntrack", "-D", "-p", "tcp", "--sport", port])?;
    let (said, [compared, differ, ..]) = verify(&watcher)?;
    assert_eq!((said, differ), (false, 1), "{compared} compared");
    assert!(compared >= 1000, "{compared}");

    // Those that it is not shown.
    pair.mirror(&watcher, false)?;
    let target = format!("{SERVER}:7001");
    let unseen = Talk::start(&pair.client, (&pair.server, 7001), &target, "--idle 10")?;
    let (said, [compared, differ, ..]) = verify(&watcher)?;
    assert!(!said && (6..=11).contains(&differ), "{differ} of {compared}");

    assert_eq!(pair.sent_by(&watcher)?, 0);
    for talk in [talk, inwards, unseen] {
        let report = talk.finish()?;
        assert_eq!(report.tcp.alive, report.tcp.opened, "{report:?}");
    }
    Ok(())
}
