//! The demo's part on connections: stateful rules, masquerade and a port forward, as the real conntrack sees them.

use super::{Finding, shape};
use crate::{
    Trio,
    addresses::{CLIENT, SERVER, WAN},
    flows::{PORT, STATEFUL},
};
use serde_json::json;

/// The client is hidden behind the router; its connection is in the table.
pub(super) fn masqueraded(trio: &Trio) -> Finding {
    trio.daemon.cli(&["sysctl", "nf_conntrack_acct=1", "nf_conntrack_timestamp=1"])?;
    trio.daemon.load(STATEFUL)?;
    let met = trio.meet(&trio.client, &trio.server, (SERVER, PORT))?;
    if met != [WAN, "ok"] {
        return Err(shape("a masqueraded connection", met.join(", ")));
    }
    let text = format!("the server sees {WAN} where {CLIENT} connects");
    Ok((text, json!({ "seen": WAN })))
}

/// One port of the router leads to the client, and nothing else does.
pub(super) fn forwarded(trio: &Trio) -> Finding {
    let through = trio.meet(&trio.server, &trio.client, (WAN, 8080))?;
    let past = trio.meet(&trio.server, &trio.client, (CLIENT, PORT))?;
    if through != [SERVER, "ok"] || past != ["nobody", "timeout"] {
        return Err(shape("a port forward", format!("{through:?} through it, {past:?} past it")));
    }
    let text = format!("{WAN}:8080 leads to {CLIENT}:{PORT}; what nobody asked for is dropped");
    Ok((text, json!({ "through": through, "past": past })))
}

/// The real conntrack lists both connections.
pub(super) fn listed(trio: &Trio) -> Finding {
    let flows = trio.conntrack(&["-p", "tcp"])?;
    let has = |part: &str| flows.iter().any(|line| line.contains(part));
    let hidden = format!("src={SERVER} dst={WAN} sport={PORT}");
    let forwarded = format!("src={CLIENT} dst={SERVER} sport={PORT}");
    if !has(&hidden) || !has(&forwarded) {
        return Err(shape("conntrack's list", flows.join("\n")));
    }
    let mut text = format!("conntrack -L shows {} TCP connections:", flows.len());
    for line in &flows {
        text.push_str(&format!(
            "\n                        {}",
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        ));
    }
    Ok((text, json!({ "flows": flows })))
}

/// TCP through stateful rules and NAT, as fast as without.
pub(super) fn transferred(trio: &Trio) -> Finding {
    super::transfer(trio, SERVER, false)
}
