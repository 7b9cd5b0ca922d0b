//! Values and verdicts as netlink carries them (`NFTA_DATA_…`, `NFTA_VERDICT_…`).

use nfnetlink::{Attr, Attrs, Errno, Result, Writer};

use crate::expr::Decode;
use crate::model::State;
use crate::regs::MAX_DATA;
use crate::schema::{Kind, Value as _};
use crate::verdict::{
    NF_ACCEPT, NF_DROP, NFT_BREAK, NFT_CONTINUE, NFT_GOTO, NFT_JUMP, NFT_RETURN, Verdict,
};

/// Bytes of a value in an expression (`struct nft_data`).
const MAX_EXPR_DATA: usize = 16;
const VALUE: u16 = 1;
const VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const VERDICT_CHAIN_ID: u16 = 3;

/// A value for registers, or a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Up to 64 bytes, as registers hold them.
    Value(Box<[u8]>),
    /// A verdict.
    Verdict(Verdict),
}

/// A value in an attribute, not yet looked at: what it means depends on the table that the message is about.
#[derive(Clone, Debug)]
pub struct RawData(Box<[u8]>, u32);

impl crate::schema::Value for RawData {
    const KIND: Kind = Kind::Data;

    fn get(attr: &Attr<'_>) -> Result<Self> {
        Ok(Self(attr.data.into(), attr.offset))
    }

    fn put(&self, kind: u16, out: &mut Writer) {
        out.put(kind, &self.0);
    }
}

impl RawData {
    /// What it means there. What an expression holds is no longer than one of the large registers.
    ///
    /// # Errors
    ///
    /// As [`Data::decode`].
    pub fn decode(&self, cx: &Decode<'_>) -> Result<Data> {
        let attr = Attr { kind: 0, data: &self.0, offset: self.1 };
        match Data::decode(&attr, cx)? {
            Data::Value(value) if value.len() > MAX_EXPR_DATA => Err(attr.error(Errno::EOVERFLOW)),
            data => Ok(data),
        }
    }

    /// The value that it means there.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a verdict, else as [`Self::decode`].
    pub fn value(&self, cx: &Decode<'_>) -> Result<Box<[u8]>> {
        match self.decode(cx)? {
            Data::Value(value) => Ok(value),
            Data::Verdict(_) => Err(Errno::EINVAL.into()),
        }
    }
}

impl Data {
    /// Reads a value or a verdict.
    ///
    /// # Errors
    ///
    /// `EINVAL` for an empty, a too long or an unknown one; `ENOENT` for a chain that is not there; `EOPNOTSUPP` for a base
    /// chain as target.
    pub fn decode(attr: &Attr<'_>, cx: &Decode<'_>) -> Result<Self> {
        let table = attr.table::<3>();
        if let [_, Some(value), _] = table {
            return match value.data.len() {
                0 => Err(value.error(Errno::EINVAL)),
                1..=MAX_DATA => Ok(Self::Value(value.data.into())),
                _ => Err(value.error(Errno::EOVERFLOW)),
            };
        }
        match table {
            [_, _, Some(verdict)] => decode_verdict(&verdict, cx).map(Self::Verdict),
            _ => Err(attr.error(Errno::EINVAL)),
        }
    }

    /// Writes it inside an attribute `kind`.
    pub fn encode(&self, kind: u16, out: &mut Writer, state: &State) {
        out.nest(kind, |out| match self {
            Self::Value(value) => out.put(VALUE, value),
            Self::Verdict(verdict) => encode_verdict(*verdict, VERDICT, out, state),
        });
    }

    /// The bytes of a value; nothing of a verdict.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Value(value) => value,
            Self::Verdict(_) => &[],
        }
    }

    /// The value, where it is exactly `len` bytes long.
    ///
    /// # Errors
    ///
    /// `EINVAL` for another length or a verdict.
    pub fn value_of(self, len: usize) -> Result<Box<[u8]>> {
        match self {
            Self::Value(value) if value.len() == len => Ok(value),
            _ => Err(Errno::EINVAL.into()),
        }
    }
}

fn decode_verdict(attr: &Attr<'_>, cx: &Decode<'_>) -> Result<Verdict> {
    let attrs: [_; 4] = Attrs::table(attr.nested());
    let [_, code, name, id] = attrs;
    let code = code.ok_or(attr.error(Errno::EINVAL))?.u32()?.cast_signed();
    let target = || {
        let id = match (name, id) {
            (Some(name), _) => cx.chain_named(&name)?,
            (None, Some(id)) => cx.chain_of_batch(&id)?,
            (None, None) => return Err(attr.error(Errno::EINVAL)),
        };
        match cx.state.chain(id) {
            Some(chain) if chain.base.is_some() => Err(attr.error(Errno::EOPNOTSUPP)),
            Some(_) => Ok(id),
            None => Err(attr.error(Errno::ENOENT)),
        }
    };
    Ok(match code {
        NFT_CONTINUE => Verdict::Continue,
        NFT_BREAK => Verdict::Break,
        NFT_RETURN => Verdict::Return,
        NFT_JUMP => Verdict::Jump(target()?),
        NFT_GOTO => Verdict::Goto(target()?),
        NF_ACCEPT => Verdict::Accept,
        NF_DROP => Verdict::Drop,
        _ => return Err(attr.error(Errno::EINVAL)),
    })
}

/// Writes a verdict inside an attribute `kind` (`NFTA_DATA_VERDICT`, `NFTA_TRACE_VERDICT`).
pub fn encode_verdict(verdict: Verdict, kind: u16, out: &mut Writer, state: &State) {
    out.nest(kind, |out| {
        verdict.code().cast_unsigned().put(VERDICT_CODE, out);
        if let Verdict::Jump(id) | Verdict::Goto(id) = verdict
            && let Some(chain) = state.chain(id)
        {
            out.str(VERDICT_CHAIN, &chain.name);
        }
    });
}

/// `NFTA_VERDICT_CHAIN_ID`, for whoever writes messages.
pub const CHAIN_ID: u16 = VERDICT_CHAIN_ID;
