//! `osf`: the operating system that a TCP SYN looks like.
//!
//! There are no fingerprints here (Linux is given them by `nfnl_osf`), so every one is answered as Linux without them does.

use nfnetlink::{Attr, Errno, Result, Writer};
use packet::wire::ip;

use super::{Decode, Encode, Expr, Kind, Requires};
use crate::family::{Family, Hook, Hooks};
use crate::packet::Cx;
use crate::regs::Reg;
use crate::schema::Value as _;
use crate::verdict::Verdict;

crate::attributes! {
    /// Reads the name of the operating system that a TCP SYN looks like.
    struct Attributes("osf") {
        /// Where to.
        1 => dreg: Reg,
        /// How the TTL is compared: 0 as it is on a local link, 1 at most, 2 not at all.
        2 => ttl: Option<u8>,
        /// 1: with its version.
        3 => flags: Option<u32>,
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

/// What Linux says where no fingerprint matches.
const UNKNOWN: &[u8; 16] = b"unknown\0\0\0\0\0\0\0\0\0";
const VERSION: u32 = 1;
const SYN: u8 = 2;

#[derive(Debug)]
struct Osf {
    dreg: Reg,
    ttl: u8,
    flags: u32,
    hooks: Hooks,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let Attributes { dreg, ttl, flags } = Attributes::decode(data)?;
    if ttl.is_some_and(|ttl| ttl > 2) || flags.is_some_and(|flags| flags != VERSION) {
        return Err(Errno::EINVAL.into());
    }
    cx.store(dreg, UNKNOWN.len())?;
    // Linux takes it in chains of any family, and refuses it where a base chain leads to one of another.
    let hooks = match cx.family() {
        Family::Ipv4 | Family::Inet => Hooks::of([Hook::Prerouting, Hook::Input, Hook::Forward]),
        _ => Hooks::of([]),
    };
    Ok(Box::new(Osf { dreg, ttl: ttl.unwrap_or(0), flags: flags.unwrap_or(0), hooks }))
}

impl Expr for Osf {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let tcp = cx.transport().filter(|found| found.protocol == ip::TCP);
        let flags = tcp
            .filter(|_| cx.place.family == Family::Ipv4)
            .and_then(|tcp| cx.peek::<1>(usize::from(tcp.offset) + 13));
        match flags {
            Some([flags]) if flags & SYN != 0 => {
                cx.regs.set(self.dreg, UNKNOWN);
                Verdict::Continue
            }
            _ => Verdict::Break,
        }
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.ttl.put(2, out);
        self.flags.put(3, out);
        self.dreg.put(1, out);
    }

    fn requires(&self) -> Requires {
        Requires::hooks(self.hooks)
    }
}
