//! `quota`: a quota that rules share. It may be given another size, and goes on from where it was.

use std::any::Any;
use std::sync::Arc;

use nfnetlink::{Attr, Result, Writer};

use crate::expr::quota::{Attributes, Quota};
use crate::expr::{Decode, Encode};
use crate::model::{ObjectBody, ObjectKind, ObjectType};
use crate::packet::Cx;
use crate::verdict::Verdict;

/// Registered in `REGISTRY`.
pub(super) static TYPE: ObjectType =
    ObjectType { kind: ObjectKind(2), schema: Attributes::SCHEMA, decode, refusal: None };

fn decode(data: &Attr<'_>, _cx: &mut Decode<'_>) -> Result<Box<dyn ObjectBody>> {
    Ok(Box::new(Quota::decode(data)?))
}

impl ObjectBody for Quota {
    fn kind(&self) -> &'static ObjectType {
        &TYPE
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        if self.matches(cx.len()) { Verdict::Continue } else { Verdict::Break }
    }

    fn encode(&self, out: &mut Writer, cx: &Encode<'_>) {
        self.write(out, cx.reset);
    }

    fn has_news(&self) -> bool {
        Self::has_news(self)
    }

    fn updated(&self, new: &dyn ObjectBody) -> Option<Arc<dyn ObjectBody>> {
        let new = (new as &dyn Any).downcast_ref::<Self>()?;
        Some(Arc::new(self.updated(new)))
    }
}
