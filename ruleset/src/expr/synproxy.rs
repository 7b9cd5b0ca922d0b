//! `synproxy`: answers TCP's handshake in the server's stead. What needs a connection is left out until there are any: the
//! packet goes on.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind, Requires};
use crate::family::{Family, Hook, Hooks};
use crate::packet::Cx;
use crate::schema::Field as _;
use crate::verdict::Verdict;

crate::attributes! {
    /// Answers TCP's handshake in the server's stead.
    pub(crate) struct Attributes("synproxy") {
        /// The maximum segment size of answers.
        1 => mss: Option<u16>,
        /// Their window scale.
        2 => wscale: Option<u8>,
        /// Options in answers: 1 maximum segment size, 2 window scale, 4 selective acknowledgement, 8 timestamps.
        3 => flags: Option<u32>,
    }
}

/// `NF_SYNPROXY_OPT_MASK`.
const FLAGS: u32 = 0xf;
const TCP: u8 = 6;

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

/// A proxy, of a rule or an object.
#[derive(Clone, Debug)]
pub(crate) struct SynProxy {
    mss: u16,
    wscale: u8,
    flags: u32,
    family: Family,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    Ok(Box::new(SynProxy::decode(data, cx)?))
}

impl SynProxy {
    /// Reads one.
    pub(crate) fn decode(data: &Attr<'_>, cx: &Decode<'_>) -> Result<Self> {
        let Attributes { mss, wscale, flags } = Attributes::decode(data)?;
        let flags = flags.unwrap_or(0);
        if flags != 0 && flags & FLAGS == 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        match cx.family() {
            Family::Arp | Family::Netdev => Err(Errno::EPROTONOSUPPORT.into()),
            // The kernel keeps a byte of it.
            family => Ok(Self {
                mss: mss.unwrap_or(0),
                wscale: wscale.unwrap_or(0),
                flags: flags & 0xff,
                family,
            }),
        }
    }

    /// Writes it.
    pub(crate) fn write(&self, out: &mut Writer) {
        self.mss.give(1, out);
        self.wscale.give(2, out);
        self.flags.give(3, out);
    }

    /// Where it may stand.
    pub(crate) fn requires(&self) -> Requires {
        Requires::hooks(match self.family {
            Family::Ipv4 | Family::Ipv6 | Family::Inet => Hooks::of([Hook::Input, Hook::Forward]),
            Family::Bridge | Family::Arp | Family::Netdev => Hooks::default(),
        })
    }
}

impl Expr for SynProxy {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        match cx.transport() {
            Some(transport) if transport.protocol == TCP => Verdict::Continue,
            _ => Verdict::Break,
        }
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.write(out);
    }

    fn requires(&self) -> Requires {
        Self::requires(self)
    }
}
