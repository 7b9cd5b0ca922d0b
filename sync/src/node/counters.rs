//! What a node counts. A lane's own counters are summed over lanes and shown beside these.

use crate::lane::{ReceiveCounters, SendCounters};
use crate::seal::Rejected;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a node counts, from its start on.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(super) struct Counters {
            $($(#[$doc])* pub(super) $name: u64,)*
        }

        impl Counters {
            /// All by name.
            pub(super) fn each(&self, out: &mut Vec<(&'static str, u64)>) {
                $(out.push((stringify!($name), self.$name));)*
            }
        }
    };
}

counters! {
    /// This node's own, come back.
    looped,
    /// Authentic datagrams of this node's number that this node did not send.
    twins,
    /// Authentic datagrams with records that cannot be read.
    malformed,
    /// Records that are not known and must be understood.
    not_understood,
    /// Datagrams of an earlier incarnation of their sender.
    old_epoch,
    /// Datagrams of a node that said goodbye.
    after_goodbye,
    /// DATA or roles of a group that this node does not serve.
    other_group,
    /// DATA of a lower term, or of a node that is not the owner.
    fenced,
    /// DATA before the sender's HELLO.
    before_hello,
    /// DATA of a lane that the sender said that it has not.
    no_lane,
    /// DATA that was not taken because a worker's ring was full.
    no_room,
    /// DATA that was taken.
    data,
    /// NACKs to this node.
    nacks,
    /// HEARTBEATs that came.
    heartbeats,
    /// WATERMARKs that came.
    watermarks,
    /// HELLOs that came.
    hellos,
    /// DIGESTs that came.
    digests,
    /// Parts of planned switchovers that came.
    redirects,
    /// What other nodes' daemons said.
    controls,
    /// Records of workers that were dropped because this node is not the owner.
    not_owner,
    /// Lower terms that were answered with the present one.
    lower_terms,
    /// Times that this node stepped down because of a greater claim.
    stepped_down,
    /// Times that it became the owner.
    promoted,
    /// Promotions that were refused.
    promotions_refused,
    /// Promotions beside an owner that lives: it was asked to hand over.
    handovers_asked,
    /// Planned switchovers that began.
    switchovers,
    /// Those that were abandoned.
    switchovers_abandoned,
    /// Bulks that were asked for.
    bulks_asked,
    /// Requests for what lanes lacked: the rest of a bulk, what changed since something was lost, a bucket.
    parts_asked,
    /// Sweeps.
    sweeps,
    /// Flows that did not fit into a worker's table.
    refused,
    /// Flows whose first packets wait.
    deferred,
    /// Those that were one too many to keep account of.
    deferred_overflow,
    /// Those that were not acknowledged in time.
    deferred_expired,
    /// Acknowledgements that came.
    acknowledged,
    /// Acknowledgements that were sent.
    acknowledgements,
    /// Times that this node found that it had been stopped for longer than its lease.
    stops,
    /// Nodes that fell silent.
    silences,
    /// Messages to workers for which there was no room although room was promised.
    ring_full,
}

/// A lane's counters, added to those that are there, by name.
pub(super) fn sending(of: &SendCounters, out: &mut Sum) {
    out.add("lane_datagrams", of.datagrams);
    out.add("lane_bytes", of.bytes);
    let names = [
        "records_new",
        "records_change",
        "records_end",
        "records_refresh",
        "records_repair",
        "records_bulk",
        "records_deferred",
    ];
    for (name, count) in names.into_iter().zip(of.records) {
        out.add(name, count);
    }
    out.add("records_overtaken", of.stale);
    out.add("records_unfit", of.unfit);
    out.add("missing_asked", of.missing);
    out.add("missing_repeated", of.repeated);
    out.add("missing_resolved", of.resolved);
    out.add("missing_lost", of.lost);
    out.add("repairs_given_up", of.given_up);
    out.add("bulks_given", of.bulks);
    out.add("parts_given", of.parts);
    out.add("orphans_ended", of.orphans);
}

/// Likewise.
pub(super) fn receiving(of: &ReceiveCounters, out: &mut Sum) {
    out.add("taken_datagrams", of.datagrams);
    out.add("taken_duplicates", of.duplicates);
    out.add("taken_malformed", of.malformed);
    out.add("records_applied", of.applied);
    out.add("records_stale", of.stale);
    out.add("records_beyond", of.beyond);
    out.add("records_unknown_flow", of.unknown);
    out.add("records_refused", of.refused);
    out.add("records_not_understood", of.not_understood);
    out.add("gaps", of.gaps);
    out.add("nacks_sent", of.nacks);
    out.add("gaps_abandoned", of.abandoned);
    out.add("bulks_taken", of.bulks);
    out.add("digest_mismatches", of.mismatches);
    out.add("digest_alarms", of.alarms);
}

/// Counters summed by name, in the order in which they came first.
#[derive(Debug, Default)]
pub(super) struct Sum(pub(super) Vec<(&'static str, u64)>);

impl Sum {
    fn add(&mut self, name: &'static str, count: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum = sum.saturating_add(count),
            None => self.0.push((name, count)),
        }
    }
}

/// The name of the counter of datagrams that were rejected for this reason.
pub(super) const fn rejected(why: Rejected) -> &'static str {
    match why {
        Rejected::Short => "rejected_short",
        Rejected::Magic => "rejected_magic",
        Rejected::Major => "rejected_major",
        Rejected::Type => "rejected_type",
        Rejected::Node => "rejected_node",
        Rejected::Lane => "rejected_lane",
        Rejected::Cluster => "rejected_cluster",
        Rejected::Own => "rejected_own",
        Rejected::Length => "rejected_length",
        Rejected::Unauthenticated => "rejected_unauthenticated",
        Rejected::Key => "rejected_key",
        Rejected::Epoch => "rejected_epoch",
        Rejected::Replayed => "rejected_replayed",
        Rejected::Behind => "rejected_behind",
        Rejected::Forged => "rejected_forged",
    }
}
