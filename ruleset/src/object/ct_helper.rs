//! `ct helper`: a helper that connections may be given.

use nfnetlink::{Attr, Errno, Result, Writer};

use crate::expr::{Decode, Encode};
use crate::family::Family;
use crate::model::{ObjectBody, ObjectKind, ObjectType};
use crate::packet::Cx;
use crate::schema::{Field as _, Text};
use crate::verdict::Verdict;

crate::attributes! {
    /// A helper that connections may be given.
    struct Attributes("ct helper") {
        /// Its name.
        1 => name: Text<15>,
        /// Network protocol of its connections; the table's if it is not said.
        2 => l3proto: Option<u16>,
        /// Their transport protocol.
        3 => l4proto: u8,
    }
}

/// Registered in `REGISTRY`.
pub(super) static TYPE: ObjectType = ObjectType {
    kind: ObjectKind(3),
    schema: Attributes::SCHEMA,
    decode,
    refusal: Some(super::NO_HELPERS),
};

/// Helpers that Linux has: transport protocols, and whether there is one for IPv6, too.
const HELPERS: &[(&str, &[u8], bool)] = &[
    ("amanda", &[UDP], true),
    ("ftp", &[TCP], true),
    ("RAS", &[UDP], true),
    ("Q.931", &[TCP], true),
    ("irc", &[TCP], false),
    ("netbios-ns", &[UDP], false),
    ("pptp", &[TCP], false),
    ("sane", &[TCP], true),
    ("sip", &[TCP, UDP], true),
    ("snmp", &[UDP], false),
    ("tftp", &[UDP], true),
];
/// Whether there is this helper for connections of the transport protocol.
pub(crate) fn is_known(name: &str, protocol: u8, family: Family) -> bool {
    HELPERS.iter().any(|(known, protocols, has_ipv6)| {
        *known == name && protocols.contains(&protocol) && (*has_ipv6 || family == Family::Ipv4)
    })
}

const TCP: u8 = 6;
const UDP: u8 = 17;

#[derive(Debug)]
struct Body {
    name: Text<15>,
    l4proto: u8,
    l3proto: Family,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn ObjectBody>> {
    let Attributes { name, l3proto, l4proto } = Attributes::decode(data)?;
    let own = cx.family();
    let wanted = match l3proto.map_or(Ok(own as u8), u8::try_from).map(Family::from_number) {
        Ok(Ok(Family::Arp)) | Ok(Err(_)) | Err(_) => return Err(Errno::EAFNOSUPPORT.into()),
        Ok(Ok(family)) => family,
    };
    match (own, wanted) {
        (Family::Ipv4, Family::Ipv6) | (Family::Ipv6, Family::Ipv4) => {
            return Err(Errno::EINVAL.into());
        }
        _ => {}
    }
    let of = |(known, protocols, _): &&(&str, &[u8], bool)| {
        **known == *name.0 && protocols.contains(&l4proto)
    };
    let (_, _, has_ipv6) = HELPERS.iter().find(of).ok_or(Errno::ENOENT)?;
    let l3proto = match wanted {
        Family::Ipv4 | Family::Ipv6 if wanted == Family::Ipv4 || *has_ipv6 => wanted,
        Family::Ipv6 => return Err(Errno::ENOENT.into()),
        _ if *has_ipv6 => Family::Inet,
        _ => Family::Ipv4,
    };
    Ok(Box::new(Body { name, l4proto, l3proto }))
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
        self.name.give(1, out);
        self.l4proto.give(3, out);
        (self.l3proto as u16).give(2, out);
    }
}
