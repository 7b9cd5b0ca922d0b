//! First packets that wait until the standby has their flow.

use crate::{
    Result,
    failover::{SOON, sleep},
};
use tests::{Pair, Setup, traffic, wait_until};

/// Two nodes and no arbiter; first packets of the flood's flows wait.
fn deferring(strict: bool) -> Result<Pair> {
    Pair::new(&Setup { keepalived: false, ..Setup::default() }.deferring(strict))
}

/// Invariant 7: of the flows whose first packet came through none is lost, however young it was when its node died.
#[test]
fn a_flow_that_waited_for_its_standby_survives_however_young_it_is() -> Result {
    let mut pair = deferring(true)?;
    let flood = pair.flood(500, 2000, 60)?;
    sleep(1000);
    let cut = pair.nodes[0].cut();
    pair.nodes[1].daemon.cli(&["ha", "promote"])?;
    pair.give_addresses(&pair.nodes[1])?;
    sleep(500);
    let (flows, said) = flood.finish(cut)?;
    println!("{flows:?}");
    let explain = || format!("{flows:?} {said}\n{}", pair.explain());
    assert_eq!((flows.established, flows.established_lost), (500, 0), "{}", explain());
    assert!(flows.fresh >= 200, "{}", explain());
    assert_eq!((flows.old_lost, flows.young_lost), (0, 0), "{}", explain());
    // There is nobody left to wait for, and a promise is a promise: what is new now does not get through.
    assert_eq!(flows.later, 0, "{}", explain());
    assert!(pair.nodes[1].daemon.drops("defer_timeout")? > 0, "{}", explain());
    Ok(())
}

/// Without a standby, and without `strict`, each first packet leaves after its 5 ms, and is counted.
#[test]
fn first_packets_do_not_wait_for_ever() -> Result {
    let mut pair = deferring(false)?;
    pair.nodes[1].cut();
    wait_until("node 2 to be gone", SOON, || {
        Ok(pair.nodes[0].ha_field("/peers/0/alive")?.as_bool() == Some(false))
    })?;
    let flood = pair.flood(0, 500, 60)?;
    sleep(1000);
    let (flows, said) = flood.finish(traffic::now())?;
    println!("{flows:?}");
    let explain = || format!("{flows:?} {said}\n{}", pair.explain());
    let begun = flows.fresh + flows.later;
    assert!(begun >= 200, "{}", explain());
    assert_eq!(flows.old_lost + flows.young_lost + flows.later_lost, 0, "{}", explain());
    assert!(pair.nodes[0].ha_count("deferred_overdue")? >= begun, "{}", explain());
    assert_eq!(pair.nodes[0].daemon.drops("defer_timeout")?, 0, "{}", explain());
    Ok(())
}
