//! Reads every datagram on its way, and holds watermarks to what they promise: I4.
//!
//! A watermark up to `q` that says that all was applied means: for every record that was sent at or before `q`, the node's
//! tables have that state of the flow or a later one, or the flow has ended since.

use std::collections::BTreeMap;

use super::invariants::Invariants;
use super::view::Number;
use crate::ids::{FlowId, Generation};
use crate::records::Record;
use crate::seal::Opener;
use crate::wire::{self, Type};

/// A lane of an incarnation.
type LaneOf = (usize, u64, u8);

/// What a datagram said of a flow.
#[derive(Clone, Copy, Debug)]
enum Said {
    /// It is at this change, or a later one.
    State(Number, u8, FlowId),
    /// It has ended.
    End(Number),
}

pub(super) struct Wiretap {
    openers: Vec<Opener>,
    /// What is said is printed: `TWINWALL_TRACE`.
    trace: bool,
    /// By lane, then by number of the datagram.
    said: BTreeMap<LaneOf, BTreeMap<u64, Vec<Said>>>,
    /// Which flow a name is, and the latest generation of each slot.
    names: BTreeMap<u64, Number>,
    latest: BTreeMap<u64, Generation>,
    /// By node: watermarks that are to be looked at.
    promised: Vec<(usize, LaneOf, u64)>,
    /// Up to where a node's promise was looked at.
    looked: BTreeMap<(usize, LaneOf), u64>,
}

impl Wiretap {
    pub(super) fn new(openers: Vec<Opener>) -> Self {
        Self {
            openers,
            trace: std::env::var_os("TWINWALL_TRACE").is_some(),
            said: BTreeMap::new(),
            names: BTreeMap::new(),
            latest: BTreeMap::new(),
            promised: Vec::new(),
            looked: BTreeMap::new(),
        }
    }

    /// A node lost its memory: it has promised nothing.
    pub(super) fn forget(&mut self, node: usize) {
        self.looked.retain(|(who, _), _| *who != node);
        self.promised.retain(|(who, ..)| *who != node);
    }

    /// A node sends a datagram.
    pub(super) fn sent(&mut self, node: usize, datagram: &[u8], now: u64) {
        let mut bytes = datagram.to_vec();
        // Whoever listens is not the sender; that another one has this number does not matter.
        let listener = usize::from(node == 0);
        let Ok((header, payload)) = self.openers[listener].open(&mut bytes) else { return };
        let lane = (node, header.epoch.0, header.lane.get());
        if self.trace {
            let records: Vec<_> =
                wire::records(payload).flatten().map(|(r, _)| brief(&r)).collect();
            println!(
                "{:>11.6} ms {node} says {:?} {} {}: {}",
                now as f64 / 1e6,
                header.kind,
                header.lane.get(),
                header.seq.0,
                records.join(", ")
            );
        }
        match header.kind {
            Type::Data => {
                let said: Vec<Said> =
                    wire::records(payload).flatten().filter_map(|(r, _)| self.read(&r)).collect();
                self.said.entry(lane).or_default().insert(header.seq.0, said);
            }
            _ => {
                for (record, _) in wire::records(payload).flatten() {
                    let Record::Watermark { node: of, lane, epoch, seq, applied } = record else {
                        continue;
                    };
                    let lane = (of.index(), epoch.0, lane);
                    if applied {
                        self.promised.push((node, lane, seq.0));
                    } else if let Some(looked) = self.looked.get_mut(&(node, lane)) {
                        // It begins anew.
                        *looked = (*looked).min(seq.0);
                    }
                }
            }
        }
    }

    /// What a record says, if it says something of a flow.
    fn read(&mut self, record: &Record<'_>) -> Option<Said> {
        let (id, mark) = match record {
            Record::Full(full) => (full.id, Some(full.state.mark)),
            Record::Update { id, state, .. } => (*id, Some(state.mark)),
            Record::Delete { id, .. } => (*id, None),
            _ => return None,
        };
        match mark {
            Some(mark) => {
                let number = Number(mark >> 8);
                self.names.insert(id.to_bits(), number);
                let latest = self.latest.entry(slot_of(id)).or_insert(id.generation());
                if id.generation().order(*latest).is_gt() {
                    *latest = id.generation();
                }
                Some(Said::State(number, mark as u8, id))
            }
            None => self.names.get(&id.to_bits()).map(|number| Said::End(*number)),
        }
    }

    /// Looks at what was promised since the last call.
    pub(super) fn look(&mut self, invariants: &mut Invariants, now: u64) {
        for (node, lane, up_to) in std::mem::take(&mut self.promised) {
            let from = self.looked.get(&(node, lane)).copied();
            // What a bulk told it instead of what came before it began to listen, is I13's.
            self.looked.insert((node, lane), up_to);
            let (Some(from), Some(said)) = (from, self.said.get(&lane)) else { continue };
            if up_to <= from || from == 0 {
                continue;
            }
            let flows = invariants.flows(node);
            let mut broken = None;
            for (seq, said) in said.range(from + 1..=up_to) {
                for said in said {
                    let fails = match said {
                        Said::State(number, change, id) => match flows.get(number) {
                            Some(view) => view.change() < *change,
                            // Another flow in its slot says that it is gone.
                            None => {
                                !invariants.has_ended(*number)
                                    && !invariants.is_torn(node, *number)
                                    && self.latest.get(&slot_of(*id)) == Some(&id.generation())
                            }
                        },
                        Said::End(number) => flows.contains_key(number),
                    };
                    if fails {
                        broken = Some(format!(
                            "node {node} promised that all up to {up_to} of {lane:?} is there; {seq} said {said:?}, and there is {:?}",
                            flow_of(said).and_then(|number| flows.get(&number))
                        ));
                    }
                }
            }
            if let Some(what) = broken {
                invariants.fail("I4", now, || what);
            }
        }
    }
}

/// A flow's name without the generation.
const fn slot_of(id: FlowId) -> u64 {
    id.to_bits() >> 22
}

const fn flow_of(said: &Said) -> Option<Number> {
    match said {
        Said::State(number, ..) | Said::End(number) => Some(*number),
    }
}

/// A record in a few words.
fn brief(record: &Record<'_>) -> String {
    let flow = |mark: u32| format!("{}.{}", mark >> 8, mark & 0xff);
    match record {
        Record::Full(full) => {
            format!("FULL {:?} v{} = {}", full.id, full.version.0, flow(full.state.mark))
        }
        Record::Update { id, version, state } => {
            format!("UPD {id:?} v{} = {}", version.0, flow(state.mark))
        }
        Record::Delete { id, version } => format!("DEL {id:?} v{}", version.0),
        other => format!("{other:?}"),
    }
}
