//! `bitwise`: operations on bits, from registers into registers.

use nfnetlink::{Attr, Errno, Result, Writer};

use super::{Decode, Encode, Expr, Kind};
use crate::data::{Data, RawData};
use crate::packet::{Constancy, Cx};
use crate::regs::{MAX_DATA, Reg};
use crate::schema::{Small, Value as _};
use crate::verdict::Verdict;

crate::attributes! {
    /// Changes bits: masks, shifts, and combines registers.
    struct Attributes("bitwise") {
        /// What is changed.
        1 => sreg: Reg,
        /// Where to.
        2 => dreg: Reg,
        /// How many bytes.
        3 => len: Small,
        /// With `mask_xor`: the bits that are kept.
        4 => mask: Option<RawData>,
        /// With `mask_xor`: the bits that are turned over then.
        5 => xor: Option<RawData>,
        /// What is done; `mask_xor` if it is not said.
        6 => op: Option<Op>,
        /// With shifts: by how many bits (below 32, in the machine's order). With the others: the other operand.
        7 => data: Option<RawData>,
        /// The other operand, where it comes from registers.
        8 => sreg2: Option<Reg>,
    }
}

crate::choice! {
    /// What is done (`enum nft_bitwise_ops`).
    enum Op: u32, else EOPNOTSUPP {
        /// Keeps the bits of a mask, then turns some over.
        MaskXor = 0 => "mask_xor",
        /// Towards the first byte.
        Lshift = 1 => "lshift",
        /// Towards the last byte.
        Rshift = 2 => "rshift",
        /// The bits that both have.
        And = 3 => "and",
        /// The bits that either has.
        Or = 4 => "or",
        /// The bits in which they differ.
        Xor = 5 => "xor",
    }
}

/// Registered in `REGISTRY`.
pub(super) static KIND: Kind = Kind { schema: Attributes::SCHEMA, decode, stateful: false };

#[derive(Debug)]
struct Bitwise {
    sreg: Reg,
    dreg: Reg,
    len: u8,
    what: What,
}

#[derive(Debug)]
enum What {
    MaskXor {
        mask: Box<[u8]>,
        xor: Box<[u8]>,
    },
    Lshift(u32),
    Rshift(u32),
    /// And, or, xor.
    Bool(Op, Operand),
}

#[derive(Debug)]
enum Operand {
    Value(Box<[u8]>),
    Reg(Reg),
}

fn decode(data: &Attr<'_>, cx: &mut Decode<'_>) -> Result<Box<dyn Expr>> {
    let attrs = Attributes::decode(data)?;
    let len = usize::from(attrs.len.0);
    cx.load(attrs.sreg, len)?;
    cx.store(attrs.dreg, len)?;
    let what = match (attrs.op.unwrap_or(Op::MaskXor), &attrs) {
        (
            Op::MaskXor,
            Attributes { mask: Some(mask), xor: Some(xor), data: None, sreg2: None, .. },
        ) => What::MaskXor {
            mask: mask.decode(cx)?.value_of(len)?,
            xor: xor.decode(cx)?.value_of(len)?,
        },
        (
            op @ (Op::Lshift | Op::Rshift),
            Attributes { data: Some(data), mask: None, xor: None, sreg2: None, .. },
        ) => {
            let by = data.decode(cx)?.value_of(4)?;
            let by = u32::from_ne_bytes(by.first_chunk().copied().unwrap_or_default());
            if by >= u32::BITS {
                return Err(Errno::EINVAL.into());
            }
            if op == Op::Lshift { What::Lshift(by) } else { What::Rshift(by) }
        }
        (
            op @ (Op::And | Op::Or | Op::Xor),
            Attributes { data, sreg2, mask: None, xor: None, .. },
        ) => What::Bool(
            op,
            match (data, sreg2) {
                (Some(data), None) => Operand::Value(data.decode(cx)?.value_of(len)?),
                (None, Some(reg)) => {
                    cx.load(*reg, len)?;
                    Operand::Reg(*reg)
                }
                _ => return Err(Errno::EINVAL.into()),
            },
        ),
        _ => return Err(Errno::EINVAL.into()),
    };
    Ok(Box::new(Bitwise { sreg: attrs.sreg, dreg: attrs.dreg, len: attrs.len.0, what }))
}

/// The word of four bytes at `i`; of a value that ends before, zeros.
fn word(bytes: &[u8], i: usize) -> u32 {
    let mut word = [0; 4];
    for (to, from) in word.iter_mut().zip(bytes.get(4 * i..).unwrap_or_default()) {
        *to = *from;
    }
    u32::from_ne_bytes(word)
}

impl Bitwise {
    /// How many words are worked on: whole ones, as the kernel does.
    fn words(&self) -> usize {
        usize::from(self.len).div_ceil(4)
    }
}

impl Expr for Bitwise {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let words = self.words();
        let src = cx.regs.get(self.sreg, 4 * words);
        let mut result = [[0; 4]; MAX_DATA / 4];
        let places = || 0..words;
        let mut put = |i: usize, word: u32| {
            if let Some(place) = result.get_mut(i) {
                *place = word.to_ne_bytes();
            }
        };
        match &self.what {
            What::MaskXor { mask, xor } => {
                places().for_each(|i| put(i, word(src, i) & word(mask, i) ^ word(xor, i)));
            }
            What::Lshift(by) => {
                let mut carry = 0;
                for i in places().rev() {
                    let wide = u64::from(word(src, i)) << by;
                    put(i, wide as u32 | carry);
                    carry = (wide >> 32) as u32;
                }
            }
            What::Rshift(by) => {
                let mut carry = 0;
                for i in places() {
                    let wide = (u64::from(word(src, i)) << 32) >> by;
                    put(i, (wide >> 32) as u32 | carry);
                    carry = wide as u32;
                }
            }
            What::Bool(op, operand) => {
                let other = match operand {
                    Operand::Value(value) => value,
                    Operand::Reg(reg) => cx.regs.get(*reg, 4 * words),
                };
                places().for_each(|i| {
                    let (a, b) = (word(src, i), word(other, i));
                    put(
                        i,
                        match op {
                            Op::And => a & b,
                            Op::Or => a | b,
                            _ => a ^ b,
                        },
                    );
                });
            }
        }
        let bytes = result.as_flattened().get(..4 * words).unwrap_or_default();
        cx.regs.set(self.dreg, bytes);
        Verdict::Continue
    }

    fn constancy(&self, _cx: &Cx<'_>) -> Constancy {
        Constancy::Flow
    }

    fn encode(&self, out: &mut Writer, cx: &Encode<'_>) {
        self.sreg.put(1, out);
        self.dreg.put(2, out);
        Small(self.len).put(3, out);
        let value = |kind, value: &[u8], out: &mut Writer| {
            Data::Value(value.into()).encode(kind, out, cx.state);
        };
        match &self.what {
            What::MaskXor { mask, xor } => {
                Op::MaskXor.put(6, out);
                value(4, mask, out);
                value(5, xor, out);
            }
            What::Lshift(by) => {
                Op::Lshift.put(6, out);
                value(7, &by.to_ne_bytes(), out);
            }
            What::Rshift(by) => {
                Op::Rshift.put(6, out);
                value(7, &by.to_ne_bytes(), out);
            }
            What::Bool(op, operand) => {
                op.put(6, out);
                match operand {
                    Operand::Value(data) => value(7, data, out),
                    Operand::Reg(reg) => reg.put(8, out),
                }
            }
        }
    }
}
