//! Events of shards as messages for `conntrack -E` and others.

use nfnetlink::{Publisher, Writer, subsystem};

use super::cta::group;
use super::entry::{self, Epoch};
use crate::event::{Event, LISTEN_DESTROY, LISTEN_NEW, LISTEN_UPDATE};

/// Bytes of events that share a datagram: programs on libmnl read into a page.
const DATAGRAM: usize = 3776;

/// An event as the kernel tells it: the multicast group, and the message. `None` where nothing happened.
pub fn event_message(event: &Event, epoch: Epoch) -> Option<(u32, Vec<u8>)> {
    let group = entry::group_of(event)?;
    let mut out = Writer::default();
    entry::put_event(&mut out, event, group, epoch);
    Some((group, out.buf))
}

/// Makes messages of what [`Shard::take_events`](crate::Shard::take_events) gives and hands them to the nfnetlink server. Belongs
/// to whoever takes the events; events of one worker stay in order.
pub struct EventTeller {
    publisher: Publisher,
    epoch: Epoch,
    /// Not handed over yet, of one group.
    pending: Option<subsystem::Event>,
}

impl EventTeller {
    /// Tells by `publisher`.
    pub fn new(publisher: Publisher, epoch: Epoch) -> Self {
        Self { publisher, epoch, pending: None }
    }

    /// For whom shards are to keep events: what [`Shard::listen`](crate::Shard::listen) takes. Cheap; to be asked again and again.
    pub fn wanted(&self) -> u32 {
        let groups = [
            (group::NEW, LISTEN_NEW),
            (group::UPDATE, LISTEN_UPDATE),
            (group::DESTROY, LISTEN_DESTROY),
        ];
        let heard = groups.iter().filter(|(group, _)| self.publisher.wanted(*group));
        heard.fold(0, |bits, (_, bit)| bits | bit)
    }

    /// Tells of one event, with the next [`flush`](Self::flush) at the latest.
    pub fn tell(&mut self, event: &Event) {
        if !entry::group_of(event).is_some_and(|group| self.publisher.wanted(group)) {
            return;
        }
        let Some((group, mut message)) = event_message(event, self.epoch) else { return };
        if let Some(pending) = &mut self.pending
            && pending.group == group
            && pending.datagram.len() + message.len() <= DATAGRAM
        {
            pending.datagram.append(&mut message);
            return;
        }
        self.flush();
        self.pending = Some(subsystem::Event { group, datagram: message, echo: None });
    }

    /// Hands over what waits.
    pub fn flush(&mut self) {
        if let Some(event) = self.pending.take() {
            // Where there is no room, the server tells the group's members that they missed something.
            self.publisher.publish(event);
        }
    }

    /// Says that shards lost `events`: listeners get `ENOBUFS`.
    pub fn lost(&mut self, events: u64) {
        if events == 0 {
            return;
        }
        self.flush();
        for group in [group::NEW, group::UPDATE, group::DESTROY] {
            self.publisher.lost(group, events);
        }
        self.publisher.waker().wake();
    }
}
