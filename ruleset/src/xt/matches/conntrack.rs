//! `conntrack`: the packet's connection.

use super::*;
use crate::packet::{CONFIRMED, Connection};

const HELP: &str =
    "Matches by the packet's connection: its state, addresses, ports, status and age.";
const BASE: Extension = Extension {
    name: "conntrack",
    constancy: Constancy::Flow,
    help: HELP,
    families: ANY,
    ..Extension::MATCH
};

pub(super) static ALL: &[Extension] = &[
    Extension { revision: 1, size: 152, make: |of| make(of, 1), ..BASE },
    Extension { revision: 2, size: 156, make: |of| make(of, 2), ..BASE },
    Extension { revision: 3, size: 164, make: |of| make(of, 3), ..BASE },
];

/// `XT_CONNTRACK_…`: what is asked, and among what is inverted, must not be so. The addresses are the original direction's
/// source and destination, then the reply's, and so the ports.
const STATE: u16 = 1;
const PROTOCOL: u16 = 1 << 1;
const ADDRESSES: [u16; 4] = [1 << 2, 1 << 3, 1 << 4, 1 << 5];
const STATUS: u16 = 1 << 6;
const EXPIRES: u16 = 1 << 7;
const PORTS: [u16; 4] = [1 << 8, 1 << 9, 1 << 10, 1 << 11];
const DIRECTION: u16 = 1 << 12;

/// `XT_CONNTRACK_STATE_…`: as `ct state` reads it, but for these.
const SNAT: u16 = 1 << 6;
const DNAT: u16 = 1 << 7;
const UNTRACKED: u16 = 1 << 8;
/// What `ct state` reads of packets that are not tracked, which is no state of a connection.
const READ_UNTRACKED: u32 = 1 << 6;
/// `IPS_SRC_NAT`, `IPS_DST_NAT`.
const STATUS_SNAT: u32 = 1 << 4;
const STATUS_DNAT: u32 = 1 << 5;

/// What is asked.
struct Asked {
    asked: u16,
    inverted: u16,
    states: u16,
    status: u16,
    /// Addresses and masks.
    addresses: [([u8; 16], [u8; 16]); 4],
    protocol: u16,
    ports: [(u16, u16); 4],
    /// Seconds.
    expires: (u32, u32),
}

fn make(of: &mut Use<'_>, revision: u8) -> Result<Act> {
    let info = of.info;
    let (states, status) = match revision {
        1 => (info.u8(150).into(), info.u8(151).into()),
        _ => (info.u16(150), info.u16(152)),
    };
    let ports = [138, 140, 142, 144].map(|at| match revision {
        3 => (info.u16(at), info.u16(at + 16)),
        _ => {
            let port = u16::from_be_bytes(info.bytes(at));
            (port, port)
        }
    });
    let asked = Asked {
        asked: info.u16(146),
        inverted: info.u16(148),
        states,
        status,
        addresses: [0, 32, 64, 96].map(|at| (info.bytes(at), info.bytes(at + 16))),
        protocol: info.u16(136),
        ports,
        expires: (info.u32(128), info.u32(132)),
    };
    of.tracked()?;
    of.looks_if(asked.asked & EXPIRES != 0);
    Ok(matches(move |cx| asked.means(cx)))
}

impl Asked {
    fn is(&self, what: u16, so: impl FnOnce() -> bool) -> bool {
        self.asked & what == 0 || so() != (self.inverted & what != 0)
    }

    fn means(&self, cx: &mut Cx<'_>) -> bool {
        let state = match cx.state() {
            READ_UNTRACKED => UNTRACKED,
            state => state as u16,
        };
        let Some(connection) = cx.connection_or_template() else {
            return self.asked & STATE != 0 && self.is(STATE, || self.states & state != 0);
        };
        let settled = connection.status() & CONFIRMED != 0;
        let so = self.is_connection(state, connection);
        let reads_status = self.asked & STATUS != 0 || self.states & (SNAT | DNAT) != 0;
        if reads_status && !settled {
            // What comes behind this rule changes it.
            cx.recorder.spoil();
        }
        so
    }

    fn is_connection(&self, state: u16, connection: &dyn Connection) -> bool {
        let status = connection.status();
        let translated = [(STATUS_SNAT, SNAT), (STATUS_DNAT, DNAT)];
        let translated = translated.iter().filter(|(bit, _)| status & bit != 0);
        let state = translated.fold(state, |state, (_, bit)| state | bit);
        let (original, reply) = (connection.key(0), connection.key(1));
        let addresses = [original.src, original.dst, reply.src, reply.dst];
        let ports = [original.sport, original.dport, reply.sport, reply.dport];
        let mut all = self.addresses.iter().zip(addresses).zip(ADDRESSES);
        let mut all_ports = self.ports.iter().zip(ports).zip(PORTS);
        let seconds = || connection.expires_in() / 1000;
        self.is(STATE, || self.states & state != 0)
            && self.is(DIRECTION, || connection.direction() == 0)
            && all.all(|(((wanted, mask), addr), what)| {
                self.is(what, || {
                    let mut bytes = addr.iter().zip(wanted).zip(mask);
                    bytes.all(|((addr, wanted), mask)| (addr ^ wanted) & mask == 0)
                })
            })
            && self.is(PROTOCOL, || self.protocol == original.protocol.into())
            && all_ports.all(|(((first, last), port), what)| {
                self.is(what, || (*first..=*last).contains(&u16::from_be_bytes(port)))
            })
            && self.is(STATUS, || u32::from(self.status) & status != 0)
            && self.is(EXPIRES, || (self.expires.0..=self.expires.1).contains(&seconds()))
    }
}
