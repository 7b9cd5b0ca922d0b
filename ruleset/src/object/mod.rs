//! Objects: what rules share by name. **One kind, one file**; a new one is a new file and one line in [`REGISTRY`].
//!
//! # Life cycle
//!
//! Netlink attributes → [`ObjectType::decode`] → an [`ObjectBody`] in the state → [`ObjectBody::eval`] by `objref`, on any
//! worker → [`ObjectBody::encode`] for each listing. A body is immutable but for counters and atomics; an update puts another
//! in its place, which goes on with what the first has counted.
//!
//! [`ObjectBody::eval`]: crate::model::ObjectBody::eval
//! [`ObjectBody::encode`]: crate::model::ObjectBody::encode

use nfnetlink::Writer;

use crate::expr::{Encode, Expr, Ref};
use crate::model::{ObjectBody, ObjectKind, ObjectType};
use crate::packet::{Constancy, Cx};
use crate::verdict::Verdict;

mod connlimit;
mod counter;
mod ct_expect;
pub(crate) mod ct_helper;
mod ct_timeout;
mod limit;
mod quota;
mod secmark;
mod synproxy;
mod tunnel;

/// Every kind of object, by number. The one place that knows them all.
pub static REGISTRY: &[&ObjectType] = &[
    &counter::TYPE,
    &quota::TYPE,
    &ct_helper::TYPE,
    &limit::TYPE,
    &connlimit::TYPE,
    &tunnel::TYPE,
    &ct_timeout::TYPE,
    &secmark::TYPE,
    &ct_expect::TYPE,
    &synproxy::TYPE,
];

/// Why rules cannot use helpers, and what helpers announce.
const NO_HELPERS: &str = "connections of this dataplane have no helpers";
/// Why rules cannot use proxies for handshakes.
const NO_PROXY: &str = "this dataplane answers no handshakes for others";

/// The kind of this number.
pub fn find(kind: ObjectKind) -> Option<&'static ObjectType> {
    REGISTRY.iter().find(|entry| entry.kind == kind).copied()
}

/// An expression with state that rules share.
#[derive(Debug)]
struct Shared {
    kind: &'static ObjectType,
    expr: Box<dyn Expr>,
}

impl ObjectBody for Shared {
    fn kind(&self) -> &'static ObjectType {
        self.kind
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        self.expr.eval(cx)
    }

    fn constancy(&self, cx: &Cx<'_>) -> Constancy {
        self.expr.constancy(cx)
    }

    fn encode(&self, out: &mut Writer, cx: &Encode<'_>) {
        self.expr.encode(out, cx);
    }

    fn needs_tracking(&self) -> bool {
        let mut needs = false;
        self.expr.refs(&mut |to| needs |= matches!(to, Ref::Tracking(_)));
        needs
    }
}
