//! Ways to break the protocol on purpose, so that tests can show that the simulator would notice.
//!
//! The places that can be broken ask `crate::mutated`. Outside this crate's tests that is a constant `false`; in them it is
//! a switch of the thread that runs the simulation, so that tests do not see each other's.

/// What is left out or done wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// A sender says nothing when it has no more data, so nobody learns that the last datagrams were lost.
    NoHeartbeat,
    /// A receiver forgets a flow's version with the flow, so an older record makes it anew.
    NoTombstones,
    /// A receiver takes any record, an older one too.
    NoVersionCheck,
    /// A receiver closes the gap that it is told is lost, and asks for no bulk.
    IgnoreLost,
    /// A receiver sweeps at the end of the bulk though there are gaps.
    SweepEarly,
    /// A receiver says that it has all up to the latest datagram when it asks for the rest of a bulk.
    ResumeTooFar,
    /// A sender that goes on with a bulk says nothing of flows that ended.
    ForgetEnds,
    /// Of a bucket that is repaired, a receiver takes only what is newer.
    RepairWithoutDoubt,
    /// A sender now and then gives two datagrams the same number.
    ReuseSeq,
    /// A worker whose ring was full forgets what did not fit.
    SkipRingDrain,
    /// A receiver closes a gap when RESOLVE comes, though the repaired records are missing.
    ResolveWithoutChain,
    /// A sender answers NACK at once, before the worker said the flows again.
    ResolveWithoutExport,
    /// Windows of imported TCP flows follow the first packet, wherever it is.
    RebaseWithoutBound,
    /// Records and roles of a term that has passed are heeded.
    OldTermAccepted,
    /// Two nodes take the same term: the reserved one is not raised.
    ReuseTerm,
    /// A node which was stopped renews its lease before it hears whether another took over.
    LeaseWithoutHearing,
    /// A standby ages flows that are another's.
    AgeWhileHeld,
    /// A standby exports what it imported.
    ExportImports,
    /// Deferred packets go at once.
    ReleaseUnacknowledged,
    /// A receiver takes a datagram twice.
    NoReplayWindow,
    /// A node calls itself synchronised before the bulk's end.
    SynchronisedEarly,
    /// The barrier of a planned switchover is not waited for.
    SkipBarrier,
}

/// True where this is to be done wrongly: never outside of tests.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn mutated(_: Mutation) -> bool {
    false
}

/// True where this is to be done wrongly.
#[cfg(test)]
pub(crate) fn mutated(which: Mutation) -> bool {
    SWITCH.with(|switch| switch.get() == Some(which))
}

#[cfg(test)]
thread_local! {
    static SWITCH: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Does something while the protocol is broken in this way.
#[cfg(test)]
pub(crate) fn with<T>(mutation: Option<Mutation>, f: impl FnOnce() -> T) -> T {
    struct Reset(Option<Mutation>);
    impl Drop for Reset {
        fn drop(&mut self) {
            SWITCH.with(|switch| switch.set(self.0));
        }
    }
    let _reset = Reset(SWITCH.with(|switch| switch.replace(mutation)));
    f()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutation_lasts_as_long_as_it_is_asked_for() {
        assert!(!mutated(Mutation::NoHeartbeat));
        with(Some(Mutation::NoHeartbeat), || {
            assert!(mutated(Mutation::NoHeartbeat));
            assert!(!mutated(Mutation::ReuseSeq));
            with(None, || assert!(!mutated(Mutation::NoHeartbeat)));
            assert!(mutated(Mutation::NoHeartbeat));
        });
        assert!(!mutated(Mutation::NoHeartbeat));
    }
}
