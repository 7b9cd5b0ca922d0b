//! `meta`: what is known of a packet beside its bytes.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind, Requires};
use crate::family::{Family, Hook, Hooks};
use crate::packet::{Constancy, Cx, Iface, Place};
use crate::regs::Reg;
use crate::schema::Value as _;
use crate::verdict::Verdict;

crate::attributes! {
    /// Reads what is known of a packet beside its bytes, or changes it.
    pub(super) struct Attributes("meta") {
        /// Where to; to read.
        1 => dreg: Option<Reg>,
        /// What.
        2 => key: Key,
        /// Where from; to change it.
        3 => sreg: Option<Reg>,
    }
}

crate::choice! {
    /// What is known of a packet (`enum nft_meta_keys`).
    pub(super) enum Key: u32, else EOPNOTSUPP {
        /// Its length in bytes.
        Len = 0 => "length",
        /// Its EtherType.
        Protocol = 1 => "protocol",
        /// Its priority, a traffic class id.
        Priority = 2 => "priority",
        /// Its mark.
        Mark = 3 => "mark",
        /// Index of the interface it came in by.
        Iif = 4 => "iif",
        /// Index of the interface it goes out by.
        Oif = 5 => "oif",
        /// Name of the interface it came in by.
        IifName = 6 => "iifname",
        /// Name of the interface it goes out by.
        OifName = 7 => "oifname",
        /// Hardware type (`ARPHRD_…`) of the interface that has it: it came in by it, or is about to go out.
        IifType = 8 => "iiftype",
        /// Hardware type of the interface it goes out by.
        OifType = 9 => "oiftype",
        /// User of the local socket it comes from.
        SkUid = 10 => "skuid",
        /// Group of the local socket it comes from.
        SkGid = 11 => "skgid",
        /// Whether its way is told.
        NfTrace = 12 => "nftrace",
        /// Realm of its route.
        RtClassId = 13 => "rtclassid",
        /// Its security mark.
        SecMark = 14 => "secmark",
        /// The family that handles it.
        NfProto = 15 => "nfproto",
        /// Its transport protocol.
        L4Proto = 16 => "l4proto",
        /// Name of the bridge it came in by.
        BriIifName = 17 => "ibrname",
        /// Name of the bridge it goes out by.
        BriOifName = 18 => "obrname",
        /// Whom it came for: this host, all, a group, another.
        PktType = 19 => "pkttype",
        /// The worker that handles it.
        Cpu = 20 => "cpu",
        /// Group of the interface it came in by.
        IifGroup = 21 => "iifgroup",
        /// Group of the interface it goes out by.
        OifGroup = 22 => "oifgroup",
        /// Control group of the local socket it comes from.
        CGroup = 23 => "cgroup",
        /// A random number.
        PRandom = 24 => "random",
        /// Whether it came by IPsec.
        SecPath = 25 => "ipsec",
        /// Kind of the interface it came in by.
        IifKind = 26 => "iifkind",
        /// Kind of the interface it goes out by.
        OifKind = 27 => "oifkind",
        /// VLAN of untagged frames on the bridge port it came in by.
        BriIifPvid = 28 => "ibrpvid",
        /// VLAN protocol of the bridge it came in by.
        BriIifVproto = 29 => "ibrvproto",
        /// Nanoseconds since 1970.
        TimeNs = 30 => "time",
        /// Day of the week, 0 is Sunday.
        TimeDay = 31 => "day",
        /// Seconds since midnight, UTC.
        TimeHour = 32 => "hour",
        /// Index of the VRF member it came in by.
        SDif = 33 => "sdif",
        /// Name of the VRF member it came in by.
        SDifName = 34 => "sdifname",
        /// Routes it instead of bridging it.
        BriBroute = 35 => "broute",
        /// MAC address of the bridge it came in by.
        BriIifHwaddr = 36 => "ibrhwaddr",
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

/// Bytes of an interface's name, with the NUL (`IFNAMSIZ`).
const IFNAMSIZ: usize = 16;
/// The largest packet type that may be set (`PACKET_OTHERHOST`).
const OTHERHOST: u8 = 3;
const NS: u64 = 1_000_000_000;
const DAY: u64 = 86_400;
/// 1970 began on a Thursday.
const FIRST_WEEKDAY: u64 = 4;

#[derive(Debug)]
struct Get {
    key: Key,
    dreg: Reg,
    requires: Requires,
}

#[derive(Debug)]
struct Set {
    key: Key,
    sreg: Reg,
    requires: Requires,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let Attributes { dreg, key, sreg } = Attributes::decode(data)?;
    match (dreg, sreg) {
        (Some(dreg), None) => {
            cx.store(dreg, key.get_len(cx.family()).ok_or(Errno::EOPNOTSUPP)?)?;
            Ok(Box::new(Get { key, dreg, requires: key.get_requires(cx.family())? }))
        }
        (None, Some(sreg)) => {
            let len = key.set_len().ok_or(Errno::EOPNOTSUPP)?;
            if key == Key::BriBroute {
                return Err(super::refused("ports of this dataplane bridge all that is bridged"));
            }
            cx.load(sreg, len)?;
            Ok(Box::new(Set { key, sreg, requires: key.set_requires(cx.family())? }))
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Hooks of the IP families, or EOPNOTSUPP in others.
fn ip_only<const N: usize>(family: Family, hooks: [Hook; N]) -> Result<Requires> {
    match family {
        Family::Ipv4 | Family::Ipv6 | Family::Inet => Ok(Requires::hooks(Hooks::of(hooks))),
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}

impl Key {
    /// Bytes of what is read; `None` for what cannot be.
    fn get_len(self, family: Family) -> Option<usize> {
        Some(match self {
            Self::NfTrace | Self::BriBroute => return None,
            Self::BriIifName | Self::BriOifName if family == Family::Bridge => IFNAMSIZ,
            Self::BriIifPvid | Self::BriIifVproto if family == Family::Bridge => 2,
            Self::BriIifHwaddr if family == Family::Bridge => 6,
            Self::BriIifName
            | Self::BriOifName
            | Self::BriIifPvid
            | Self::BriIifVproto
            | Self::BriIifHwaddr => return None,
            Self::NfProto | Self::L4Proto | Self::PktType | Self::SecPath | Self::TimeDay => 1,
            Self::Protocol | Self::IifType | Self::OifType => 2,
            Self::TimeNs => 8,
            Self::IifName | Self::OifName | Self::IifKind | Self::OifKind | Self::SDifName => {
                IFNAMSIZ
            }
            _ => 4,
        })
    }

    /// Bytes of what is changed; `None` for what cannot be.
    const fn set_len(self) -> Option<usize> {
        match self {
            Self::Mark | Self::Priority | Self::SecMark => Some(4),
            Self::NfTrace | Self::PktType | Self::BriBroute => Some(1),
            _ => None,
        }
    }

    fn get_requires(self, family: Family) -> Result<Requires> {
        match (self, family) {
            (Self::SecPath, Family::Netdev) => Ok(Requires::hooks(Hooks::of([Hook::Ingress]))),
            (Self::SecPath, _) => ip_only(family, [Hook::Prerouting, Hook::Input, Hook::Forward]),
            (Self::SDif | Self::SDifName, _) => ip_only(family, [Hook::Input, Hook::Forward]),
            _ => Ok(Requires::ANYTHING),
        }
    }

    fn set_requires(self, family: Family) -> Result<Requires> {
        match (self, family) {
            (Self::PktType, Family::Netdev) => Ok(Requires::hooks(Hooks::of([Hook::Ingress]))),
            (Self::PktType, Family::Bridge) => Ok(Requires::hooks(Hooks::of([Hook::Prerouting]))),
            (Self::PktType, _) => ip_only(family, [Hook::Prerouting]),
            _ => Ok(Requires::ANYTHING),
        }
    }
}

/// A text as registers hold names.
fn padded(text: &str) -> [u8; IFNAMSIZ] {
    let mut name = [0; IFNAMSIZ];
    let (place, _) = name.split_at_mut(IFNAMSIZ - 1);
    for (to, from) in place.iter_mut().zip(text.as_bytes()) {
        *to = *from;
    }
    name
}

/// The interface that has the packet (`skb->dev`).
fn holder<'a>(place: Place<'a>) -> Option<Iface<'a>> {
    match place.hook {
        Hook::Output | Hook::Postrouting | Hook::Egress => place.oif,
        Hook::Forward if place.family == Family::Bridge => place.oif,
        Hook::Ingress | Hook::Prerouting | Hook::Input | Hook::Forward => place.iif,
    }
}

impl Get {
    /// Puts the answer into the register; `None` where the packet has none.
    fn answer(&self, cx: &mut Cx<'_>) -> Option<()> {
        let (iif, oif) = (cx.place.iif, cx.place.oif);
        let index = |iface: Option<Iface<'_>>| iface.map_or(0, |iface| iface.index);
        let name = |iface: Option<Iface<'_>>| padded(iface.map_or("", |iface| iface.name));
        let word = match self.key {
            Key::Len => cx.len() as u32,
            Key::Priority => cx.meta.priority,
            Key::Mark => cx.meta.mark,
            Key::SecMark => cx.meta.secmark,
            Key::Iif => index(iif),
            Key::Oif => index(oif),
            Key::IifGroup => iif?.group,
            Key::OifGroup => oif?.group,
            Key::Cpu => cx.place.worker.0.into(),
            Key::PRandom => cx.env.random(),
            Key::TimeHour => (cx.place.wall / NS % DAY) as u32,
            // Routes have no realm here; before routing there is no route.
            Key::RtClassId => cx.is_past_routing().then_some(0)?,
            // No VRF: nothing came in by a member of one.
            Key::SDif => 0,
            _ => return self.other(cx, name(iif), name(oif)),
        };
        cx.regs.set_u32(self.dreg, word);
        Some(())
    }

    /// Answers that are no word of 32 bits.
    fn other(&self, cx: &mut Cx<'_>, iif: [u8; IFNAMSIZ], oif: [u8; IFNAMSIZ]) -> Option<()> {
        let kind = |iface: Option<Iface<'_>>| {
            iface.map(|iface| iface.link_kind).filter(|kind| !kind.is_empty()).map(padded)
        };
        let byte: u8 = match self.key {
            Key::NfProto => cx.place.family as u8,
            Key::L4Proto => cx.transport?.protocol,
            Key::PktType => cx.pkttype(),
            Key::SecPath => 0,
            Key::TimeDay => ((cx.place.wall / NS / DAY + FIRST_WEEKDAY) % 7) as u8,
            key => {
                let place = cx.place;
                let mut set = |bytes: &[u8]| cx.regs.set(self.dreg, bytes);
                match key {
                    Key::IifName => set(&iif),
                    Key::OifName => set(&oif),
                    Key::IifKind => set(&kind(place.iif)?),
                    Key::OifKind => set(&kind(place.oif)?),
                    Key::IifType => set(&holder(place)?.kind.to_ne_bytes()),
                    Key::OifType => set(&place.oif?.kind.to_ne_bytes()),
                    Key::TimeNs => set(&place.wall.to_ne_bytes()),
                    // Ports are joined in pairs, which are no interface; likewise no VRF.
                    Key::BriIifName | Key::BriOifName | Key::SDifName => set(&[0; IFNAMSIZ]),
                    Key::Protocol => {
                        let protocol = cx.protocol().to_be_bytes();
                        cx.regs.set(self.dreg, &protocol);
                    }
                    // What passes through has no socket, and no bridge of this dataplane has VLANs of its own.
                    _ => return None,
                }
                return Some(());
            }
        };
        cx.regs.set(self.dreg, &[byte]);
        Some(())
    }
}

impl Expr for Get {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        match self.answer(cx) {
            Some(()) => Verdict::Continue,
            None => Verdict::Break,
        }
    }

    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        match self.key {
            Key::Protocol
            | Key::Priority
            | Key::Mark
            | Key::SecMark
            | Key::Iif
            | Key::Oif
            | Key::IifName
            | Key::OifName
            | Key::IifType
            | Key::OifType
            | Key::IifGroup
            | Key::OifGroup
            | Key::IifKind
            | Key::OifKind
            | Key::BriIifName
            | Key::BriOifName
            | Key::SDif
            | Key::SDifName
            | Key::NfProto
            | Key::L4Proto
            | Key::SecPath => Constancy::Flow,
            _ => Constancy::Packet,
        }
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.key.put(2, out);
        self.dreg.put(1, out);
    }

    fn requires(&self) -> Requires {
        self.requires
    }
}

impl Expr for Set {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let word = cx.regs.u32(self.sreg);
        let byte = cx.regs.get(self.sreg, 1).first().copied().unwrap_or_default();
        match self.key {
            Key::Mark => {
                cx.effects.rewritten |= cx.meta.mark != word;
                cx.meta.mark = word;
            }
            Key::Priority => cx.meta.priority = word,
            Key::SecMark => cx.meta.secmark = word,
            Key::NfTrace => cx.meta.trace = byte != 0,
            Key::PktType if byte <= OTHERHOST && cx.pkttype() <= OTHERHOST => {
                cx.meta.pkttype = Some(byte);
            }
            _ => {}
        }
        Verdict::Continue
    }

    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        match self.key {
            Key::Priority | Key::Mark | Key::SecMark => Constancy::Flow,
            _ => Constancy::Packet,
        }
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.key.put(2, out);
        self.sreg.put(3, out);
    }

    fn requires(&self) -> Requires {
        self.requires
    }
}
