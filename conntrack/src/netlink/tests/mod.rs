//! Messages against what Linux 6.18 sends and takes, byte by byte: captured from sockets in a namespace while the real
//! `conntrack` ran. What changes from run to run (ids, times, port ids) is set to fixed values on both sides.

use nfnetlink::{Header, Messages, Writer};
use packet::{FlowKey, Tick};

use super::entry::{self, Epoch};
use super::state::State;
use crate::event::{self, Event};
use crate::flow::{Slot, Status};
use crate::snapshot::{Account, Snapshot};

mod golden;
mod requests;

/// 1.1.1.1 to 2.2.2.2 and back.
fn keys(protocol: u8, ports: [u16; 2], back: [u16; 2]) -> [FlowKey; 2] {
    let key = |src: u8, dst: u8, [sport, dport]: [u16; 2]| {
        let mut key = FlowKey { protocol, family: 4, ..FlowKey::default() };
        key.src[..4].fill(src);
        key.dst[..4].fill(dst);
        key.sport = sport.to_be_bytes();
        key.dport = dport.to_be_bytes();
        key
    };
    [key(1, 2, ports), key(2, 1, back)]
}

/// A flow with 49 s left, accounted, begun at 1 ns.
fn flow(keys: [FlowKey; 2], status: u32) -> Snapshot {
    Snapshot {
        slot: Slot(0),
        id: 0x0102_0304,
        keys,
        status: Status(status),
        mark: 0,
        secmark: 0,
        labels: None,
        accounts: Some([Account::default(); 2]),
        start: Some(Tick(1)),
        stop: None,
        proto: [0; 14],
        remaining: 49_999,
        policy: 0,
        event_mask: !0,
    }
}

fn tcp(mark: u32) -> Snapshot {
    let mut flow = flow(keys(6, [10, 20], [20, 10]), 0x0e);
    State::Tcp { state: 3, scale: [0; 2], flags: [10; 2] }.store(&mut flow.proto);
    flow.mark = mark;
    flow
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The message of a dump, from netfilter's header on.
fn dumped(flow: &Snapshot) -> String {
    let mut out = Writer::default();
    entry::put(&mut out, Header { seq: 1, pid: 2, ..Header::default() }, flow, 1, Epoch(0));
    let message = Messages::new(&out.buf).next().unwrap();
    assert_eq!((message.header.kind, message.header.flags), (0x100, 2));
    hex(&message.bytes[16..])
}

/// The type, the flags, and the message of an event from netfilter's header on.
fn told(flow: Snapshot, events: u32) -> (u16, u16, String) {
    let event = Event { events, flow, at: Tick(3), cause: 9 };
    let group = entry::group_of(&event).unwrap();
    let mut out = Writer::default();
    entry::put_event(&mut out, &event, group, Epoch(0));
    let message = Messages::new(&out.buf).next().unwrap();
    assert_eq!((message.header.pid, message.header.seq), (9, 0));
    (message.header.kind, message.header.flags, hex(&message.bytes[16..]))
}
