//! `connlimit`: matches by how many connections there are. Connection tracking counts them; without it there are none.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind};
use crate::family::Family;
use crate::packet::Cx;
use crate::schema::Field as _;
use crate::verdict::Verdict;

crate::attributes! {
    /// Matches as long as there are no more than so many connections, or once there are.
    pub(crate) struct Attributes("connlimit") {
        /// So many connections.
        1 => count: u32,
        /// How it matches.
        2 => flags: Option<u32>,
    }
}

/// `NFT_CONNLIMIT_F_INV`.
const OVER: u32 = 1;

/// Registered in `REGISTRY`.
pub(crate) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: true };

#[derive(Clone, Debug)]
struct ConnLimit {
    count: u32,
    over: bool,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let Attributes { count, flags } = Attributes::decode(data)?;
    let flags = flags.unwrap_or(0);
    if flags & !OVER != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    match cx.family() {
        Family::Inet | Family::Ipv4 | Family::Ipv6 | Family::Bridge => {}
        Family::Arp | Family::Netdev => return Err(Errno::EPROTONOSUPPORT.into()),
    }
    Ok(Box::new(ConnLimit { count, over: flags & OVER != 0 }))
}

impl Expr for ConnLimit {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, _cx: &mut Cx<'_>) -> Verdict {
        if self.over { Verdict::Break } else { Verdict::Continue }
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.count.give(1, out);
        if self.over {
            OVER.give(2, out);
        }
    }

    fn is_visited(&self) -> bool {
        true
    }

    fn fresh(&self) -> Option<Box<dyn Expr>> {
        Some(Box::new(self.clone()))
    }
}
