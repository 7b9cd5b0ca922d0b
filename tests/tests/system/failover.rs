//! Two nodes with a real keepalived: addresses move, and connections go on.

use crate::Result;
use std::time::Duration;
use tests::{Pair, Setup, wait_until};

/// Without replication the address moves and the connections die: this is what the other tests must be able to see.
#[test]
fn without_replication_connections_die_with_their_node() -> Result {
    let mut pair = Pair::new(&Setup { ha: false, ..Setup::default() })?;
    pair.wait_for_master(0)?;
    let talk = pair.talk("--idle 10 --echo 10 --downloads 1 --probe 1000")?;
    let flood = pair.flood(1000, 1000, 60)?;
    std::thread::sleep(Duration::from_secs(1));
    let cut = pair.nodes[0].cut();
    wait_until("node 2 to be master", Duration::from_secs(5), || pair.nodes[1].has_addresses())?;
    std::thread::sleep(Duration::from_secs(1));
    let (flows, said) = flood.finish(cut)?;
    assert_eq!((flows.established, flows.established_lost), (1000, 1000), "{flows:?} {said}");
    assert!(flows.fresh >= 200 && flows.old_lost + flows.young_lost == flows.fresh, "{flows:?}");
    assert!(flows.later >= 100 && flows.later_lost == 0, "{flows:?} {said}");
    let report = talk.finish()?;
    assert_eq!(report.tcp.opened, 21, "{report:?}\n{}", pair.explain());
    assert_eq!(report.tcp.garbled + report.probe.garbled, 0, "{report:?}\n{}", pair.explain());
    assert_eq!(report.tcp.alive, 0, "{report:?}\n{}", pair.explain());
    // The probe's flow began anew, for its sender speaks.
    assert!(
        report.probe.lost >= 20 && report.probe.silence(0, u64::MAX) >= 20.0,
        "{report:?}\n{}",
        pair.explain()
    );
    assert!(report.probe.received > 1200, "{report:?}\n{}", pair.explain());
    Ok(())
}
