//! An expression that only tests have: it shows that a new one is this file and a line in the registry, and nothing else.

use nfnetlink::{Attr, Result, Writer};

use super::{Decode, Encode, Expr, Kind};
use crate::packet::Cx;
use crate::verdict::Verdict;

crate::attributes! {
    /// Matches packets of a length.
    struct Attributes("probe") {
        /// The least length, in bytes.
        1 => at_least: u32,
        /// A word for the log.
        2 => word: Option<crate::schema::Text<15>>,
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct Probe(Attributes);

fn decode(data: &Attr<'_>, _cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    Ok(Box::new(Probe(Attributes::decode(data)?)))
}

impl Expr for Probe {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        if cx.len() >= self.0.at_least as usize { Verdict::Continue } else { Verdict::Break }
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.0.encode(out);
    }
}

#[cfg(test)]
#[path = "../../tests/common/rig.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "tests; some of it is for others")]
mod rig;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use nfnetlink::message::{BATCH_BEGIN, BATCH_END, NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST};
    use nfnetlink::{Header, Messages, NfGen};

    use super::super::REGISTRY;
    use super::*;
    use crate::nft::{SUBSYSTEM, msg};
    use crate::schema::Kind;

    fn message(out: &mut Writer, kind: u16, res_id: u16, inside: impl FnOnce(&mut Writer)) {
        let flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK;
        let header = Header { kind, flags, ..Header::default() };
        out.message(header, NfGen { family: 2, version: 0, res_id }, inside);
    }

    #[test]
    fn a_new_expression_is_one_file_and_is_found_everywhere() {
        // What describes expressions has it, with help, type and what is required.
        let kind = REGISTRY.iter().find(|kind| kind.schema.name == "probe").unwrap();
        assert_eq!(kind.schema.help, "Matches packets of a length.");
        let [least, word] = kind.schema.attributes else { panic!("two attributes") };
        assert!(matches!(least.kind, Kind::Integer { bytes: 4, .. }) && least.required);
        assert!(matches!(word.kind, Kind::Text(15)) && !word.required);

        // A rule takes it from netlink, and a listing gives it back, attribute by attribute.
        let of = |command: u8| u16::from(SUBSYSTEM) << 8 | u16::from(command);
        let mut batch = Writer::default();
        message(&mut batch, BATCH_BEGIN, u16::from(SUBSYSTEM), |_| {});
        message(&mut batch, of(msg::NEWTABLE), 0, |out| out.str(1, "t"));
        message(&mut batch, of(msg::NEWCHAIN), 0, |out| {
            out.str(1, "t");
            out.str(3, "c");
        });
        message(&mut batch, of(msg::NEWRULE), 0, |out| {
            out.str(1, "t");
            out.str(2, "c");
            out.nest(4, |out| {
                out.nest(1, |out| {
                    out.str(1, "probe");
                    out.nest(2, |out| {
                        out.u32(1, 1500);
                        out.str(2, "long");
                    });
                });
            });
        });
        message(&mut batch, BATCH_END, u16::from(SUBSYSTEM), |_| {});
        let mut rig = rig::Rig::new();
        assert_eq!(rig.send(&batch.buf).codes, [0; 5]);
        let listed = rig.picture();
        let rule = listed.iter().find(|m| m[0..].get(4) == Some(&msg::NEWRULE)).unwrap();
        let rule = Messages::new(rule).next().unwrap();
        let list = rule.attrs().table::<5>()[4].unwrap();
        let [_, name, data] = list.nested().next().unwrap().table::<3>();
        assert_eq!(name.unwrap().str(31).unwrap(), "probe");
        let [_, least, word] = data.unwrap().table::<3>();
        assert_eq!(least.unwrap().u32(), Ok(1500));
        assert_eq!(word.unwrap().str(15), Ok("long"));
    }
}
