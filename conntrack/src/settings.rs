//! What the tracking of a shard can be told at run time.

/// The settings, with the defaults of Linux.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `nf_conntrack_acct`: new flows count their packets and bytes.
    pub acct: bool,
    /// `nf_conntrack_timestamp`: new flows keep when they began.
    pub timestamp: bool,
    /// `nf_conntrack_events`: 0: none are told; 1 and 2: those that somebody listens to.
    pub events: u8,
    /// `nf_conntrack_max`, this shard's part of it: more flows are not made; 0: as many as it has room for.
    pub max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { acct: false, timestamp: false, events: 2, max: 0 }
    }
}
