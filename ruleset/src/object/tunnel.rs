//! `tunnel`: what a tunnel device is to write around packets. There are no such devices here: the object is kept and told.

use nfnetlink::{Attr, Errno, Result, Writer};

use crate::expr::{Decode, Encode};
use crate::family::Family;
use crate::model::{ObjectBody, ObjectKind, ObjectType};
use crate::packet::Cx;
use crate::schema::{Blob, Field as _};
use crate::verdict::Verdict;

crate::attributes! {
    /// What a tunnel device is to write around packets.
    struct Attributes("tunnel") {
        /// The tunnel's id.
        1 => id: u32,
        /// IPv4 addresses.
        2 => ip: Option<Ip>,
        /// IPv6 addresses.
        3 => ip6: Option<Ip6>,
        /// 1: no UDP checksum; 2: don't fragment; 4: number packets.
        4 => flags: Option<u32>,
        /// Type of service.
        5 => tos: Option<u8>,
        /// Time to live.
        6 => ttl: Option<u8>,
        /// Source port.
        7 => sport: Option<u16>,
        /// Destination port.
        8 => dport: Option<u16>,
        /// Options of VXLAN, ERSPAN or Geneve.
        9 => opts: Option<Blob<1024>>,
    }
}

crate::attributes! {
    /// IPv4 addresses of a tunnel.
    struct Ip("tunnel ip") {
        /// Source.
        1 => src: Option<u32>,
        /// Destination.
        2 => dst: u32,
    }
}

crate::attributes! {
    /// IPv6 addresses of a tunnel.
    struct Ip6("tunnel ip6") {
        /// Source.
        1 => src: Option<Blob<16>>,
        /// Destination.
        2 => dst: Blob<16>,
        /// Flow label.
        3 => label: Option<u32>,
    }
}

const FLAGS: u32 = 7;

/// Registered in `REGISTRY`.
pub(super) static TYPE: ObjectType = ObjectType {
    kind: ObjectKind(6),
    schema: Attributes::SCHEMA,
    decode,
    refusal: Some("there are no tunnel devices on this dataplane"),
};

#[derive(Debug)]
struct Tunnel(Attributes);

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn ObjectBody>> {
    if cx.family() != Family::Netdev {
        return Err(Errno::ENOENT.into());
    }
    let attrs = Attributes::decode(data)?;
    if attrs.ip.is_none() && attrs.ip6.is_none() {
        return Err(Errno::EINVAL.into());
    }
    if attrs.flags.is_some_and(|flags| flags & !FLAGS != 0) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    Ok(Box::new(Tunnel(attrs)))
}

impl ObjectBody for Tunnel {
    fn kind(&self) -> &'static ObjectType {
        &TYPE
    }

    fn eval(&self, _cx: &mut Cx<'_>) -> Verdict {
        Verdict::Continue
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        let Attributes { id, ip, ip6, flags, tos, ttl, sport, dport, opts } = &self.0;
        id.give(1, out);
        match (ip6, ip) {
            (Some(ip6), _) => ip6.give(3, out),
            (None, ip) => ip.give(2, out),
        }
        if let Some(opts) = opts {
            out.nest(9, |out| out.buf.extend_from_slice(&opts.0));
        }
        sport.unwrap_or(0).give(7, out);
        dport.unwrap_or(0).give(8, out);
        flags.unwrap_or(0).give(4, out);
        tos.unwrap_or(0).give(5, out);
        ttl.unwrap_or(0).give(6, out);
    }
}
