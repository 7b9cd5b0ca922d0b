//! What rules can be made of, told from the registries of `ruleset`: nothing is listed here by hand.

use ruleset::expr;
use ruleset::object;
use ruleset::schema::{Attribute, Kind, Schema};
use ruleset::xt::{self, Role, Standing};

use super::model::{Description, Expressions, Extension, Field, Word};

/// Everything, each kind in the order of its registry.
pub fn all() -> Expressions {
    Expressions {
        expressions: expr::REGISTRY
            .iter()
            .map(|kind| Description { stateful: kind.stateful, ..description(kind.schema) })
            .collect(),
        objects: object::REGISTRY
            .iter()
            .map(|kind| Description {
                number: Some(kind.kind.0),
                stateful: true,
                refusal: kind.refusal.map(str::to_owned),
                ..description(kind.schema)
            })
            .collect(),
        extensions: xt::all().map(extension).collect(),
    }
}

fn description(schema: &Schema) -> Description {
    Description {
        name: schema.name.into(),
        help: schema.help.into(),
        attributes: schema.attributes.iter().map(field).collect(),
        ..Description::default()
    }
}

fn field(attribute: &Attribute) -> Field {
    let words = |words: &[(u64, &str)]| {
        words.iter().map(|(value, name)| Word { value: *value, name: (*name).into() }).collect()
    };
    let field = Field {
        number: attribute.number,
        name: attribute.name.into(),
        required: attribute.required,
        help: attribute.help.into(),
        ..Field::default()
    };
    match attribute.kind {
        Kind::Integer { bytes, min, max } => Field {
            kind: "integer".into(),
            bytes: Some(bytes.into()),
            min: Some(min),
            max: Some(max),
            ..field
        },
        Kind::Choice(all) => Field { kind: "choice".into(), words: words(all), ..field },
        Kind::Flags(all) => Field { kind: "flags".into(), words: words(all), ..field },
        Kind::Text(most) => Field { kind: "text".into(), bytes: Some(most.into()), ..field },
        Kind::Bytes(most) => Field { kind: "bytes".into(), bytes: Some(most.into()), ..field },
        Kind::Register => Field { kind: "register".into(), ..field },
        Kind::Data => Field { kind: "data".into(), ..field },
        Kind::Expressions => Field { kind: "expressions".into(), ..field },
        Kind::Nested(schema) => Field {
            kind: "nested".into(),
            attributes: schema.attributes.iter().map(self::field).collect(),
            ..field
        },
    }
}

fn extension(found: &xt::Extension) -> Extension {
    let (standing, why) = match found.standing {
        Standing::Acts => ("acts", None),
        Standing::Stored(why) => ("stored", Some(why)),
        Standing::Refused(why) => ("refused", Some(why)),
    };
    let families = found.families.iter().map(|family| family.handler().name.to_owned());
    Extension {
        name: found.name.into(),
        revision: found.revision,
        role: match found.role {
            Role::Match => "match",
            Role::Target => "target",
        }
        .into(),
        help: found.help.into(),
        standing: standing.into(),
        why: why.map(str::to_owned),
        families: families.collect(),
        table: found.table.map(str::to_owned),
        bytes: found.size as u64,
    }
}
