//! `ct expectation`: a connection that another one announces.

use nfnetlink::{Attr, Errno, Result, Writer};

use crate::expr::{Decode, Encode};
use crate::family::Family;
use crate::model::{ObjectBody, ObjectKind, ObjectType};
use crate::packet::Cx;
use crate::schema::{Blob, Field as _};
use crate::verdict::Verdict;

crate::attributes! {
    /// A connection that another one announces.
    struct Attributes("ct expectation") {
        /// Its network protocol; the table's if it is not said.
        1 => l3proto: Option<u16>,
        /// Its transport protocol.
        2 => l4proto: u8,
        /// Its destination port.
        3 => dport: u16,
        /// Milliseconds that it is waited for, in the order of the machine.
        4 => timeout: Blob<4>,
        /// Connections that may be waited for at once.
        5 => size: u8,
    }
}

/// Registered in `REGISTRY`.
pub(super) static TYPE: ObjectType = ObjectType {
    kind: ObjectKind(9),
    schema: Attributes::SCHEMA,
    decode,
    refusal: Some(super::NO_HELPERS),
};

/// TCP, UDP, DCCP, SCTP, UDP-Lite.
const PROTOCOLS: [u8; 5] = [6, 17, 33, 132, 136];

#[derive(Debug)]
struct Body {
    l3proto: u16,
    l4proto: u8,
    dport: u16,
    timeout: Blob<4>,
    size: u8,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn ObjectBody>> {
    let Attributes { l3proto, l4proto, dport, timeout, size } = Attributes::decode(data)?;
    let own = cx.family();
    let l3proto = l3proto.unwrap_or(own as u16);
    match u8::try_from(l3proto).map(Family::from_number) {
        Ok(Ok(Family::Ipv4 | Family::Ipv6)) if l3proto == own as u16 || own == Family::Inet => {}
        Ok(Ok(Family::Inet)) => {}
        Ok(Ok(Family::Ipv4 | Family::Ipv6)) => return Err(Errno::EINVAL.into()),
        _ => return Err(Errno::EAFNOSUPPORT.into()),
    }
    if !PROTOCOLS.contains(&l4proto) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    Ok(Box::new(Body { l3proto, l4proto, dport, timeout, size }))
}

impl ObjectBody for Body {
    fn kind(&self) -> &'static ObjectType {
        &TYPE
    }

    fn eval(&self, _cx: &mut Cx<'_>) -> Verdict {
        Verdict::Continue
    }

    fn needs_tracking(&self) -> bool {
        true
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.l3proto.give(1, out);
        self.l4proto.give(2, out);
        self.dport.give(3, out);
        self.timeout.give(4, out);
        self.size.give(5, out);
    }
}
