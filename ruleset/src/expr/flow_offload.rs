//! `flow_offload`: lets a flowtable carry the connection from here on. The dataplane's own flow cache does so for every
//! connection, so nothing is left to do.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind, Ref, Requires};
use crate::family::{Family, Hook, Hooks};
use crate::ids::FlowtableId;
use crate::model::Name;
use crate::packet::{Constancy, Cx};
use crate::schema::Text;
use crate::verdict::Verdict;

crate::attributes! {
    /// Lets a flowtable carry the connection from here on.
    struct Attributes("flow_offload") {
        /// The flowtable's name.
        1 => name: Text<255>,
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct FlowOffload {
    id: FlowtableId,
    name: Name,
    family: Family,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let name = Name::from(Attributes::decode(data)?.name.0);
    let id = cx.table.flowtables.named(&*name).ok_or(Errno::ENOENT)?;
    match cx.family() {
        Family::Ipv4 | Family::Ipv6 | Family::Inet => {
            Ok(Box::new(FlowOffload { id, name, family: cx.family() }))
        }
        Family::Arp | Family::Bridge | Family::Netdev => Err(Errno::EOPNOTSUPP.into()),
    }
}

impl Expr for FlowOffload {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, _cx: &mut Cx<'_>) -> Verdict {
        Verdict::Continue
    }

    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        Constancy::Flow
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        out.str(1, &self.name);
    }

    fn refs(&self, each: &mut dyn FnMut(Ref)) {
        each(Ref::Flowtable(self.id));
        each(Ref::Tracking(self.family));
    }

    fn requires(&self) -> Requires {
        Requires::hooks(Hooks::of([Hook::Forward]))
    }
}
