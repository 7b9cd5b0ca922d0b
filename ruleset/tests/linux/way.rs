//! A packet's way through the engine, as Linux's forwarding goes: the hooks in order, and what happens between them.

use std::sync::Arc;

use packet::{Frame, L3, Layers, VecFrame};
use ruleset::expr::LogRecord;
use ruleset::family::{Family, Hook};
use ruleset::ids::WorkerId;
use ruleset::packet::{
    Cx, Effects, Env, FibAnswer, FibQuery, Iface, Meta, Place, Recorder, Seen, arrival,
};
use ruleset::program::Program;
use ruleset::reference::{Outcome, run};
use ruleset::regs::Regs;
use ruleset::trace::Trace;

use crate::bed::Kind;
use crate::packets::arp_reply;
use crate::rng::Rng;

/// What the bed's interfaces are.
struct Ifaces([Iface<'static>; 2]);

const ETHER: u16 = 1;
/// `PACKET_…`.
const HOST: u8 = 0;
const OTHERHOST: u8 = 3;
/// `RTN_…`.
const UNICAST: u32 = 1;
const LOCAL: u32 = 2;
/// The next hop's MAC address.
const NEXT_HOP: [u8; 6] = [2, 0, 0, 0, 1, 2];
/// What the IPv4 TOS makes of the priority (`ip_tos2prio`), by bits 1 to 4.
const PRIORITY: [u32; 16] = [0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4];

impl Ifaces {
    /// The TAPs of the namespace that this thread is in.
    fn read() -> Self {
        let output = std::process::Command::new("ip").args(["-o", "link"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        Self([0, 1].map(|n| {
            let name = ["tap0", "tap1"][n];
            let line = text.lines().find(|line| line.contains(&format!(" {name}:"))).unwrap();
            Iface {
                index: line.split(':').next().unwrap().trim().parse().unwrap(),
                name,
                kind: ETHER,
                group: n as u32 + 10,
                link_kind: "tun",
                mac: [2, 0, 0, 0, 0, n as u8 + 1],
            }
        }))
    }
}

struct World<'a> {
    ifaces: &'a Ifaces,
    rng: Rng,
}

impl Env for World<'_> {
    fn random(&mut self) -> u32 {
        self.rng.next() as u32
    }

    fn fib(&self, query: &FibQuery) -> FibAnswer<'_> {
        let v4 = query.family == Family::Ipv4;
        let local: [&[u8]; 2] = if v4 {
            [&[10, 0, 0, 1], &[10, 0, 1, 1]]
        } else {
            [
                &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
                &[0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            ]
        };
        let net = if v4 { 3 } else { 8 };
        let size = local[0].len();
        let ifaces = &self.ifaces.0;
        let only = |n: usize| query.iface.is_none_or(|only| only == ifaces[n].index);
        for n in 0..2 {
            if query.addr[..size] == *local[n] {
                return FibAnswer {
                    kind: if only(n) { LOCAL } else { UNICAST },
                    iface: Some(ifaces[n]),
                    mtu: 1500,
                    ..FibAnswer::default()
                };
            }
        }
        let on_link = (0..2).find(|n| query.addr[..net] == local[*n][..net]);
        let n = on_link.unwrap_or(1);
        let mut gateway = [0; 16];
        if v4 {
            gateway[..4].copy_from_slice(&[10, 0, 1, 2]);
        } else {
            gateway[..].copy_from_slice(&[0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        }
        FibAnswer {
            kind: UNICAST,
            iface: only(n).then_some(ifaces[n]),
            gateway: on_link.is_none().then_some(gateway),
            mtu: 1500,
        }
    }

    fn log(&mut self, _seen: &Seen<'_>, _record: &LogRecord<'_>) {}

    fn trace(&mut self, _seen: &Seen<'_>, _trace: &Trace<'_>) {}

    fn trace_id(&mut self) -> u32 {
        1
    }
}

/// One packet under way.
struct Passing<'a> {
    program: &'a Program,
    world: World<'a>,
    frame: VecFrame,
    layers: Layers,
    meta: Meta,
}

impl Passing<'_> {
    /// Whether the hook lets it go on.
    fn hook(&mut self, family: Family, hook: Hook, iif: Option<usize>, oif: Option<usize>) -> bool {
        let ifaces = self.world.ifaces;
        let place = Place {
            family,
            hook,
            iif: iif.map(|n| ifaces.0[n]),
            oif: oif.map(|n| ifaces.0[n]),
            now: 1_000_000_000,
            wall: 0,
            worker: WorkerId(0),
        };
        let mut effects = Effects::default();
        let mut recorder = Recorder::default();
        let mut cx = Cx {
            regs: Regs::default(),
            bytes: &mut self.frame,
            layers: &mut self.layers,
            meta: &mut self.meta,
            place,
            env: &mut self.world,
            effects: &mut effects,
            recorder: &mut recorder,
            program: self.program,
            transport: None,
        };
        run(&mut cx) == Outcome::Accept
    }

    fn parse(&mut self) -> Option<()> {
        self.layers = packet::layers::parse(&self.frame).ok()?;
        Some(())
    }

    fn routed(&mut self) -> Option<Vec<u8>> {
        self.parse()?;
        self.meta.pkttype = Some(arrival(&self.layers, self.world.ifaces.0[0].mac));
        self.hook(Family::Netdev, Hook::Ingress, Some(0), None).then_some(())?;
        // The IP families look at the headers with fresh eyes.
        self.parse()?;
        if self.meta.pkttype == Some(OTHERHOST) || self.layers.vlan_count > 0 {
            return None;
        }
        let family = match self.layers.l3 {
            L3::Ipv4 => Family::Ipv4,
            L3::Ipv6 => Family::Ipv6,
            L3::Arp | L3::Other => return None,
        };
        self.frame.truncate(self.layers.end as usize);
        self.hook(family, Hook::Prerouting, Some(0), None).then_some(())?;
        if self.meta.pkttype != Some(HOST) || self.layers.ttl <= 1 {
            return None;
        }
        self.meta.routed = true;
        self.age(family);
        self.hook(family, Hook::Forward, Some(0), Some(1)).then_some(())?;
        self.hook(family, Hook::Postrouting, Some(0), Some(1)).then_some(())?;
        self.frame.head_mut()[..6].copy_from_slice(&NEXT_HOP);
        self.frame.head_mut()[6..12].copy_from_slice(&self.world.ifaces.0[1].mac);
        self.layers.dst_mac[..6].copy_from_slice(&NEXT_HOP);
        self.hook(Family::Netdev, Hook::Egress, None, Some(1)).then_some(())?;
        Some(self.frame.to_vec())
    }

    /// One hop less to go, before the forward hook.
    fn age(&mut self, family: Family) {
        let at = usize::from(self.layers.l3_offset);
        self.layers.ttl -= 1;
        let ttl = self.layers.ttl;
        let head = self.frame.head_mut();
        if family == Family::Ipv6 {
            head[at + 7] = ttl;
            return;
        }
        head[at + 8] = ttl;
        let checksum = u32::from(u16::from_be_bytes([head[at + 10], head[at + 11]]));
        let checksum = ((checksum + 0x100) % 0xffff) as u16;
        head[at + 10..at + 12].copy_from_slice(&checksum.to_be_bytes());
        self.meta.priority = PRIORITY[usize::from(self.layers.tos >> 1 & 0xf)];
    }

    fn arp(&mut self) -> Option<Vec<u8>> {
        self.parse()?;
        self.meta.pkttype = Some(arrival(&self.layers, self.world.ifaces.0[0].mac));
        self.hook(Family::Netdev, Hook::Ingress, Some(0), None).then_some(())?;
        if self.meta.pkttype == Some(OTHERHOST) || self.layers.l3 != L3::Arp {
            return None;
        }
        self.hook(Family::Arp, Hook::Input, Some(0), None).then_some(())?;
        let reply = arp_reply(&self.frame.to_vec())?;
        self.frame = VecFrame::from_bytes(&reply);
        self.parse()?;
        self.meta = Meta { pkttype: Some(HOST), ..Meta::default() };
        self.hook(Family::Arp, Hook::Output, None, Some(0)).then_some(())?;
        self.hook(Family::Netdev, Hook::Egress, None, Some(0)).then_some(())?;
        Some(self.frame.to_vec())
    }

    fn bridged(&mut self) -> Option<Vec<u8>> {
        self.parse()?;
        self.meta.pkttype = Some(arrival(&self.layers, self.world.ifaces.0[0].mac));
        self.hook(Family::Netdev, Hook::Ingress, Some(0), None).then_some(())?;
        self.hook(Family::Bridge, Hook::Prerouting, Some(0), None).then_some(())?;
        self.hook(Family::Bridge, Hook::Forward, Some(0), Some(1)).then_some(())?;
        self.hook(Family::Bridge, Hook::Postrouting, None, Some(1)).then_some(())?;
        self.hook(Family::Netdev, Hook::Egress, None, Some(1)).then_some(())?;
        Some(self.frame.to_vec())
    }
}

/// The reference interpreter along this way.
pub(crate) struct Way {
    kind: Kind,
    ifaces: Ifaces,
}

impl Way {
    /// By the TAPs of the namespace that this thread is in.
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, ifaces: Ifaces::read() }
    }

    /// What comes of frames that go into tap0, one after the other.
    pub(crate) fn pass(
        &mut self,
        program: &Arc<Program>,
        frames: &[Vec<u8>],
        _singly: bool,
    ) -> Vec<Option<Vec<u8>>> {
        let pass = |frame: &Vec<u8>| {
            let mut passing = Passing {
                program,
                world: World { ifaces: &self.ifaces, rng: Rng::new(1) },
                frame: VecFrame::from_bytes(frame),
                layers: Layers::default(),
                meta: Meta::default(),
            };
            match self.kind {
                Kind::Routed => passing.routed(),
                Kind::Bridged => passing.bridged(),
                Kind::Arp => passing.arp(),
            }
        };
        frames.iter().map(pass).collect()
    }
}
