//! `ct`: what is known of a packet's connection (Linux: `nft_ct.c`).
//!
//! A packet that is said to be tracked in some zone carries a template until it is tracked, and that is what is read and, to no
//! effect, changed.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind, Ref};
use crate::family::Family;
use crate::packet::{CONFIRMED, Connection, Constancy, Cx, set_labels, set_mark};
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

/// [`FlowKey::family`](packet::FlowKey::family).
const IPV4: u8 = 4;
const IPV6: u8 = 6;

#[derive(Debug)]
struct Get {
    key: Key,
    dreg: Reg,
    direction: Option<u8>,
    family: Family,
}

#[derive(Debug)]
struct Set {
    key: Key,
    sreg: Reg,
    direction: Option<u8>,
    family: Family,
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
    let family = cx.family();
    let expr: Box<dyn Expr> = match (dreg, sreg) {
        (Some(dreg), _) => {
            cx.store(dreg, len)?;
            Box::new(Get { key, dreg, direction, family })
        }
        (_, Some(sreg)) => {
            cx.load(sreg, len)?;
            Box::new(Set { key, sreg, direction, family })
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

/// Bytes as a register has them, and how many.
type Answer = ([u8; 16], usize);

fn answer<const N: usize>(bytes: [u8; N]) -> Answer {
    let mut all = [0; 16];
    all.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    (all, N)
}

impl Get {
    /// `None` where it cannot be told of this connection.
    fn answer(&self, of: &dyn Connection) -> Option<Answer> {
        let word = |word: u32| Some(answer(word.to_ne_bytes()));
        let key = of.key(self.direction.unwrap_or(0));
        let addr = |addr: [u8; 16]| (addr, if key.family == IPV4 { 4 } else { 16 });
        let of_family = |family, addr| (key.family == family).then_some(addr);
        match self.key {
            Key::Direction => Some(answer([of.direction()])),
            Key::Status => word(of.status()),
            Key::Mark => word(of.mark()),
            Key::SecMark => word(of.secmark()),
            Key::Expiration => word(of.expires_in()),
            Key::Id => word(of.id()),
            // The state is read above; nothing expects connections, and no events are to be read.
            Key::State | Key::Helper | Key::EventMask => None,
            Key::L3Protocol => Some(answer([match key.family {
                IPV4 => Family::Ipv4 as u8,
                IPV6 => Family::Ipv6 as u8,
                _ => 0,
            }])),
            Key::Protocol => Some(answer([key.protocol])),
            Key::Src => Some(addr(key.src)),
            Key::Dst => Some(addr(key.dst)),
            Key::SrcIp => of_family(IPV4, addr(key.src)),
            Key::DstIp => of_family(IPV4, addr(key.dst)),
            Key::SrcIp6 => of_family(IPV6, addr(key.src)),
            Key::DstIp6 => of_family(IPV6, addr(key.dst)),
            Key::ProtoSrc => Some(answer(key.sport)),
            Key::ProtoDst => Some(answer(key.dport)),
            Key::Labels => Some(answer(of.labels())),
            Key::Pkts => Some(answer(of.account(self.direction).0.to_ne_bytes())),
            Key::Bytes => Some(answer(of.account(self.direction).1.to_ne_bytes())),
            Key::AvgPkt => {
                let (packets, bytes) = of.account(self.direction);
                Some(answer(bytes.checked_div(packets).unwrap_or(0).to_ne_bytes()))
            }
            // One that has a zone in one direction only has that.
            Key::Zone => Some(answer(
                match self.direction {
                    Some(direction) => of.zone(direction),
                    None => of.zone(0).max(of.zone(1)),
                }
                .to_ne_bytes(),
            )),
        }
    }
}

impl Expr for Get {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        if self.key == Key::State {
            let state = cx.state();
            cx.regs.set_u32(self.dreg, state);
            return Verdict::Continue;
        }
        let Some(connection) = cx.connection_or_template() else { return Verdict::Break };
        let Some((bytes, len)) = self.answer(connection) else { return Verdict::Break };
        let settled = self.key != Key::Status || connection.status() & CONFIRMED != 0;
        cx.regs.set(self.dreg, bytes.get(..len).unwrap_or_default());
        if !settled {
            // What comes behind this rule changes it.
            cx.recorder.spoil();
        }
        Verdict::Continue
    }

    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        match self.key {
            Key::Expiration | Key::Pkts | Key::Bytes | Key::AvgPkt => Constancy::Packet,
            _ => Constancy::Flow,
        }
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.dreg.put(1, out);
        self.key.put(2, out);
        if let Some(direction) = self.direction.filter(|_| self.key.tells_direction()) {
            direction.put(3, out);
        }
    }

    fn refs(&self, each: &mut dyn FnMut(Ref)) {
        each(Ref::Tracking(self.family));
    }
}

impl Expr for Set {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        if self.key == Key::Zone {
            let zone = cx.regs.get(self.sreg, 2).first_chunk().copied();
            cx.track_in(zone.map_or(0, u16::from_ne_bytes), self.direction);
            return Verdict::Continue;
        }
        let word = cx.regs.u32(self.sreg);
        let Some(connection) = cx.env.connection() else { return Verdict::Continue };
        let changed = match self.key {
            Key::Mark => set_mark(connection, word),
            Key::SecMark if connection.secmark() != word => {
                connection.set_secmark(word);
                true
            }
            Key::Labels => {
                let bits = cx.regs.get(self.sreg, 16).first_chunk().copied().unwrap_or_default();
                set_labels(connection, bits)
            }
            Key::EventMask => {
                connection.set_event_mask(word);
                false
            }
            _ => false,
        };
        if changed {
            cx.recorder.spoil();
        }
        Verdict::Continue
    }

    /// The first packet that sets something spoils what is recorded, since rules before this one may have read it. Once it
    /// is set, no packet of the flow changes it any more.
    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        Constancy::Flow
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.sreg.put(4, out);
        self.key.put(2, out);
        if let Some(direction) = self.direction {
            direction.put(3, out);
        }
    }

    fn refs(&self, each: &mut dyn FnMut(Ref)) {
        each(Ref::Tracking(self.family));
    }
}
