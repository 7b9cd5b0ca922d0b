//! The shard against a twin that keeps everything in hash maps and looks at each flow when time passes.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use conntrack::{Clash, Config, Direction, Full, Shard, Slot, Status, event, flow::BEAT};
use packet::{FlowKey, Tick};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const ROOM: u32 = 12;
/// Keys there are: few, so that they meet.
const KEYS: u8 = 24;

#[derive(Clone, Debug)]
enum Step {
    Create { original: u8, reply: u8 },
    SetReply { flow: usize, reply: u8 },
    Confirm { flow: usize },
    Discard { flow: usize },
    Kill { flow: usize },
    Refresh { flow: usize, seconds: u32 },
    Status { flow: usize, set: bool, bits: u32 },
    Mark { flow: usize, mark: u32 },
    Labels { flow: usize, bits: u8, mask: u8 },
    Account { flow: usize, reply: bool, bytes: u64 },
    Deliver { flow: usize },
    Taken { key: u8, flow: usize },
    Pass { nanos: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0..KEYS;
    let flow = || 0..ROOM as usize;
    let bits = prop_oneof![
        Just(Status::ASSURED),
        Just(Status::SEEN_REPLY),
        Just(Status::FIXED_TIMEOUT),
        Just(Status::SRC_NAT | Status::EXPECTED),
    ];
    let seconds = prop_oneof![0..10u32, 30..200u32, 400_000..2_000_000u32];
    // From a fraction of a beat to days: each of the wheel's levels turns.
    let nanos = (0..50u32).prop_flat_map(|log| 0..1u64 << log);
    let step = prop_oneof![
        6 => (key(), key()).prop_map(|(original, reply)| Step::Create { original, reply }),
        1 => (flow(), key()).prop_map(|(flow, reply)| Step::SetReply { flow, reply }),
        6 => flow().prop_map(|flow| Step::Confirm { flow }),
        1 => flow().prop_map(|flow| Step::Discard { flow }),
        1 => flow().prop_map(|flow| Step::Kill { flow }),
        4 => (flow(), seconds).prop_map(|(flow, seconds)| Step::Refresh { flow, seconds }),
        2 => (flow(), any::<bool>(), bits).prop_map(|(flow, set, bits)| Step::Status { flow, set, bits }),
        1 => (flow(), 0..3u32).prop_map(|(flow, mark)| Step::Mark { flow, mark }),
        1 => (flow(), 0..3u8, 0..3u8).prop_map(|(flow, bits, mask)| Step::Labels { flow, bits, mask }),
        1 => (flow(), any::<bool>(), 0..99u64).prop_map(|(flow, reply, bytes)| Step::Account { flow, reply, bytes }),
        2 => flow().prop_map(|flow| Step::Deliver { flow }),
        1 => (key(), flow()).prop_map(|(key, flow)| Step::Taken { key, flow }),
        3 => nanos.prop_map(|nanos| Step::Pass { nanos }),
    ];
    proptest::collection::vec(step, 1..400)
}

fn key(number: u8) -> FlowKey {
    let mut key = FlowKey { protocol: 6, family: 6, ..FlowKey::default() };
    key.src = [number; 16];
    key.dst[15] = 1;
    key
}

#[derive(Clone, Default)]
struct Flow {
    id: u32,
    keys: [FlowKey; 2],
    status: u32,
    mark: u32,
    labels: Option<u8>,
    accounts: [(u64, u64); 2],
    start: u64,
    /// In beats; before confirmation a length.
    deadline: u64,
    noted: u32,
}

impl Flow {
    fn has(&self, bits: u32) -> bool {
        self.status & bits != 0
    }
}

#[derive(Default)]
struct Twin {
    flows: HashMap<Slot, Flow>,
    index: HashMap<FlowKey, (Slot, Direction)>,
    /// Slot, id, events, mark.
    told: Vec<(Slot, u32, u32, u32)>,
}

const BOTH: [Direction; 2] = [Direction::Original, Direction::Reply];

impl Twin {
    fn deliver(&mut self, slot: Slot) {
        if let Some(flow) = self.flows.get_mut(&slot)
            && flow.has(Status::CONFIRMED)
            && flow.noted != 0
        {
            self.told.push((slot, flow.id, std::mem::take(&mut flow.noted), flow.mark));
        }
    }

    fn kill(&mut self, slot: Slot) {
        let Some(flow) = self.flows.get_mut(&slot) else { return };
        if flow.has(Status::CONFIRMED) {
            flow.noted |= event::DESTROY;
            for key in flow.keys {
                self.index.remove(&key);
            }
        }
        self.deliver(slot);
        self.flows.remove(&slot);
    }

    fn confirm(&mut self, slot: Slot, now: u64) -> Result<(), Clash> {
        let Some(flow) = self.flows.get_mut(&slot).filter(|flow| !flow.has(Status::CONFIRMED))
        else {
            return Ok(());
        };
        for key in &flow.keys {
            if let Some((with, direction)) = self.index.get(key) {
                return Err(Clash { with: *with, direction: *direction });
            }
        }
        for (key, direction) in flow.keys.iter().zip(BOTH) {
            self.index.insert(*key, (slot, direction));
        }
        flow.deadline += now.div_ceil(BEAT);
        flow.start = now;
        flow.noted |= if flow.has(Status::EXPECTED) { event::RELATED } else { event::NEW };
        flow.status |= Status::CONFIRMED;
        Ok(())
    }

    /// A flow is given up for another: one that is confirmed and not assured.
    fn may_give_up(&self, slot: Slot) -> bool {
        self.flows.get(&slot).is_some_and(|f| f.has(Status::CONFIRMED) && !f.has(Status::ASSURED))
    }
}

/// What both say of all keys and flows.
fn compare(shard: &Shard, twin: &Twin, now: u64) {
    for key in (0..KEYS).map(key) {
        assert_eq!(shard.find(&key, shard.hash(&key)), twin.index.get(&key).copied());
    }
    assert_eq!(shard.stats().count as usize, twin.flows.len());
    for (slot, flow) in &twin.flows {
        let ours = shard.snapshot(*slot, Tick(now)).unwrap();
        assert_eq!((ours.id, ours.keys), (flow.id, flow.keys));
        assert_eq!((ours.status.0, ours.mark), (flow.status, flow.mark));
        assert_eq!(ours.labels.map(|labels| labels[0]), flow.labels);
        let accounts = ours.accounts.unwrap().map(|account| (account.packets, account.bytes));
        assert_eq!(accounts, flow.accounts);
        let is_confirmed = flow.has(Status::CONFIRMED);
        assert_eq!(ours.start, is_confirmed.then_some(Tick(flow.start)));
        let left = (flow.deadline * BEAT).saturating_sub(if is_confirmed { now } else { 0 });
        assert_eq!(u64::from(ours.remaining), left / 1_000_000);
    }
    let mut walked = 0;
    let mut from = Some(Slot(0));
    while let Some(slot) = from {
        from = shard.walk(slot, 3, &mut |slot, flow| {
            assert_eq!(flow.id(), twin.flows[&slot].id);
            walked += 1;
        });
    }
    assert_eq!(walked, twin.index.len() / 2);
}

fn run(steps: &[Step]) {
    let mut shard = Shard::new(Config { max: ROOM, worker: 0 }).unwrap();
    shard.settings_mut().acct = true;
    shard.settings_mut().timestamp = true;
    shard.listen(event::LISTEN_NEW | event::LISTEN_UPDATE | event::LISTEN_DESTROY);
    let mut twin = Twin::default();
    let mut now = 0;
    let mut expired = None;
    for step in steps {
        // Flows are numbered by their slots: what is not there must do no harm.
        let slot = |flow: usize| Slot(flow as u32);
        match *step {
            // A flow with one key for both directions: which of the two a packet finds is open.
            Step::Create { original, reply } if original == reply => {}
            Step::Create { original, reply } => {
                let (original, reply) = (key(original), key(reply));
                let given_up = twin.flows.len() as u32 == ROOM;
                match shard.create(original, reply, Tick(now)) {
                    Err(Full) => {
                        assert!(given_up);
                        assert!(!twin.flows.keys().any(|slot| twin.may_give_up(*slot)));
                    }
                    Ok(slot) => {
                        if given_up {
                            assert!(twin.may_give_up(slot));
                            twin.kill(slot);
                        }
                        let id = shard.flow(slot).unwrap().id();
                        let flow = Flow { id, keys: [original, reply], ..Flow::default() };
                        assert!(twin.flows.insert(slot, flow).is_none());
                    }
                }
            }
            Step::SetReply { flow, reply } => {
                let original = twin.flows.get(&slot(flow)).map(|flow| flow.keys[0]);
                if original != Some(key(reply)) {
                    shard.set_reply(slot(flow), key(reply));
                    if let Some(flow) = twin.flows.get_mut(&slot(flow))
                        && !flow.has(Status::CONFIRMED)
                    {
                        flow.keys[1] = key(reply);
                    }
                }
            }
            Step::Confirm { flow } => {
                let ours = shard.confirm(slot(flow), Tick(now));
                assert_eq!(ours, twin.confirm(slot(flow), now));
            }
            Step::Discard { flow } => {
                shard.discard(slot(flow));
                if twin.flows.get(&slot(flow)).is_some_and(|f| !f.has(Status::CONFIRMED)) {
                    twin.flows.remove(&slot(flow));
                }
            }
            Step::Kill { flow } => {
                shard.kill(slot(flow), Tick(now));
                twin.kill(slot(flow));
            }
            Step::Refresh { flow, seconds } => {
                shard.refresh(slot(flow), seconds, Tick(now));
                if let Some(flow) = twin.flows.get_mut(&slot(flow))
                    && !flow.has(Status::FIXED_TIMEOUT)
                {
                    let start = if flow.has(Status::CONFIRMED) { now.div_ceil(BEAT) } else { 0 };
                    flow.deadline = start + (u64::from(seconds) * SECOND).div_ceil(BEAT);
                }
            }
            Step::Status { flow, set, bits } => {
                if set {
                    shard.set_status(slot(flow), bits);
                } else {
                    shard.clear_status(slot(flow), bits);
                }
                if let Some(flow) = twin.flows.get_mut(&slot(flow)) {
                    let new = if set { bits & !flow.status } else { 0 };
                    flow.status = if set { flow.status | bits } else { flow.status & !bits };
                    if new & Status::ASSURED != 0 {
                        flow.noted |= event::ASSURED;
                    }
                    if new & Status::SEEN_REPLY != 0 {
                        flow.noted |= event::REPLY;
                    }
                }
            }
            Step::Mark { flow, mark } => {
                shard.set_mark(slot(flow), mark);
                if let Some(flow) = twin.flows.get_mut(&slot(flow))
                    && flow.mark != mark
                {
                    flow.mark = mark;
                    flow.noted |= event::MARK;
                }
            }
            Step::Labels { flow, bits, mask } => {
                shard.set_labels(slot(flow), [bits; 16], [mask; 16]);
                if let Some(flow) = twin.flows.get_mut(&slot(flow)) {
                    let before = flow.labels.unwrap_or(0);
                    let after = before & !mask | bits & mask;
                    flow.labels = Some(after);
                    if before != after {
                        flow.noted |= event::LABEL;
                    }
                }
            }
            Step::Account { flow, reply, bytes } => {
                let direction = BOTH[usize::from(reply)];
                shard.account(slot(flow), direction, bytes);
                if let Some(flow) = twin.flows.get_mut(&slot(flow)) {
                    flow.accounts[direction as usize].0 += 1;
                    flow.accounts[direction as usize].1 += bytes;
                }
            }
            Step::Deliver { flow } => {
                shard.deliver(slot(flow), Tick(now));
                twin.deliver(slot(flow));
            }
            Step::Taken { key: number, flow } => {
                let key = key(number);
                let original = |slot: Slot| twin.flows.get(&slot).map(|flow| flow.keys[0]);
                let taken = twin.index.get(&key).is_some_and(|(other, _)| {
                    *other != slot(flow) && original(*other) != original(slot(flow))
                });
                assert_eq!(shard.is_taken(&key, slot(flow)), taken);
            }
            Step::Pass { nanos } => {
                now += nanos;
                // A beat is looked at once: what is confirmed later with no time to live ends in the next.
                let again = expired == Some(now / BEAT);
                expired = Some(now / BEAT);
                let over = |flow: &Flow| !again && flow.deadline <= now / BEAT;
                let mut over: Vec<_> = twin
                    .flows
                    .iter()
                    .filter(|(_, flow)| flow.has(Status::CONFIRMED) && over(flow))
                    .map(|(slot, _)| *slot)
                    .collect();
                over.sort();
                let mut ended = 0;
                // A small budget: what is left over is done by the next call.
                for _ in 0..10_000 {
                    ended += shard.expire(Tick(now), 2);
                }
                assert_eq!(ended, over.len());
                // Which of those that end at once ends first is open.
                let from = twin.told.len();
                over.into_iter().for_each(|slot| twin.kill(slot));
                twin.told[from..].sort();
                let mut told = Vec::new();
                shard.take_events(&mut |event| told.push(brief(&event)));
                let split = told.len() - ended;
                told[split..].sort();
                assert_eq!(told, twin.told);
                twin.told.clear();
            }
        }
        compare(&shard, &twin, now);
    }
    let mut told = Vec::new();
    shard.take_events(&mut |event| told.push(brief(&event)));
    assert_eq!(told, twin.told);
}

fn brief(event: &conntrack::Event) -> (Slot, u32, u32, u32) {
    (event.flow.slot, event.flow.id, event.events, event.flow.mark)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn the_shard_does_what_its_twin_does(steps in steps()) {
        run(&steps);
    }
}
