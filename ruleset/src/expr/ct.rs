//! `ct`: what is known of a packet's connection.
//!
//! No packet has a connection before there is connection tracking: each is answered as Linux answers for a packet without
//! an entry.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind};
use crate::family::Family;
use crate::packet::Cx;
use crate::regs::Reg;
use crate::schema::Value as _;
use crate::verdict::Verdict;

crate::attributes! {
    /// Reads what is known of a packet's connection, or changes it.
    struct Attributes("ct") {
        /// Where to; to read.
        1 => dreg: Option<Reg>,
        /// What.
        2 => key: Key,
        /// Of which direction.
        3 => direction: Option<u8>,
        /// Where from; to change it.
        4 => sreg: Option<Reg>,
    }
}

crate::choice! {
    /// What is known of a connection (`enum nft_ct_keys`).
    enum Key: u32, else EOPNOTSUPP {
        /// State: new, established, related, invalid, untracked.
        State = 0 => "state",
        /// The packet's direction.
        Direction = 1 => "direction",
        /// Status: a bit field.
        Status = 2 => "status",
        /// The connection's mark.
        Mark = 3 => "mark",
        /// Its security mark.
        SecMark = 4 => "secmark",
        /// Milliseconds until it expires.
        Expiration = 5 => "expiration",
        /// Name of the helper that expected it.
        Helper = 6 => "helper",
        /// Its network protocol.
        L3Protocol = 7 => "l3proto",
        /// Source address.
        Src = 8 => "saddr",
        /// Destination address.
        Dst = 9 => "daddr",
        /// Its transport protocol.
        Protocol = 10 => "protocol",
        /// Source port.
        ProtoSrc = 11 => "proto-src",
        /// Destination port.
        ProtoDst = 12 => "proto-dst",
        /// Its labels, 128 bits.
        Labels = 13 => "label",
        /// Packets so far.
        Pkts = 14 => "packets",
        /// Bytes so far.
        Bytes = 15 => "bytes",
        /// Bytes of a packet on average.
        AvgPkt = 16 => "avgpkt",
        /// Its zone.
        Zone = 17 => "zone",
        /// Events that are told of it.
        EventMask = 18 => "event",
        /// IPv4 source address.
        SrcIp = 19 => "ip-saddr",
        /// IPv4 destination address.
        DstIp = 20 => "ip-daddr",
        /// IPv6 source address.
        SrcIp6 = 21 => "ip6-saddr",
        /// IPv6 destination address.
        DstIp6 = 22 => "ip6-daddr",
        /// Its id.
        Id = 23 => "id",
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

/// `NF_CT_STATE_INVALID_BIT`, `NF_CT_STATE_UNTRACKED_BIT`.
const INVALID: u32 = 1;
const UNTRACKED: u32 = 1 << 6;

#[derive(Debug)]
struct Get {
    key: Key,
    dreg: Reg,
    direction: Option<u8>,
}

#[derive(Debug)]
struct Set {
    key: Key,
    sreg: Reg,
    direction: Option<u8>,
}

/// Whether a direction must be said, must not, or may.
#[derive(PartialEq)]
enum Directed {
    Must,
    Never,
    May,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let Attributes { dreg, key, direction, sreg } = Attributes::decode(data)?;
    let (len, directed) = match (dreg, sreg) {
        (Some(_), None) => key.get(cx.family())?,
        (None, Some(_)) => key.set()?,
        _ => return Err(Errno::EINVAL.into()),
    };
    match directed {
        Directed::Must if direction.is_none() => return Err(Errno::EINVAL.into()),
        Directed::Never if direction.is_some() => return Err(Errno::EINVAL.into()),
        _ if direction.is_some_and(|direction| direction > 1) => {
            return Err(Errno::EINVAL.into());
        }
        _ => {}
    }
    let expr: Box<dyn Expr> = match (dreg, sreg) {
        (Some(dreg), _) => {
            cx.store(dreg, len)?;
            Box::new(Get { key, dreg, direction })
        }
        (_, Some(sreg)) => {
            cx.load(sreg, len)?;
            Box::new(Set { key, sreg, direction })
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    // Connections are of these families only.
    match cx.family() {
        Family::Inet | Family::Ipv4 | Family::Ipv6 | Family::Bridge => Ok(expr),
        Family::Arp | Family::Netdev => Err(Errno::EPROTONOSUPPORT.into()),
    }
}

impl Key {
    /// Bytes of what is read, and whether a direction is said.
    fn get(self, family: Family) -> Result<(usize, Directed)> {
        Ok(match self {
            Self::Direction => (1, Directed::Never),
            Self::State
            | Self::Status
            | Self::Mark
            | Self::SecMark
            | Self::Expiration
            | Self::Id => (4, Directed::Never),
            Self::Labels | Self::Helper => (16, Directed::Never),
            Self::L3Protocol | Self::Protocol => (1, Directed::May),
            Self::Src | Self::Dst => match family {
                Family::Ipv4 => (4, Directed::Must),
                Family::Ipv6 | Family::Inet => (16, Directed::Must),
                _ => return Err(Errno::EAFNOSUPPORT.into()),
            },
            Self::SrcIp | Self::DstIp => (4, Directed::Must),
            Self::SrcIp6 | Self::DstIp6 => (16, Directed::Must),
            Self::ProtoSrc | Self::ProtoDst => (2, Directed::Must),
            Self::Bytes | Self::Pkts | Self::AvgPkt => (8, Directed::May),
            Self::Zone => (2, Directed::May),
            Self::EventMask => return Err(Errno::EOPNOTSUPP.into()),
        })
    }

    /// Bytes of what is changed, and whether a direction is said.
    fn set(self) -> Result<(usize, Directed)> {
        Ok(match self {
            Self::Mark | Self::EventMask | Self::SecMark => (4, Directed::Never),
            Self::Labels => (16, Directed::Never),
            Self::Zone => (2, Directed::May),
            _ => return Err(Errno::EOPNOTSUPP.into()),
        })
    }

    /// Whether a direction is told in listings.
    const fn tells_direction(self) -> bool {
        !matches!(self, Self::L3Protocol | Self::Protocol)
    }
}

impl Expr for Get {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        if self.key != Key::State {
            return Verdict::Break;
        }
        cx.regs.set_u32(self.dreg, if cx.meta.untracked { UNTRACKED } else { INVALID });
        Verdict::Continue
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.dreg.put(1, out);
        self.key.put(2, out);
        if let Some(direction) = self.direction.filter(|_| self.key.tells_direction()) {
            direction.put(3, out);
        }
    }
}

impl Expr for Set {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, _cx: &mut Cx<'_>) -> Verdict {
        Verdict::Continue
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.sreg.put(4, out);
        self.key.put(2, out);
        if let Some(direction) = self.direction {
            direction.put(3, out);
        }
    }
}
