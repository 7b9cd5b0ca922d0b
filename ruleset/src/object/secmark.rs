//! `secmark`: gives packets a security context. There is no security module on this dataplane that knows any, so each is
//! refused as Linux without one refuses it.

use nfnetlink::{Attr, Errno, Error, Result};

use crate::expr::Decode;
use crate::model::{ObjectBody, ObjectKind, ObjectType};
use crate::schema::Text;

crate::attributes! {
    /// Gives packets a security context.
    struct Attributes("secmark") {
        /// The context.
        1 => context: Text<4095>,
    }
}

/// Registered in `REGISTRY`.
pub(super) static TYPE: ObjectType =
    ObjectType { kind: ObjectKind(8), schema: Attributes::SCHEMA, decode, refusal: None };

fn decode(data: &Attr<'_>, _cx: &mut Decode<'_>) -> Result<Box<dyn ObjectBody>> {
    Attributes::decode(data)?;
    Err(Error::new(Errno::ENOENT).because("there is no security module on this dataplane"))
}
