//! `connlimit`: a limit of connections that rules share.

use nfnetlink::{Attr, Result};

use super::Shared;
use crate::expr::{self, Decode};
use crate::model::{ObjectBody, ObjectKind, ObjectType};

/// Registered in `REGISTRY`.
pub(super) static TYPE: ObjectType = ObjectType {
    kind: ObjectKind(5),
    schema: expr::connlimit::Attributes::SCHEMA,
    decode,
    refusal: None,
};

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn ObjectBody>> {
    let expr = (expr::connlimit::KIND.decode)(data, cx)?;
    Ok(Box::new(Shared { kind: &TYPE, expr }))
}
