//! `notrack`: the packet belongs to no connection.

use nfnetlink::{Attr, Result, Writer};

use super::{Decode, Encode, Expr, Kind};
use crate::packet::{Constancy, Cx};
use crate::verdict::Verdict;

crate::attributes! {
    /// Leaves the packet out of connection tracking.
    struct Attributes("notrack") {}
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct NoTrack;

fn decode(_data: &Attr<'_>, _cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    Ok(Box::new(NoTrack))
}

impl Expr for NoTrack {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        cx.do_not_track();
        Verdict::Continue
    }

    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        Constancy::Flow
    }

    fn encode(&self, _out: &mut Writer, _cx: &Encode<'_>) {}
}
