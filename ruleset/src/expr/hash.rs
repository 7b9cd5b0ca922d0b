//! `hash`: a number from registers (`jhash`) or from the packet's flow (`symhash`).

use std::sync::LazyLock;

use ahash::RandomState;
use nfnetlink::{Attr, Errno, Result, Writer};

use super::numgen::scale;
use super::{Decode, Encode, Expr, Kind};
use crate::packet::{Constancy, Cx};
use crate::regs::Reg;
use crate::schema::{Small, Value as _};
use crate::verdict::Verdict;

crate::attributes! {
    /// Makes a number below a modulus from the bytes of registers, or from the packet's flow, the same both ways.
    struct Attributes("hash") {
        /// With `jhash`: from what.
        1 => sreg: Option<Reg>,
        /// Where to.
        2 => dreg: Reg,
        /// With `jhash`: from how many bytes.
        3 => len: Option<Small>,
        /// How many numbers there are.
        4 => modulus: u32,
        /// With `jhash`: what the hash begins with; random if it is not said.
        5 => seed: Option<u32>,
        /// The first number; 0 if it is not said.
        6 => offset: Option<u32>,
        /// From what; `jhash` if it is not said.
        7 => how: Option<How>,
    }
}

crate::choice! {
    /// From what a number is made (`enum nft_hash_types`).
    enum How: u32, else EOPNOTSUPP {
        /// From registers, by Jenkins's hash.
        Jenkins = 0 => "jhash",
        /// From the flow.
        Sym = 1 => "symhash",
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

/// One for all `symhash`, so that equal flows have equal numbers; another at each start.
static SYMMETRIC: LazyLock<RandomState> = LazyLock::new(RandomState::new);

#[derive(Debug)]
struct Hash {
    dreg: Reg,
    modulus: u32,
    offset: u32,
    from: From,
}

#[derive(Debug)]
enum From {
    Registers {
        sreg: Reg,
        len: u8,
        seed: u32,
        /// The seed was said, and is told.
        said: bool,
    },
    Flow,
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let attrs = Attributes::decode(data)?;
    let from = match attrs.how.unwrap_or(How::Jenkins) {
        How::Sym => From::Flow,
        How::Jenkins => {
            let (Some(sreg), Some(Small(len))) = (attrs.sreg, attrs.len) else {
                return Err(Errno::EINVAL.into());
            };
            if len == 0 {
                return Err(Errno::ERANGE.into());
            }
            let said = attrs.seed.is_some();
            let seed =
                attrs.seed.unwrap_or_else(|| SYMMETRIC.hash_one(cx.table.last_handle) as u32);
            From::Registers { sreg, len, seed, said }
        }
    };
    let offset = attrs.offset.unwrap_or(0);
    let most = attrs.modulus.checked_sub(1).ok_or(Errno::ERANGE)?;
    offset.checked_add(most).ok_or(Errno::EOVERFLOW)?;
    if let From::Registers { sreg, len, .. } = from {
        cx.load(sreg, len.into())?;
    }
    cx.store(attrs.dreg, 4)?;
    Ok(Box::new(Hash { dreg: attrs.dreg, modulus: attrs.modulus, offset, from }))
}

/// Bob Jenkins's hash of bytes (lookup3, public domain), as Linux has it on little-endian machines.
pub(crate) fn jhash(bytes: &[u8], seed: u32) -> u32 {
    const START: u32 = 0xdead_beef;
    let start = START.wrapping_add(bytes.len() as u32).wrapping_add(seed);
    let [mut a, mut b, mut c] = [start; 3];
    let mut rest = bytes;
    let word = |bytes: &[u8], i: usize| {
        let mut word = [0; 4];
        for (to, from) in word.iter_mut().zip(bytes.get(4 * i..).unwrap_or_default()) {
            *to = *from;
        }
        u32::from_le_bytes(word)
    };
    while rest.len() > 12 {
        a = a.wrapping_add(word(rest, 0));
        b = b.wrapping_add(word(rest, 1));
        c = c.wrapping_add(word(rest, 2));
        a = a.wrapping_sub(c) ^ c.rotate_left(4);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(6);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(8);
        b = b.wrapping_add(a);
        a = a.wrapping_sub(c) ^ c.rotate_left(16);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(19);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(4);
        b = b.wrapping_add(a);
        rest = rest.get(12..).unwrap_or_default();
    }
    if rest.is_empty() {
        return c;
    }
    a = a.wrapping_add(word(rest, 0));
    b = b.wrapping_add(word(rest, 1));
    c = c.wrapping_add(word(rest, 2));
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// The flow's hash, the same both ways.
fn symmetric(cx: &Cx<'_>) -> u32 {
    let key = &cx.layers.key;
    let ends = [(key.src, key.sport), (key.dst, key.dport)];
    let [a, b] = ends;
    let ends = if a <= b { [a, b] } else { [b, a] };
    SYMMETRIC.hash_one((ends, key.protocol, key.family)) as u32
}

impl Expr for Hash {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let hash = match self.from {
            From::Registers { sreg, len, seed, .. } => jhash(cx.regs.get(sreg, len.into()), seed),
            From::Flow => symmetric(cx),
        };
        cx.regs.set_u32(self.dreg, self.offset + scale(hash, self.modulus));
        Verdict::Continue
    }

    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        Constancy::Flow
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        if let From::Registers { sreg, .. } = self.from {
            sreg.put(1, out);
        }
        self.dreg.put(2, out);
        if let From::Registers { len, .. } = self.from {
            Small(len).put(3, out);
        }
        self.modulus.put(4, out);
        let how = match self.from {
            From::Registers { seed, said, .. } => {
                if said {
                    seed.put(5, out);
                }
                How::Jenkins
            }
            From::Flow => How::Sym,
        };
        if self.offset != 0 {
            self.offset.put(6, out);
        }
        how.put(7, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jenkins_hash_is_lookup3() {
        // From the test driver of lookup3.c (hashlittle), whose seed is the second argument.
        assert_eq!(jhash(b"", 0), 0xdead_beef);
        assert_eq!(jhash(b"", 0xdead_beef), 0xbd5b_7dde);
        assert_eq!(jhash(b"Four score and seven years ago", 0), 0x1777_0551);
        assert_eq!(jhash(b"Four score and seven years ago", 1), 0xcd62_8161);
    }
}
