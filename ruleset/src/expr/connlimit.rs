//! `connlimit`: matches by how many connections there are of those that met it (Linux: `nft_connlimit.c`).

use std::sync::Arc;

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind, Ref};
use crate::counters::CounterPool;
use crate::family::Family;
use crate::packet::Cx;
use crate::schema::Field as _;
use crate::tally::{By, Tally};
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

#[derive(Debug)]
struct ConnLimit {
    count: u32,
    over: bool,
    family: Family,
    tally: Arc<Tally>,
    counters: CounterPool,
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
    Ok(Box::new(ConnLimit {
        count,
        over: flags & OVER != 0,
        family: cx.family(),
        tally: cx.counters.tally(),
        counters: cx.counters.clone(),
    }))
}

impl Expr for ConnLimit {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        match self.tally.count(cx, By::default(), self.count) {
            Some(count) if (count > self.count) == self.over => Verdict::Continue,
            Some(_) => Verdict::Break,
            None => Verdict::Drop,
        }
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
        let (tally, counters) = (self.counters.tally(), self.counters.clone());
        Some(Box::new(Self { tally, counters, ..*self }))
    }

    fn is_idle(&self) -> bool {
        self.tally.is_empty()
    }

    fn refs(&self, each: &mut dyn FnMut(Ref)) {
        each(Ref::Tracking(self.family));
    }
}
