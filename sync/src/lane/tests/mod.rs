//! Each rule of a lane by itself.

mod bulk;
mod doubt;
mod pair;
mod receive;
mod repair;
mod resume;
mod send;
mod sender;

use packet::FlowKey;

use crate::ids::{FlowId, Generation, Group, Lane, NodeId, Version};
use crate::records::{BulkId, FlowFull, FlowState, Proto, Record, Timeouts};
use crate::wire;

const MS: u64 = 1_000_000;

fn node(id: u8) -> NodeId {
    NodeId::new(id).unwrap()
}

fn lane() -> Lane {
    Lane::new(3).unwrap()
}

fn id(slot: u32, generation: u32) -> FlowId {
    FlowId::new(node(1), lane(), slot, Generation::new(generation))
}

fn bytes(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = vec![0; wire::PAYLOAD];
    let length = wire::encode(record, &mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

fn full(slot: u32, generation: u32, version: u32) -> Vec<u8> {
    let mut src = [0; 16];
    src[..4].copy_from_slice(&[10, 0, 0, 1]);
    let key = FlowKey {
        src,
        dst: src,
        // Of which worker it is.
        sport: [0, slot as u8 % 4],
        dport: [0, 80],
        protocol: 17,
        family: 4,
        zone: [0; 2],
    };
    bytes(&Record::Full(FlowFull {
        id: id(slot, generation),
        version: Version(version),
        group: Group(0),
        keys: [key; 2],
        state: state(),
        rules: 0,
        behind: 0,
        timeouts: Timeouts::new(),
    }))
}

fn state() -> FlowState {
    FlowState { status: 0, mark: 0, remaining: 0, proto: Proto::None, labels: None }
}

fn update(slot: u32, generation: u32, version: u32) -> Vec<u8> {
    let (id, version) = (id(slot, generation), Version(version));
    bytes(&Record::Update { id, version, state: state() })
}

fn delete(slot: u32, generation: u32, version: u32) -> Vec<u8> {
    bytes(&Record::Delete { id: id(slot, generation), version: Version(version) })
}

/// BULK_BEGIN of a bulk of all flows.
fn begin(number: u32, slots: u32) -> Vec<u8> {
    bytes(&Record::BulkBegin { bulk: BulkId { number, ..BulkId::default() }, slots })
}

fn mark(number: u32, slot: u32) -> Vec<u8> {
    bytes(&Record::BulkMark { bulk: BulkId { number, ..BulkId::default() }, slot })
}

fn end(number: u32, flows: u32) -> Vec<u8> {
    bytes(&Record::BulkEnd { bulk: BulkId { number, ..BulkId::default() }, flows })
}
