//! `match`: a match of iptables and its kin, which stands in [`xt`](crate::xt).

use nfnetlink::{Attr, Result, Writer};

use super::{Decode, Encode, Expr, Kind, Ref, Requires};
use crate::packet::{Constancy, Cx};
use crate::schema::{Blob, Text};
use crate::verdict::Verdict;
use crate::xt::{Attached, Role, attach};

crate::attributes! {
    /// A match of iptables, ip6tables or ebtables.
    struct Attributes("match") {
        /// Its name.
        1 => name: Text<255>,
        /// The revision of its structure.
        2 => revision: u32,
        /// Its C structure.
        3 => info: Blob<65535>,
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct Match(Attached);

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let Attributes { name, revision, info } = Attributes::decode(data)?;
    // The kernel keeps eight bits of it.
    Ok(Box::new(Match(attach(Role::Match, &name.0, revision as u8, &info.0, cx)?)))
}

impl Expr for Match {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        self.0.eval(cx)
    }

    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        self.0.constancy
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        out.str(1, self.0.extension.name);
        out.u32(2, self.0.extension.revision.into());
        out.put(3, &self.0.told);
    }

    fn refs(&self, each: &mut dyn FnMut(Ref)) {
        self.0.refs(each);
    }

    fn requires(&self) -> Requires {
        self.0.requires()
    }
}
