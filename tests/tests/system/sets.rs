//! Elements that packets put into sets, on two nodes.

use crate::{
    Result,
    failover::{SOON, sleep, wait_active},
};
use tests::{LabError, Pair, Setup, addresses::SERVER, pair::Node, wait_until};

/// Hosts of 10.64.0.0/22 get through once they knocked. The word is in the DSCP: cs1 knocks, cs2 takes it back, cs3 is limited by host, cs4
/// is noted in a map.
const RULESET: &str = "
table inet doors {
  set knocked { type ipv4_addr; flags dynamic,timeout; size 16; }
  set paced { type ipv4_addr; flags dynamic; size 16; }
  map noted { type ipv4_addr : ipv4_addr; flags dynamic,timeout; size 16; }
  chain forward {
    type filter hook forward priority filter - 1; policy accept;
    ip saddr != 10.64.0.0/22 accept
    ip dscp cs1 update @knocked { ip saddr timeout 2m } drop
    ip dscp cs2 delete @knocked { ip saddr } drop
    ip saddr != @knocked drop
    ip dscp cs3 add @paced { ip saddr limit rate over 1/hour burst 2 packets } drop
    ip dscp cs4 update @noted { ip saddr timeout 1h : ip daddr }
  }
}
";

const KNOCK: u8 = 0x20;
const REVOKE: u8 = 0x40;
const PACED: u8 = 0x60;
const NOTED: u8 = 0x80;

/// Whether an echo request of a host, with this TOS, is answered.
fn ping(pair: &Pair, host: u8, tos: u8) -> Result<bool> {
    let command = format!("ping -n -c 1 -W 1 -Q {tos} -I 10.64.0.{host} {SERVER}");
    Ok(pair.client.try_sh(&command)?.1)
}

/// The hosts in a set of a node, with the seconds that each has left (`None`: it stays).
fn hosts(node: &Node, kind: &str, name: &str) -> Result<Vec<(String, Option<u64>)>> {
    let listing = node.daemon.nft(&format!("-j list {kind} inet doors {name}"))?;
    let json = listing.json()?;
    let shape = || LabError::Shape { what: format!("the {kind} {name}"), text: listing.0.clone() };
    let items = json["nftables"].as_array().ok_or_else(shape)?;
    let set = items.iter().find_map(|item| item.get(kind)).ok_or_else(shape)?;
    let elements = set["elem"].as_array().cloned().unwrap_or_default();
    let host = |element: &serde_json::Value| {
        // An element of a map is a pair.
        let key = if kind == "map" { &element[0] } else { element };
        let (inner, value) = match key.get("elem") {
            Some(inner) => (inner, &inner["val"]),
            None => (key, key),
        };
        Some((value.as_str()?.to_owned(), inner["expires"].as_u64()))
    };
    let mut hosts: Vec<_> = elements.iter().filter_map(host).collect();
    hosts.sort();
    Ok(hosts)
}

fn names(node: &Node, kind: &str, name: &str) -> Result<Vec<String>> {
    Ok(hosts(node, kind, name)?.into_iter().map(|(host, _)| host).collect())
}

/// Waits until a node has just these hosts in a set.
fn wait_hosts(pair: &Pair, index: usize, of: (&str, &str), expected: &[&str]) -> Result {
    let node = &pair.nodes[index];
    let what = format!("{} of node {} to have {expected:?}", of.1, node.number);
    wait_until(&what, SOON, || Ok(names(node, of.0, of.1)? == expected))
        .inspect_err(|_| println!("{:?}\n{}", hosts(node, of.0, of.1), pair.explain()))
}

/// Who knocked stays known: to a standby at once, to one that was started again, and to the one that takes over.
#[test]
fn who_knocked_at_one_node_is_let_in_by_the_other() -> Result {
    let ruleset = [tests::pair::RULESET, RULESET].concat();
    let mut pair = Pair::new(&Setup { ruleset, ..Setup::default() })?;
    wait_active(&pair.nodes[0])?;
    assert!(!ping(&pair, 1, 0)?, "it has not knocked");
    for host in 1..=3 {
        assert!(!ping(&pair, host, KNOCK)?);
    }
    for host in 1..=2 {
        assert!(ping(&pair, host, NOTED)?);
    }
    // It uses up what the limit leaves it.
    assert_eq!(
        [ping(&pair, 1, PACED)?, ping(&pair, 1, PACED)?, ping(&pair, 1, PACED)?],
        [true, true, false]
    );
    let (knocked, paced, noted) = (("set", "knocked"), ("set", "paced"), ("map", "noted"));
    wait_hosts(&pair, 1, knocked, &["10.64.0.1", "10.64.0.2", "10.64.0.3"])?;
    wait_hosts(&pair, 1, paced, &["10.64.0.1"])?;
    wait_hosts(&pair, 1, noted, &["10.64.0.1", "10.64.0.2"])?;
    assert!(pair.nodes[1].daemon.nft("list map inet doors noted")?.has(&format!(": {SERVER}")));
    assert!(!ping(&pair, 2, REVOKE)?);
    wait_hosts(&pair, 1, knocked, &["10.64.0.1", "10.64.0.3"])?;

    // A standby that begins anew has it all again.
    pair.nodes[1].cut();
    pair.nodes[1].restart()?;
    pair.wait_synchronised()?;
    wait_hosts(&pair, 1, knocked, &["10.64.0.1", "10.64.0.3"])?;
    sleep(1000);

    pair.nodes[0].cut();
    wait_active(&pair.nodes[1])?;
    pair.wait_for_path()?;
    let left = hosts(&pair.nodes[1], "set", "knocked")?;
    assert!(
        left.len() == 2 && left.iter().all(|(_, left)| left.is_some_and(|left| left < 119)),
        "{left:?}"
    );
    assert!(ping(&pair, 1, 0)?, "{}", pair.explain());
    assert!(!ping(&pair, 2, 0)?, "it took it back");
    assert!(!ping(&pair, 4, 0)?, "it never knocked");
    // Its limit begins anew, and holds.
    assert_eq!(
        [ping(&pair, 1, PACED)?, ping(&pair, 1, PACED)?, ping(&pair, 1, PACED)?],
        [true, true, false]
    );
    assert!(pair.nodes[1].daemon.nft("list set inet doors paced")?.has("limit rate over 1/hour"));

    // Back again, the first hears it from the second.
    pair.nodes[0].restart()?;
    pair.wait_synchronised()?;
    wait_hosts(&pair, 0, knocked, &["10.64.0.1", "10.64.0.3"])?;
    wait_hosts(&pair, 0, noted, &["10.64.0.1", "10.64.0.2"])?;
    let taken = pair.nodes[0].ha_field("/counters/set_elements_taken")?;
    assert!(taken.as_u64().is_some_and(|taken| taken >= 5), "{taken}");
    Ok(())
}
