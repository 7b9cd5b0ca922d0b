//! What `nft monitor trace` hears (`NFTA_TRACE_…`, nf_tables_trace.c).

use nfnetlink::attr::Writer;
use nfnetlink::{Event, Header, NfGen};

use crate::trace::{Device, Sight, TraceKind, TraceNote};
use crate::verdict::{NF_ACCEPT, NF_DROP, Verdict};

use super::op::kind;
use super::{TRACE_GROUP, msg};

const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const TYPE: u16 = 4;
const VERDICT: u16 = 5;
const ID: u16 = 6;
const LL_HEADER: u16 = 7;
const NETWORK_HEADER: u16 = 8;
const TRANSPORT_HEADER: u16 = 9;
const IIF: u16 = 10;
const IIFTYPE: u16 = 11;
const OIF: u16 = 12;
const OIFTYPE: u16 = 13;
const MARK: u16 = 14;
const NFPROTO: u16 = 15;
const POLICY: u16 = 16;

const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;

/// The event that tells of a step.
pub fn event(note: &TraceNote) -> Event {
    let mut out = Writer::default();
    let header = Header { kind: kind(msg::TRACE), ..Header::default() };
    let nfgen = NfGen { family: note.base as u8, version: 0, res_id: 0 };
    out.message(header, nfgen, |out| write(note, out));
    Event { group: TRACE_GROUP, datagram: out.buf, echo: None }
}

fn write(note: &TraceNote, out: &mut Writer) {
    out.u32(NFPROTO, note.family as u32);
    let number = match note.kind {
        TraceKind::Policy(_) => 1,
        TraceKind::Return(_) => 2,
        TraceKind::Rule(..) => 3,
    };
    out.u32(TYPE, number);
    out.u32(ID, note.id);
    out.str(CHAIN, &note.chain);
    out.str(TABLE, &note.table.name);
    if let Some(handle) = note.rule {
        out.u64(RULE_HANDLE, handle.0);
    }
    match &note.kind {
        TraceKind::Policy(policy) => {
            let code = if *policy == Verdict::Drop { NF_DROP } else { NF_ACCEPT };
            // In the machine's order: the kernel forgets to turn it, and nft knows.
            out.put(POLICY, &code.to_ne_bytes());
        }
        TraceKind::Return(verdict) => verdict_nest(*verdict, None, out),
        TraceKind::Rule(verdict, to) => verdict_nest(*verdict, to.as_deref(), out),
    }
    if note.mark != 0 {
        out.u32(MARK, note.mark);
    }
    if let Some(sight) = &note.sight {
        packet(sight, out);
    }
}

fn verdict_nest(verdict: Verdict, chain: Option<&str>, out: &mut Writer) {
    out.nest(VERDICT, |out| {
        out.u32(VERDICT_CODE, verdict.code().cast_unsigned());
        if let Some(chain) = chain {
            out.str(VERDICT_CHAIN, chain);
        }
    });
}

fn packet(sight: &Sight, out: &mut Writer) {
    let mut device = |device: Option<Device>, index, kind| {
        if let Some(device) = device {
            out.u32(index, device.index);
            out.u16(kind, device.kind);
        }
    };
    device(sight.iif, IIF, IIFTYPE);
    device(sight.oif, OIF, OIFTYPE);
    for (kind, bytes) in [
        (NETWORK_HEADER, sight.network.as_slice()),
        (TRANSPORT_HEADER, sight.transport.as_slice()),
        (LL_HEADER, sight.link.as_slice()),
    ] {
        if !bytes.is_empty() {
            out.put(kind, bytes);
        }
    }
}
