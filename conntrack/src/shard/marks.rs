//! What rules and users change in a flow. Each change is noted, and makes the flow cache forget the flow.

use packet::Tick;

use super::Shard;
use crate::event;
use crate::flow::{Cached, Direction, Flow, HAS_LABELS, Slot, Status};

impl Shard {
    /// Changes a flow and forgets what the flow cache remembered: `change` says which events that is, 0 for none.
    fn change(&mut self, slot: Slot, change: impl FnOnce(&mut Flow) -> u32) {
        let Some(flow) = self.flow_mut(slot) else { return };
        let events = change(flow);
        if events != 0 {
            for half in &mut flow.halves {
                half.cached = Cached::default();
            }
            self.note(slot, events);
        }
    }

    /// Sets bits of the status. `ASSURED` and `SEEN_REPLY` are told.
    pub fn set_status(&mut self, slot: Slot, bits: u32) {
        let Some(flow) = self.flow_mut(slot) else { return };
        let new = bits as u16 & !flow.shared.status;
        if new == 0 {
            return;
        }
        flow.shared.status |= new;
        for half in &mut flow.halves {
            half.cached = Cached::default();
        }
        if u32::from(new) & Status::ASSURED != 0 {
            self.weak.remove(slot);
        }
        let told = [(Status::ASSURED, event::ASSURED), (Status::SEEN_REPLY, event::REPLY)];
        let told = told.iter().filter(|(bit, _)| u32::from(new) & bit != 0);
        self.note(slot, told.fold(0, |events, (_, event)| events | event));
    }

    /// Clears bits of the status.
    pub fn clear_status(&mut self, slot: Slot, bits: u32) {
        let Some(flow) = self.flow_mut(slot) else { return };
        let had = flow.status().has(bits);
        flow.shared.status &= !(bits as u16);
        let is_weak = bits & Status::ASSURED != 0 && flow.status().has(Status::CONFIRMED);
        for half in &mut flow.halves {
            half.cached = Cached::default();
        }
        if is_weak {
            self.weak.add(slot);
        }
        if had {
            self.note(slot, 0);
        }
    }

    /// Sets the mark.
    pub fn set_mark(&mut self, slot: Slot, mark: u32) {
        self.change(slot, |flow| {
            if flow.mark() == mark {
                return 0;
            }
            for half in &mut flow.halves {
                half.mark = mark;
            }
            event::MARK
        });
    }

    /// Sets the security mark.
    pub fn set_secmark(&mut self, slot: Slot, secmark: u32) {
        self.change(slot, |flow| {
            if flow.secmark() == secmark {
                return 0;
            }
            flow.set_secmark(secmark);
            event::SECMARK
        });
    }

    /// The labels.
    pub fn labels(&self, slot: Slot) -> Option<[u8; 16]> {
        let flow = self.flow(slot)?;
        (flow.shared.noted & HAS_LABELS != 0).then(|| self.beside.labels(slot))
    }

    /// Changes the labels in `mask` to those of `bits`.
    pub fn set_labels(&mut self, slot: Slot, bits: [u8; 16], mask: [u8; 16]) {
        let before = u128::from_ne_bytes(self.labels(slot).unwrap_or_default());
        let mask = u128::from_ne_bytes(mask);
        let after = before & !mask | u128::from_ne_bytes(bits) & mask;
        if self.flow(slot).is_none() {
            return;
        }
        self.beside.set_labels(slot, after.to_ne_bytes());
        self.change(slot, |flow| {
            flow.shared.noted |= HAS_LABELS;
            if before == after { 0 } else { event::LABEL }
        });
    }

    /// Gives timeouts of its own to an unconfirmed flow of `protocol`, in seconds by `CTA_TIMEOUT_…` less one; the first is that
    /// of a new flow, and begins now. Without effect on a confirmed flow, or one of another protocol.
    pub fn set_policy(&mut self, slot: Slot, protocol: u8, seconds: &[u32], now: Tick) {
        let policy = self.policies.intern(protocol, seconds, &self.settings);
        let Some(flow) = self.flow_mut(slot) else { return };
        let is_its = flow.key(Direction::Original).protocol == protocol;
        if flow.status().has(Status::CONFIRMED) || !is_its {
            return;
        }
        flow.set_policy(policy);
        let first = self.policies.timeouts(policy, protocol, &self.settings).first().copied();
        self.refresh(slot, first.unwrap_or_default(), now);
    }

    /// The timeouts of a flow of `protocol` with a [policy](crate::Flow::policy).
    pub fn timeouts(&self, policy: u16, protocol: u8) -> &[u32] {
        self.policies.timeouts(policy, protocol, &self.settings)
    }

    /// Which events are told of the flow.
    pub fn set_event_mask(&mut self, slot: Slot, mask: u32) {
        if let Some(flow) = self.flow_mut(slot) {
            flow.set_event_mask(mask & u32::from(crate::flow::EVENTS));
        }
    }

    /// The flow cache forgets what it remembers of the flow.
    pub fn forget(&mut self, slot: Slot) {
        for direction in [Direction::Original, Direction::Reply] {
            self.remember(slot, direction, Cached::default());
        }
    }
}
