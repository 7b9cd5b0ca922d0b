//! The owner's worker: what flows there are, and two rings.

use std::collections::{BTreeSet, VecDeque};

use packet::FlowKey;

use super::lane;
use crate::hands::{Cause, Inbound};
use crate::ids::{FlowId, Generation, Group, NodeId, Version};
use crate::lane::digest::mix;
use crate::records::{FlowFull, FlowState, Proto, Record, Timeouts};
use crate::wire;

pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % n
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The key that a flow of this slot and generation has. Slots' flows have other owners by generation.
pub(super) fn key(slot: u32, generation: u32) -> FlowKey {
    let [a, b, c, d] = slot.to_be_bytes();
    let mut src = [0; 16];
    src[..4].copy_from_slice(&[a | 10, b, c, d]);
    FlowKey {
        src,
        dst: src,
        sport: (generation as u16).to_be_bytes(),
        dport: [0, 80],
        protocol: 17,
        family: 4,
        zone: [0; 2],
    }
}

/// A flow as this model has it: of the state, only the mark matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) generation: u32,
    pub(super) version: u32,
    pub(super) value: u32,
    pub(super) alive: bool,
}

impl Flow {
    pub(super) fn order(&self, than: &Self) -> std::cmp::Ordering {
        Generation::new(self.generation)
            .order(Generation::new(than.generation))
            .then((self.version.wrapping_sub(than.version) as i32).cmp(&0))
    }
}

/// The owner's worker.
pub(super) struct Worker {
    pub(super) flows: Vec<Flow>,
    pub(super) dirty: BTreeSet<usize>,
    pub(super) announced: Vec<bool>,
    /// A flow of this slot, maybe an older one, was told to live.
    pub(super) told: Vec<bool>,
    /// Its next urgent export is to be in full: it was exported in full into the lazy ring.
    pub(super) full: Vec<bool>,
    pub(super) urgent: VecDeque<(Cause, u32, Vec<u8>)>,
    pub(super) lazy: VecDeque<Message>,
    pub(super) inbound: VecDeque<Inbound<'static>>,
    /// Where the bulk is that is being served.
    pub(super) serving: Option<(u64, u32, u32)>,
    pub(super) room: usize,
    pub(super) considerate: bool,
}

pub(super) enum Message {
    Record(Cause, u32, Vec<u8>),
    Mark(u64, u32),
}

impl Worker {
    pub(super) fn new(slots: u32, start: u32, room: usize, considerate: bool) -> Self {
        let slots = slots as usize;
        let flow = Flow { generation: start & 0x3f_ffff, version: start, value: 0, alive: false };
        Self {
            flows: vec![flow; slots],
            dirty: BTreeSet::new(),
            announced: vec![false; slots],
            told: vec![false; slots],
            full: vec![false; slots],
            urgent: VecDeque::new(),
            lazy: VecDeque::new(),
            inbound: VecDeque::new(),
            serving: None,
            room,
            considerate,
        }
    }

    /// Something happens to a flow.
    pub(super) fn happen(&mut self, slot: usize, rng: &mut Rng) {
        let flow = &mut self.flows[slot];
        if !flow.alive {
            flow.alive = true;
            flow.generation = Generation::new(flow.generation).next().get();
            self.announced[slot] = false;
            self.full[slot] = false;
        } else if rng.chance(30) {
            flow.alive = false;
        }
        flow.value = rng.below(1 << 30) as u32 + 1;
        self.dirty.insert(slot);
    }

    pub(super) fn export(&mut self, slot: u32, full: bool, node: NodeId) -> Option<Vec<u8>> {
        let n = slot as usize;
        let flow = &mut self.flows[n];
        self.dirty.remove(&n);
        if !flow.alive && !self.told[n] && !full {
            return None;
        }
        self.told[n] = flow.alive;
        flow.version = flow.version.wrapping_add(1);
        let id = FlowId::new(node, lane(), slot, Generation::new(flow.generation));
        let version = Version(flow.version);
        let state = FlowState {
            status: 0,
            mark: flow.value,
            remaining: 1,
            proto: Proto::None,
            labels: None,
        };
        let keys = [key(slot, flow.generation); 2];
        let record = if !flow.alive {
            Record::Delete { id, version }
        } else if full || !self.announced[n] {
            self.announced[n] = true;
            Record::Full(FlowFull {
                id,
                version,
                group: Group(0),
                keys,
                state,
                rules: 0,
                behind: 0,
                timeouts: Timeouts::new(),
            })
        } else {
            Record::Update { id, version, state }
        };
        let mut bytes = vec![0; 256];
        let length = wire::encode(&record, &mut bytes).unwrap();
        bytes.truncate(length);
        Some(bytes)
    }

    /// Serves a bounded part of what it was told, then exports what is dirty.
    pub(super) fn turn(&mut self, rng: &mut Rng, node: NodeId) {
        for _ in 0..rng.below(4) {
            if self.serving.is_some() || self.lazy.len() + 70 > self.room {
                break;
            }
            match self.inbound.pop_front() {
                Some(Inbound::Export { token, slots }) => {
                    for slot in slots {
                        let bytes = self.export(slot, true, node).unwrap();
                        self.full[slot as usize] = self.flows[slot as usize].alive;
                        self.lazy.push_back(Message::Record(Cause::Repair, slot, bytes));
                    }
                    self.lazy.push_back(Message::Mark(token, 0));
                }
                Some(Inbound::Bulk { token, from, count }) => {
                    self.serving = Some((token, from, from + count));
                }
                Some(other) => panic!("{other:?}"),
                None => break,
            }
        }
        while let Some((token, next, end)) = self.serving {
            if self.lazy.len() + 2 > self.room || rng.chance(1) {
                break;
            }
            if next >= end || next as usize >= self.flows.len() {
                let next = if next as usize >= self.flows.len() { u32::MAX } else { next };
                self.lazy.push_back(Message::Mark(token, next));
                self.serving = None;
                break;
            }
            self.serving = Some((token, next + 1, end));
            if self.flows[next as usize].alive {
                let bytes = self.export(next, true, node).unwrap();
                self.full[next as usize] = true;
                self.lazy.push_back(Message::Record(Cause::Bulk, next, bytes));
            }
        }
        for slot in Vec::from_iter(self.dirty.iter().copied()) {
            let refresh = rng.chance(10) && self.announced[slot] && self.flows[slot].alive;
            let ring_is_full =
                if refresh { self.lazy.len() >= self.room } else { self.urgent.len() >= self.room };
            if ring_is_full {
                break;
            }
            let full = !refresh && self.considerate && std::mem::take(&mut self.full[slot]);
            let full = full && self.flows[slot].alive;
            let cause = if !self.flows[slot].alive {
                Cause::End
            } else if !self.announced[slot] {
                Cause::New
            } else {
                Cause::Change
            };
            if let Some(bytes) = self.export(slot as u32, full, node) {
                if refresh {
                    self.lazy.push_back(Message::Record(Cause::Refresh, slot as u32, bytes));
                } else {
                    self.urgent.push_back((cause, slot as u32, bytes));
                }
            }
        }
    }
}
