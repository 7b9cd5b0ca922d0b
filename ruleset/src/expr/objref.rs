//! `objref`: uses an object of the table, by its name or by what a map has for a key.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::lookup::may_bind;
use super::{Decode, Encode, Expr, Kind, Ref, Requires};
use crate::ids::{ObjectId, SetId};
use crate::model::{Name, ObjectKind, Values};
use crate::object;
use crate::packet::{Constancy, Cx};
use crate::regs::Reg;
use crate::schema::{Field as _, Text, Value as _};
use crate::verdict::Verdict;

crate::attributes! {
    /// Uses an object of the table, by its name or by what a map has for a key.
    struct Attributes("objref") {
        /// Kind of the object.
        1 => kind: Option<u32>,
        /// Its name.
        2 => name: Option<Text<255>>,
        /// Register with the key.
        3 => sreg: Option<Reg>,
        /// The map's name.
        4 => set: Option<Text<255>>,
        /// The map's number in this batch.
        5 => set_id: Option<u32>,
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

/// An object that was named.
#[derive(Debug)]
struct Named {
    id: ObjectId,
    kind: ObjectKind,
    name: Name,
    requires: Requires,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    match Attributes::decode(data)? {
        Attributes { sreg: Some(sreg), set: Some(set), set_id, .. } => {
            mapped(sreg, &set.0, set_id, cx)
        }
        Attributes { kind: Some(kind), name: Some(name), .. } => {
            named(ObjectKind(kind), name.0.into(), cx)
        }
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}

fn usable(kind: ObjectKind) -> Result<()> {
    match object::find(kind).and_then(|kind| kind.refusal) {
        Some(why) => Err(super::refused(why)),
        None => Ok(()),
    }
}

fn named(kind: ObjectKind, name: Name, cx: &Decode<'_>) -> Result<Box<dyn Expr>> {
    let id = cx.table.objects.named(&(kind, name.clone())).ok_or(Errno::ENOENT)?;
    let body = &cx.state.object(id).ok_or(Errno::ENOENT)?.body;
    usable(kind)?;
    Ok(Box::new(Named { id, kind, name, requires: body.requires() }))
}

fn mapped(sreg: Reg, name: &str, set_id: Option<u32>, cx: &Decode<'_>) -> Result<Box<dyn Expr>> {
    let set = cx.set(name, set_id)?;
    let Values::Objects(kind) = set.spec.values else { return Err(Errno::EINVAL.into()) };
    cx.load(sreg, set.spec.key_len.into())?;
    may_bind(set)?;
    usable(kind)?;
    Ok(Box::new(Mapped { set: set.id, sreg, key_len: set.spec.key_len }))
}

/// Does to the packet what an object does.
fn run(id: ObjectId, cx: &mut Cx<'_>) -> Verdict {
    match cx.program.object(id) {
        Some(object) => object.body.eval(cx),
        None => Verdict::Break,
    }
}

/// An object that a map has for a key.
#[derive(Debug)]
struct Mapped {
    set: SetId,
    sreg: Reg,
    key_len: u8,
}

impl Expr for Mapped {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let Some(set) = cx.program.set(self.set) else { return Verdict::Break };
        let key = cx.regs.get(self.sreg, usize::from(self.key_len));
        match set.find(key, cx.place.now).and_then(|found| found.object()) {
            Some(object) => run(object, cx),
            None => Verdict::Break,
        }
    }

    fn constancy(&self, cx: &Cx<'_>) -> Constancy {
        let Some(set) = cx.program.set(self.set) else { return Constancy::Flow };
        if !set.is_constant() {
            return Constancy::Packet;
        }
        let key = cx.regs.get(self.sreg, usize::from(self.key_len));
        let object = set.find(key, cx.place.now).and_then(|found| found.object());
        let object = object.and_then(|id| cx.program.object(id));
        object.map_or(Constancy::Flow, |object| object.body.constancy(cx))
    }

    fn encode(&self, out: &mut Writer, cx: &Encode<'_>) {
        self.sreg.put(3, out);
        if let Some(set) = cx.state.set(self.set) {
            out.str(4, &set.name);
        }
    }

    fn refs(&self, each: &mut dyn FnMut(Ref)) {
        each(Ref::Set(self.set));
    }
}

impl Expr for Named {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        run(self.id, cx)
    }

    fn constancy(&self, cx: &Cx<'_>) -> Constancy {
        cx.program.object(self.id).map_or(Constancy::Flow, |object| object.body.constancy(cx))
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        out.str(2, &self.name);
        self.kind.0.give(1, out);
    }

    fn refs(&self, each: &mut dyn FnMut(Ref)) {
        each(Ref::Object(self.id));
    }

    fn requires(&self) -> Requires {
        self.requires
    }
}
