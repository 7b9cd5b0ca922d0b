//! `synproxy`: a proxy for TCP's handshake that rules share.

use std::any::Any;
use std::sync::Arc;

use nfnetlink::{Attr, Result, Writer};

use crate::expr::synproxy::{Attributes, SynProxy};
use crate::expr::{Decode, Encode, Requires};
use crate::model::{ObjectBody, ObjectKind, ObjectType};
use crate::packet::Cx;
use crate::verdict::Verdict;

/// Registered in `REGISTRY`.
pub(super) static TYPE: ObjectType = ObjectType {
    kind: ObjectKind(10),
    schema: Attributes::SCHEMA,
    decode,
    refusal: Some(super::NO_PROXY),
};

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn ObjectBody>> {
    Ok(Box::new(SynProxy::decode(data, cx)?))
}

impl ObjectBody for SynProxy {
    fn kind(&self) -> &'static ObjectType {
        &TYPE
    }

    fn eval(&self, _cx: &mut Cx<'_>) -> Verdict {
        Verdict::Continue
    }

    fn needs_tracking(&self) -> bool {
        true
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.write(out);
    }

    fn updated(&self, new: &dyn ObjectBody) -> Option<Arc<dyn ObjectBody>> {
        let new = (new as &dyn Any).downcast_ref::<Self>()?;
        Some(Arc::new(new.clone()))
    }

    fn requires(&self) -> Requires {
        Self::requires(self)
    }
}
