//! `ct timeout`: how long connections live in each of their states.

use nfnetlink::{Attr, Attrs, Errno, Result, Writer};

use crate::expr::{Decode, Encode};
use crate::family::Family;
use crate::model::{ObjectBody, ObjectKind, ObjectType};
use crate::packet::{Constancy, Cx};
use crate::schema::{Blob, Field as _};
use crate::verdict::Verdict;

crate::attributes! {
    /// How long connections live in each of their states.
    struct Attributes("ct timeout") {
        /// Their network protocol; the table's if it is not said.
        1 => l3proto: Option<u16>,
        /// Their transport protocol.
        2 => l4proto: u8,
        /// Seconds by state (`CTA_TIMEOUT_…`).
        3 => policy: Blob<1024>,
    }
}

/// Registered in `REGISTRY`.
pub(super) static TYPE: ObjectType =
    ObjectType { kind: ObjectKind(7), schema: Attributes::SCHEMA, decode, refusal: None };

/// A protocol's states: seconds by number of the attribute, 1 first, where nothing is said.
const PROTOCOLS: &[(u8, &[u32])] = &[
    // ICMP
    (1, &[30]),
    // TCP: SYN sent, SYN received, established, FIN wait, close wait, last ACK, time wait, close, SYN sent twice,
    // retransmitted, unacknowledged
    (6, &[120, 60, 432_000, 120, 60, 30, 120, 10, 120, 300, 300]),
    // UDP: unreplied, replied
    (17, &[30, 120]),
    // GRE
    (47, &[30, 180]),
    // ICMPv6
    (58, &[30]),
    // SCTP: closed, cookie wait, cookie echoed, established, shutdown sent, received, acknowledged, heartbeat sent
    (132, &[10, 3, 3, 210, 3, 3, 3, 30]),
    // UDP-Lite
    (136, &[30, 120]),
];

#[derive(Debug)]
struct Body {
    l3proto: u16,
    l4proto: u8,
    seconds: Box<[u32]>,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn ObjectBody>> {
    let Attributes { l3proto, l4proto, policy } = Attributes::decode(data)?;
    let l3proto = l3proto.unwrap_or(cx.family() as u16);
    let known = PROTOCOLS.iter().find(|(protocol, _)| *protocol == l4proto);
    let (_, defaults) = known.ok_or(Errno::EOPNOTSUPP)?;
    let mut seconds: Box<[u32]> = (*defaults).into();
    for attr in Attrs::new(&policy.0, 0) {
        let state = usize::from(attr.kind).checked_sub(1);
        if let Some(place) = state.and_then(|state| seconds.get_mut(state)) {
            *place = attr.u32().map_err(|error| error.errno)?;
        }
    }
    if matches!(cx.family(), Family::Arp | Family::Netdev) {
        return Err(Errno::EPROTONOSUPPORT.into());
    }
    Ok(Box::new(Body { l3proto, l4proto, seconds }))
}

impl ObjectBody for Body {
    fn kind(&self) -> &'static ObjectType {
        &TYPE
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        if let Some(connection) = cx.env.connection()
            && connection.key(0).protocol == self.l4proto
        {
            connection.set_timeouts(self.l4proto, &self.seconds);
        }
        Verdict::Continue
    }

    /// It is for connections that are not confirmed.
    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        Constancy::Flow
    }

    fn needs_tracking(&self) -> bool {
        true
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.l4proto.give(2, out);
        self.l3proto.give(1, out);
        out.nest_marked(3, |out| {
            for (seconds, state) in self.seconds.iter().zip(1..) {
                out.u32(state, *seconds);
            }
        });
    }
}
