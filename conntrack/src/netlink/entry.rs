//! A flow as a message: in answers and dumps, and in events. The order of attributes is the kernel's.

use nfnetlink::message::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI};
use nfnetlink::{Header, NfGen, Writer};
use packet::Tick;

use super::cta::{SUBSYSTEM, counters, group, msg, timestamp, top};
use super::state::State;
use super::{kind, tuple};
use crate::event::{self, Event};
use crate::flow::Status;
use crate::snapshot::{Account, Snapshot};

/// What the workers' time is in the world's: the nanoseconds of the Unix epoch at their zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(pub u64);

impl Epoch {
    const fn wall(self, tick: Tick) -> u64 {
        self.0.wrapping_add(tick.0)
    }
}

/// Writes a flow as an answer or as a part of a dump. `uses` is what the kernel's reference count would be.
pub(super) fn put(out: &mut Writer, header: Header, flow: &Snapshot, uses: u32, epoch: Epoch) {
    let header = Header { kind: kind(SUBSYSTEM, msg::NEW), ..header };
    let header = Header { flags: header.flags | NLM_F_MULTI, ..header };
    out.message(header, nfgen(flow), |out| {
        put_tuples(out, flow);
        out.u32(top::STATUS, flow.status.0);
        out.u32(top::MARK, flow.mark);
        out.u32(top::ID, flow.id);
        out.u32(top::USE, uses);
        if !flow.status.has(Status::OFFLOAD) {
            out.u32(top::TIMEOUT, flow.remaining / 1000);
            State::of(flow).put(out, false);
        }
        put_accounts(out, flow);
        put_times(out, flow, epoch);
        put_labels(out, flow);
    });
}

/// The group that an event is for; `None` where it is not told.
pub(super) fn group_of(event: &Event) -> Option<u32> {
    match event.events {
        0 => None,
        events if events & event::DESTROY != 0 => Some(group::DESTROY),
        events if events & (event::NEW | event::RELATED) != 0 => Some(group::NEW),
        _ => Some(group::UPDATE),
    }
}

/// Writes an event for the group `to`.
pub(super) fn put_event(out: &mut Writer, event: &Event, to: u32, epoch: Epoch) {
    let Event { events, flow, .. } = event;
    let has = |bit| events & bit != 0;
    let ended = to == group::DESTROY;
    let flags = if to == group::NEW { NLM_F_CREATE | NLM_F_EXCL } else { 0 };
    let command = if ended { msg::DELETE } else { msg::NEW };
    let header =
        Header { kind: kind(SUBSYSTEM, command), flags, pid: event.cause, ..Header::default() };
    out.message(header, nfgen(flow), |out| {
        put_tuples(out, flow);
        out.u32(top::ID, flow.id);
        out.u32(top::STATUS, flow.status.0);
        let seconds = flow.remaining / 1000;
        if ended {
            if seconds != 0 {
                out.u32(top::TIMEOUT, seconds);
            }
            put_accounts(out, flow);
            put_times(out, flow, epoch);
            State::of(flow).put(out, true);
        } else {
            out.u32(top::TIMEOUT, seconds);
            if has(event::PROTOINFO) {
                State::of(flow).put(out, false);
            }
            if has(event::LABEL) {
                put_labels(out, flow);
            }
        }
        if has(event::MARK) || flow.mark != 0 {
            out.u32(top::MARK, flow.mark);
        }
        if flow.start.is_some() {
            out.u64(top::TIMESTAMP_EVENT, epoch.wall(event.at));
        }
    });
}

fn nfgen(flow: &Snapshot) -> NfGen {
    let [original, _] = &flow.keys;
    NfGen { family: tuple::family(original), version: 0, res_id: 0 }
}

/// Both tuples and the zone: as `CTA_ZONE` where it is that of both directions.
fn put_tuples(out: &mut Writer, flow: &Snapshot) {
    let [original, reply] = &flow.keys;
    let [zone, zone_back] = [original, reply].map(|key| u16::from_be_bytes(key.zone));
    let own = |it: u16| (zone != zone_back && it != 0).then_some(it);
    tuple::put(out, top::TUPLE_ORIG, original, own(zone));
    tuple::put(out, top::TUPLE_REPLY, reply, own(zone_back));
    if zone == zone_back && zone != 0 {
        out.u16(top::ZONE, zone);
    }
}

fn put_accounts(out: &mut Writer, flow: &Snapshot) {
    let Some(accounts) = flow.accounts else { return };
    let kinds = [top::COUNTERS_ORIG, top::COUNTERS_REPLY];
    for (kind, Account { packets, bytes }) in kinds.into_iter().zip(accounts) {
        out.nest_marked(kind, |out| {
            out.u64(counters::PACKETS, packets);
            out.u64(counters::BYTES, bytes);
        });
    }
}

fn put_times(out: &mut Writer, flow: &Snapshot, epoch: Epoch) {
    let Some(start) = flow.start else { return };
    out.nest_marked(top::TIMESTAMP, |out| {
        out.u64(timestamp::START, epoch.wall(start));
        if let Some(stop) = flow.stop {
            out.u64(timestamp::STOP, epoch.wall(stop));
        }
    });
}

fn put_labels(out: &mut Writer, flow: &Snapshot) {
    if let Some(labels) = flow.labels.filter(|labels| *labels != [0; 16]) {
        out.put(top::LABELS, &labels);
    }
}
