//! TCP's options: found, changed, removed.

use nfnetlink::Writer;
use packet::wire::{ip, tcp};

use super::{Field, KIND};
use crate::expr::{Encode, Expr, Kind};
use crate::packet::Cx;
use crate::regs::Reg;
use crate::schema::Value as _;
use crate::sums::Change;
use crate::verdict::Verdict;

const MAX_HEADER: usize = 60;
/// One byte that means nothing.
const NOP: u8 = 1;
/// The maximum segment size: it is never made larger, since that could stall a connection.
const MSS: u8 = 2;

/// A TCP header, out of the frame.
struct Header {
    start: usize,
    bytes: [u8; MAX_HEADER],
    len: usize,
}

impl Header {
    fn read(cx: &Cx<'_>) -> Option<Self> {
        let transport = cx.transport().filter(|transport| transport.protocol == ip::TCP)?;
        let start = usize::from(transport.offset);
        let [offset] = cx.peek(start + 12)?;
        let len = usize::from(offset >> 4) * 4;
        let mut bytes = [0; MAX_HEADER];
        let there = len >= tcp::LEN
            && start + len <= cx.end()
            && cx.bytes.read_at(start, bytes.get_mut(..len)?);
        there.then_some(Self { start, bytes, len })
    }

    /// Where an option begins in the header, and its length as it says itself.
    fn option(&self, kind: u8) -> Option<(usize, usize)> {
        let mut at = tcp::LEN;
        while at + 1 < self.len {
            let [found, len] = *self.bytes.get(at..)?.first_chunk()?;
            // The end of the list is no end here, as it is none in Linux.
            let size = if found <= NOP || len == 0 { 1 } else { usize::from(len) };
            if found == kind {
                return Some((at, size));
            }
            at += size;
        }
        None
    }
}

/// Where an option begins in the frame, and how long it is, if it holds the field.
pub(super) fn option(cx: &Cx<'_>, field: Field) -> Option<(usize, usize)> {
    let header = Header::read(cx)?;
    let (at, size) = header.option(field.kind)?;
    let whole = at + size <= header.len && field.offset() + field.len() <= size;
    whole.then_some((header.start + at, size))
}

/// Changes bytes of a header and its checksum. Bytes are taken by pairs, so that it does not matter where they begin.
fn change(cx: &mut Cx<'_>, header: &Header, at: usize, new: &[u8]) -> Option<()> {
    let (from, to) = (at & !1, (at + new.len()).next_multiple_of(2));
    let old = header.bytes.get(from..to)?;
    let mut pairs = [0; MAX_HEADER + 2];
    let pairs = pairs.get_mut(..to - from)?;
    pairs.copy_from_slice(old);
    pairs.get_mut(at - from..)?.get_mut(..new.len())?.copy_from_slice(new);
    let change = Change::of(old, pairs);
    cx.store(header.start + at, new).then_some(())?;
    change.apply(cx, header.start + tcp::CHECKSUM_OFFSET)
}

/// Changes an option.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) sreg: Reg,
    pub(super) field: Field,
}

impl Set {
    /// `None` where there is no TCP header, or the option does not hold the field.
    fn write(&self, cx: &mut Cx<'_>) -> Option<()> {
        let header = Header::read(cx)?;
        let Some((at, size)) = header.option(self.field.kind) else { return Some(()) };
        if at + size > header.len || self.field.offset() + self.field.len() > size {
            return None;
        }
        let at = at + self.field.offset();
        let mut new = [0; 4];
        let new = new.get_mut(..self.field.len())?;
        new.copy_from_slice(cx.regs.get(self.sreg, self.field.len()));
        let old = header.bytes.get(at..)?.get(..new.len())?;
        let larger = self.field.kind == MSS && new.len() == 2 && *old <= *new;
        if *old == *new || larger {
            return Some(());
        }
        change(cx, &header, at, new)
    }
}

impl Expr for Set {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        match self.write(cx) {
            Some(()) => Verdict::Continue,
            None => Verdict::Break,
        }
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.sreg.put(7, out);
        self.field.encode(0, out);
    }
}

/// Overwrites an option with NOPs.
#[derive(Debug)]
pub(super) struct Strip {
    pub(super) field: Field,
}

impl Expr for Strip {
    fn kind(&self) -> &'static Kind {
        &KIND
    }

    fn eval(&self, cx: &mut Cx<'_>) -> Verdict {
        let Some(header) = Header::read(cx) else { return Verdict::Break };
        let Some((at, size)) = header.option(self.field.kind) else { return Verdict::Continue };
        let nops = [NOP; MAX_HEADER];
        // What cannot be removed must not pass.
        let Some(nops) = nops.get(..size).filter(|_| at + size <= header.len) else {
            return Verdict::Drop;
        };
        match change(cx, &header, at, nops) {
            Some(()) => Verdict::Continue,
            None => Verdict::Drop,
        }
    }

    fn encode(&self, out: &mut Writer, _cx: &Encode<'_>) {
        self.field.encode(0, out);
    }
}
