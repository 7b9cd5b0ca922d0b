//! A stateful object: a counter, quota, limit or the like that rules share by name.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use nfnetlink::{Attr, Result, Writer};

use crate::expr::{Decode, Encode, Requires};
use crate::ids::{Handle, ObjectId};
use crate::packet::{Constancy, Cx};
use crate::schema::Schema;
use crate::verdict::Verdict;

use super::{Name, TableKey, Userdata};

/// `NFT_OBJECT_…`: what kind of object a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKind(pub u32);

/// A kind of object, as registered. The counterpart of [`expr::Kind`](crate::expr::Kind).
#[derive(Debug)]
pub struct ObjectType {
    /// Its number (`NFTA_OBJ_TYPE`).
    pub kind: ObjectKind,
    /// Its attributes, inside `NFTA_OBJ_DATA`.
    pub schema: &'static Schema,
    /// Reads one.
    pub decode: fn(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn ObjectBody>>,
    /// Why no rule can use one, where none can.
    pub refusal: Option<&'static str>,
}

/// What an object does.
pub trait ObjectBody: Any + Debug + Send + Sync {
    /// Its entry in the registry.
    fn kind(&self) -> &'static ObjectType;

    /// Does to the packet what it does, for `objref`.
    fn eval(&self, cx: &mut Cx<'_>) -> Verdict;

    /// Whether that is the same for all packets of a flow, see [`Expr::constancy`](crate::expr::Expr::constancy).
    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        Constancy::Packet
    }

    /// Writes its attributes, inside `NFTA_OBJ_DATA`.
    fn encode(&self, out: &mut Writer, cx: &Encode<'_>);

    /// The object as an update (`add quota …` on one that is there) makes it: with the new settings, and what it has
    /// counted so far. `None` where an update changes nothing.
    fn updated(&self, _new: &dyn ObjectBody) -> Option<Arc<dyn ObjectBody>> {
        None
    }

    /// Whether something happened on the packet path that listeners are to be told of; true once for each time.
    fn has_news(&self) -> bool {
        false
    }

    /// Whether packets are tracked while it is there.
    fn needs_tracking(&self) -> bool {
        false
    }

    /// Which chains it may be used from.
    fn requires(&self) -> Requires {
        Requires::ANYTHING
    }
}

/// An object with its name.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its slot.
    pub id: ObjectId,
    /// Its table.
    pub table: Arc<TableKey>,
    /// Its name.
    pub name: Name,
    /// Its handle in the table.
    pub handle: Handle,
    /// What it does; shared by snapshots, with its state.
    pub body: Arc<dyn ObjectBody>,
    /// Rules and set elements that use it.
    pub uses: u32,
    /// The program's own.
    pub userdata: Option<Userdata>,
}
