//! A number for a ruleset: the same on nodes that decide alike.
//!
//! # Overview
//!
//! It is made of the messages of the ruleset's image (`ruleset::nft::image`), without what packets and time change: counters,
//! quotas' use, elements that end by themselves, elements of sets that packets fill. Handles are not in an image. Names that nf_tables
//! gives (`__set0`, `__chain1`) differ with a node's history: in their place stands what they name. The order of rules counts, that
//! of tables, sets and elements does not.

use std::collections::HashMap;
use std::hash::Hasher;

use ahash::RandomState;
use nfnetlink::attr::{Attr, Attrs};
use nfnetlink::{Message, Messages};
use ruleset::nft::image;
use siphasher::sip::SipHasher13;

/// `NFT_MSG_…` (linux/netfilter/nf_tables.h).
mod msg {
    pub(super) const NEWTABLE: u8 = 0;
    pub(super) const NEWCHAIN: u8 = 3;
    pub(super) const NEWRULE: u8 = 6;
    pub(super) const NEWSET: u8 = 9;
    pub(super) const NEWSETELEM: u8 = 12;
    pub(super) const NEWOBJ: u8 = 18;
}

/// The table's name, in all of them.
const TABLE: u16 = 1;
/// `NFTA_CHAIN_NAME`, `NFTA_CHAIN_USE`, `NFTA_CHAIN_COUNTERS`, `NFTA_CHAIN_FLAGS`; `NFT_CHAIN_BINDING`.
const CHAIN: [u16; 4] = [3, 6, 8, 10];
const CHAIN_BINDING: u32 = 4;
/// `NFTA_RULE_CHAIN`, `NFTA_RULE_EXPRESSIONS`.
const RULE: [u16; 2] = [2, 4];
/// `NFTA_SET_NAME`, `NFTA_SET_FLAGS`, `NFTA_SET_ID`, `NFTA_SET_EXPR`, `NFTA_SET_EXPRESSIONS`, `NFTA_SET_COUNT`.
const SET: [u16; 6] = [2, 3, 10, 17, 18, 20];
const SET_ANONYMOUS: u32 = 1;
/// `NFT_SET_EVAL`: packets put elements into it.
const SET_EVAL: u32 = 0x20;
/// `NFTA_SET_ELEM_LIST_SET`, `NFTA_SET_ELEM_LIST_ELEMENTS`.
const ELEMENTS: [u16; 2] = [2, 3];
/// `NFTA_SET_ELEM_EXPIRATION`, `NFTA_SET_ELEM_EXPR`, `NFTA_SET_ELEM_EXPRESSIONS`.
const ELEMENT: [u16; 3] = [5, 7, 11];
/// `NFTA_OBJ_TYPE`, `NFTA_OBJ_DATA`, `NFTA_OBJ_USE`; counters and quotas.
const OBJECT: [u16; 3] = [3, 4, 5];
const OBJECT_COUNTER: u32 = 1;
const OBJECT_QUOTA: u32 = 2;
/// `NFTA_QUOTA_CONSUMED`.
const QUOTA_CONSUMED: u16 = 4;
/// How many use it: `NFTA_TABLE_USE`, `NFTA_FLOWTABLE_USE`.
const TABLE_USE: u16 = 3;
const FLOWTABLE_USE: u16 = 4;
/// `NFTA_LIST_ELEM`, `NFTA_EXPR_NAME`, `NFTA_EXPR_DATA`.
const LIST_ELEM: u16 = 1;
const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
/// `NFTA_IMMEDIATE_DATA` and within it `NFTA_DATA_VERDICT`; `NFTA_DYNSET_EXPR`, `NFTA_DYNSET_EXPRESSIONS`.
const NESTED_IN_IMMEDIATE: u16 = 2;
const DYNSET_EXPR: u16 = 7;
const DYNSET_EXPRESSIONS: u16 = 10;

/// The number for the ruleset of an image.
pub(super) fn fingerprint(image: &[u8]) -> u64 {
    let mut print = Fingerprint::default();
    let messages = image.get(image::HEAD..).unwrap_or_default();
    Messages::new(messages).for_each(|message| print.add(&message));
    print.sum
}

/// What has been seen so far.
#[derive(Default)]
struct Fingerprint {
    /// Of everything that has a name of its own, in whatever order.
    sum: u64,
    /// What stands behind the names that nf_tables gave.
    anonymous: HashMap<Name, u64, RandomState>,
    /// Sets whose elements are packets' doing.
    dynamic: std::collections::HashSet<Name, RandomState>,
    /// How many rules each chain has.
    rules: HashMap<Name, u32, RandomState>,
}

/// Family, table, name.
type Name = (u8, Vec<u8>, Vec<u8>);

fn find<'a>(attrs: Attrs<'a>, kind: u16) -> Option<Attr<'a>> {
    attrs.into_iter().find(|attr| attr.kind == kind)
}

/// A 32-bit number; absent: 0.
fn number(attrs: Attrs<'_>, kind: u16) -> u32 {
    find(attrs, kind).and_then(|attr| attr.u32().ok()).unwrap_or(0)
}

fn bytes(attrs: Attrs<'_>, kind: u16) -> Vec<u8> {
    find(attrs, kind).map_or_else(Vec::new, |attr| attr.data.to_vec())
}

/// A hasher with a key that is the same everywhere: this number is compared, not used to find anything.
fn hasher() -> SipHasher13 {
    SipHasher13::new_with_keys(0x7477_696e_7761_6c6c, 0x7275_6c65_7365_7431)
}

fn put(hasher: &mut SipHasher13, kind: u16, data: &[u8]) {
    hasher.write_u16(kind);
    hasher.write_usize(data.len());
    hasher.write(data);
}

impl Fingerprint {
    fn add(&mut self, message: &Message<'_>) {
        let Ok(nfgen) = message.nfgen() else { return };
        let (family, attrs) = (nfgen.family, message.attrs());
        let name = |kind| -> Name { (family, bytes(attrs, TABLE), bytes(attrs, kind)) };
        let mut hash = hasher();
        hash.write_u8(message.command());
        hash.write_u8(family);
        match message.command() {
            msg::NEWTABLE => self.plain(hash, attrs, &[TABLE_USE]),
            msg::NEWCHAIN => {
                let [of, used, counters, flags] = CHAIN;
                if number(attrs, flags) & CHAIN_BINDING == 0 {
                    return self.plain(hash, attrs, &[used, counters]);
                }
                self.anonymous.insert(name(of), 0);
            }
            msg::NEWRULE => self.rule(hash, attrs, name(RULE[0])),
            msg::NEWSET => self.set(hash, attrs, name(SET[0])),
            msg::NEWSETELEM => self.elements(&hash, attrs, name(ELEMENTS[0])),
            msg::NEWOBJ => {
                let [of, data, used] = OBJECT;
                let kind = number(attrs, of);
                for attr in attrs.into_iter().filter(|attr| attr.kind != used) {
                    match (attr.kind == data, kind) {
                        (true, OBJECT_COUNTER) => {}
                        (true, OBJECT_QUOTA) => {
                            without(&mut hash, attr.nested(), &[QUOTA_CONSUMED])
                        }
                        _ => put(&mut hash, attr.kind, attr.data),
                    }
                }
                self.sum = self.sum.wrapping_add(hash.finish());
            }
            _ => self.plain(hash, attrs, &[FLOWTABLE_USE]),
        }
    }

    fn plain(&mut self, mut hash: SipHasher13, attrs: Attrs<'_>, but: &[u16]) {
        without(&mut hash, attrs, but);
        self.sum = self.sum.wrapping_add(hash.finish());
    }

    fn rule(&mut self, mut hash: SipHasher13, attrs: Attrs<'_>, chain: Name) {
        let [of, expressions] = RULE;
        let owned = self.anonymous.contains_key(&chain);
        for attr in attrs {
            if attr.kind == expressions {
                self.expressions(&mut hash, attr.nested(), &chain);
            } else if attr.kind != of || !owned {
                put(&mut hash, attr.kind, attr.data);
            }
        }
        if let Some(content) = self.anonymous.get_mut(&chain) {
            hash.write_u64(*content);
            *content = hash.finish();
            return;
        }
        let place = self.rules.entry(chain).or_insert(0);
        *place += 1;
        hash.write_u32(*place);
        self.sum = self.sum.wrapping_add(hash.finish());
    }

    fn set(&mut self, mut hash: SipHasher13, attrs: Attrs<'_>, set: Name) {
        let [of, flags, id, expr, expressions, count] = SET;
        let flags = number(attrs, flags);
        let anonymous = flags & SET_ANONYMOUS != 0;
        for attr in attrs {
            if attr.kind == expr {
                self.expression(&mut hash, attr.nested(), &set);
            } else if attr.kind == expressions {
                self.expressions(&mut hash, attr.nested(), &set);
            } else if attr.kind != id && attr.kind != count && !(attr.kind == of && anonymous) {
                put(&mut hash, attr.kind, attr.data);
            }
        }
        if flags & SET_EVAL != 0 {
            self.dynamic.insert(set.clone());
        }
        if anonymous {
            self.anonymous.insert(set, hash.finish());
        } else {
            self.sum = self.sum.wrapping_add(hash.finish());
        }
    }

    fn elements(&mut self, hash: &SipHasher13, attrs: Attrs<'_>, set: Name) {
        let [expiration, expr, expressions] = ELEMENT;
        if self.dynamic.contains(&set) {
            return;
        }
        let Some(list) = find(attrs, ELEMENTS[1]) else { return };
        let mut content = self.anonymous.get(&set).copied();
        for element in list.nested() {
            if find(element.nested(), expiration).is_some() {
                continue;
            }
            let mut hash = *hash;
            without(&mut hash, element.nested(), &[expr, expressions]);
            if let Some(content) = &mut content {
                *content = content.wrapping_add(hash.finish());
            } else {
                put(&mut hash, 0, &set.1);
                put(&mut hash, 0, &set.2);
                self.sum = self.sum.wrapping_add(hash.finish());
            }
        }
        if let Some(content) = content {
            self.anonymous.insert(set, content);
        }
    }

    /// A list of expressions.
    fn expressions(&self, hash: &mut SipHasher13, list: Attrs<'_>, within: &Name) {
        for expr in list.into_iter().filter(|attr| attr.kind == LIST_ELEM) {
            self.expression(hash, expr.nested(), within);
        }
        hash.write_u8(0xff);
    }

    fn expression(&self, hash: &mut SipHasher13, expr: Attrs<'_>, within: &Name) {
        let name = bytes(expr, EXPR_NAME);
        put(hash, EXPR_NAME, &name);
        let name = name.strip_suffix(&[0]).unwrap_or(&name);
        let Some(data) = find(expr, EXPR_DATA) else { return };
        match name {
            b"counter" | b"last" => {}
            b"quota" => without(hash, data.nested(), &[QUOTA_CONSUMED]),
            b"immediate" | b"lookup" | b"dynset" | b"objref" => {
                self.names(hash, name, data.nested(), within, 0);
            }
            _ => put(hash, EXPR_DATA, data.data),
        }
    }

    /// The attributes of an expression that can name what has a name of nf_tables' own.
    fn names(
        &self,
        hash: &mut SipHasher13,
        expr: &[u8],
        attrs: Attrs<'_>,
        within: &Name,
        depth: u8,
    ) {
        for attr in attrs {
            let named = (within.0, within.1.clone(), attr.data.to_vec());
            match (expr, attr.kind) {
                _ if self.anonymous.contains_key(&named) => {
                    hash.write_u16(attr.kind);
                    hash.write_u64(self.anonymous.get(&named).copied().unwrap_or(0));
                }
                // The data, in it the verdict, in that the chain's name.
                (b"immediate", NESTED_IN_IMMEDIATE) if depth < 2 => {
                    self.names(hash, expr, attr.nested(), within, depth + 1);
                }
                (b"dynset", DYNSET_EXPR) => self.expression(hash, attr.nested(), within),
                (b"dynset", DYNSET_EXPRESSIONS) => self.expressions(hash, attr.nested(), within),
                _ => put(hash, attr.kind, attr.data),
            }
        }
    }
}

fn without(hash: &mut SipHasher13, attrs: Attrs<'_>, but: &[u16]) {
    attrs
        .into_iter()
        .filter(|attr| !but.contains(&attr.kind))
        .for_each(|attr| put(hash, attr.kind, attr.data));
}

#[cfg(test)]
mod tests {
    use nfnetlink::attr::Writer;
    use nfnetlink::{Header, NfGen};

    use super::*;

    /// A name, and what writes its data.
    type Expression<'a> = (&'a str, &'a dyn Fn(&mut Writer));

    /// An image under construction.
    struct Image(Writer);

    impl Image {
        fn new() -> Self {
            let mut out = Writer::default();
            out.buf.extend([0; image::HEAD]);
            Self(out).message(msg::NEWTABLE, |out| out.u32(TABLE_USE, 7))
        }

        fn message(mut self, command: u8, inside: impl FnOnce(&mut Writer)) -> Self {
            let header = Header { kind: 0x0a00 | u16::from(command), ..Header::default() };
            let nfgen = NfGen { family: 2, ..NfGen::default() };
            self.0.message(header, nfgen, |out| {
                out.str(TABLE, "t");
                inside(out);
            });
            self
        }

        fn set(self, name: &str, flags: u32) -> Self {
            self.message(msg::NEWSET, |out| {
                out.str(SET[0], name);
                out.u32(SET[1], flags);
                out.u32(SET[2], name.len() as u32);
            })
        }

        fn elements(self, set: &str, elements: &[(u32, bool)]) -> Self {
            self.message(msg::NEWSETELEM, |out| {
                out.str(ELEMENTS[0], set);
                out.nest(ELEMENTS[1], |out| {
                    for (key, ends) in elements {
                        out.nest(LIST_ELEM, |out| {
                            out.u32(1, *key);
                            if *ends {
                                out.u64(ELEMENT[0], 77);
                            }
                        });
                    }
                });
            })
        }

        fn rule(self, chain: &str, expressions: &[Expression<'_>]) -> Self {
            self.message(msg::NEWRULE, |out| {
                out.str(RULE[0], chain);
                out.nest(RULE[1], |out| {
                    for (name, data) in expressions {
                        out.nest(LIST_ELEM, |out| {
                            out.str(EXPR_NAME, name);
                            out.nest(EXPR_DATA, |out| data(out));
                        });
                    }
                });
            })
        }

        fn chain(self, name: &str, flags: u32) -> Self {
            self.message(msg::NEWCHAIN, |out| {
                out.str(CHAIN[0], name);
                out.u32(CHAIN[3], flags);
            })
        }

        fn print(self) -> u64 {
            fingerprint(&self.0.buf)
        }
    }

    fn jump(to: &'static str) -> impl Fn(&mut Writer) {
        move |out| {
            out.u32(1, 0);
            out.nest(2, |out| {
                out.nest(2, |out| {
                    out.u32(1, 5);
                    out.str(2, to);
                });
            });
        }
    }

    fn lookup(set: &'static str) -> impl Fn(&mut Writer) {
        move |out| out.str(1, set)
    }

    fn counter(packets: u64) -> impl Fn(&mut Writer) {
        move |out| out.u64(2, packets)
    }

    #[test]
    fn what_packets_and_time_change_does_not_count() {
        let plain = |packets, used, key| {
            let (count, quota) = (counter(packets), move |out: &mut Writer| {
                out.u64(1, 1000);
                out.u64(QUOTA_CONSUMED, used);
            });
            Image::new()
                .set("seen", SET_EVAL)
                .elements("seen", &[(key, false)])
                .set("banned", 0)
                .elements("banned", &[(1, false), (key, true)])
                .rule("c", &[("counter", &count), ("quota", &quota)])
                .message(msg::NEWOBJ, |out| {
                    out.u32(OBJECT[0], OBJECT_COUNTER);
                    out.nest(OBJECT[1], |out| out.u64(1, packets));
                })
                .print()
        };
        assert_eq!(plain(1, 2, 3), plain(4, 5, 6));
    }

    #[test]
    fn what_decides_counts() {
        let (a, b) = (lookup("a"), lookup("b"));
        let base = || Image::new().set("a", 0).elements("a", &[(1, false)]);
        let prints = [
            base().print(),
            base().elements("a", &[(2, false)]).print(),
            base().set("b", 0).print(),
            base().rule("c", &[("lookup", &a)]).print(),
            base().rule("d", &[("lookup", &a)]).print(),
            base().rule("c", &[("lookup", &b)]).print(),
            base().rule("c", &[("lookup", &a)]).rule("c", &[("lookup", &b)]).print(),
            base().rule("c", &[("lookup", &b)]).rule("c", &[("lookup", &a)]).print(),
            base().rule("c", &[("immediate", &jump("x"))]).print(),
            base().rule("c", &[("immediate", &jump("y"))]).print(),
        ];
        for (n, one) in prints.iter().enumerate() {
            assert!(!prints[..n].contains(one), "{n}");
        }
        let order =
            |first, second| base().elements("a", &[(first, false), (second, false)]).print();
        assert_eq!(order(5, 6), order(6, 5), "a set has no order");
    }

    #[test]
    fn names_that_nf_tables_gives_do_not_count_but_what_they_name() {
        let with = |set: &'static str, chain: &'static str, key| {
            let (look, go) = (lookup(set), jump(chain));
            let inner = counter(9);
            Image::new()
                .chain(chain, CHAIN_BINDING)
                .set(set, SET_ANONYMOUS)
                .elements(set, &[(key, false)])
                .rule(chain, &[("counter", &inner), ("lookup", &look)])
                .rule("c", &[("lookup", &look), ("immediate", &go)])
                .print()
        };
        assert_eq!(with("__set0", "__chain1", 1), with("__set17", "__chain9", 1));
        assert_ne!(with("__set0", "__chain1", 1), with("__set0", "__chain1", 2));
    }
}
