//! What lanes count.

/// What a sending lane counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendCounters {
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Records of flows, by [`crate::hands::Cause`].
    pub records: [u64; 7],
    /// Records that a newer one of the same slot had overtaken.
    pub stale: u64,
    /// FLOW_UPD that came before its FLOW_FULL: not sent, the flow asked for.
    pub early: u64,
    /// Records that no lane can send: of a slot that it has not, too long, or of a kind that workers have no say in.
    pub unfit: u64,
    /// Datagrams that were asked for again.
    pub missing: u64,
    /// Of these: a repair was under way.
    pub repeated: u64,
    /// Of these: repaired.
    pub resolved: u64,
    /// Of these: out of the window.
    pub lost: u64,
    /// Of these: given up because too much was to be repaired, or the worker did not answer. They will be asked for again.
    pub given_up: u64,
    /// Bulks that were begun for whoever wants all flows.
    pub bulks: u64,
    /// Bulks that were begun for one node, which wanted only a part.
    pub parts: u64,
    /// Flows that were ended because the worker, asked for them, did not know them.
    pub orphans: u64,
}

/// What a receiving lane counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveCounters {
    /// Datagrams that were taken.
    pub datagrams: u64,
    /// Datagrams that were taken before, or are from before the bulk was asked for.
    pub duplicates: u64,
    /// Datagrams that could not be read, and records of flows that are not of this lane.
    pub malformed: u64,
    /// Records that were applied.
    pub applied: u64,
    /// Records that were no newer than what was there.
    pub stale: u64,
    /// Records of slots for which there is no room.
    pub beyond: u64,
    /// Updates of flows that were not there.
    pub unknown: u64,
    /// Datagrams that count as missing though they came, because of such updates.
    pub refused: u64,
    /// Records that must be understood and are not.
    pub not_understood: u64,
    /// Datagrams that were missed when a later one came.
    pub gaps: u64,
    /// NACKs.
    pub nacks: u64,
    /// Times that there were too many gaps, or one too old, or one was lost: a bulk instead.
    pub abandoned: u64,
    /// Bulks that came to their end.
    pub bulks: u64,
    /// Digests that differed.
    pub mismatches: u64,
    /// Times that a bulk was wanted because one did twice.
    pub alarms: u64,
}
