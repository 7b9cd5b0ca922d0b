//! Numbers of messages and attributes (linux/netfilter/nfnetlink_conntrack.h, nfnetlink_cttimeout.h).
#![allow(missing_docs, reason = "the kernel's names")]

/// `NFNL_SUBSYS_CTNETLINK`.
pub const SUBSYSTEM: u8 = 1;
/// `NFNL_SUBSYS_CTNETLINK_EXP`.
pub const SUBSYSTEM_EXP: u8 = 2;
/// `NFNL_SUBSYS_CTNETLINK_TIMEOUT`.
pub const SUBSYSTEM_TIMEOUT: u8 = 8;

/// `NFNLGRP_CONNTRACK_…`.
pub mod group {
    pub const NEW: u32 = 1;
    pub const UPDATE: u32 = 2;
    pub const DESTROY: u32 = 3;
}

/// `IPCTNL_MSG_CT_…`.
pub mod msg {
    pub const NEW: u8 = 0;
    pub const GET: u8 = 1;
    pub const DELETE: u8 = 2;
    pub const GET_CTRZERO: u8 = 3;
    pub const GET_STATS_CPU: u8 = 4;
    pub const GET_STATS: u8 = 5;
    pub const GET_DYING: u8 = 6;
    pub const GET_UNCONFIRMED: u8 = 7;
}

/// `CTA_…`.
pub mod top {
    pub const TUPLE_ORIG: u16 = 1;
    pub const TUPLE_REPLY: u16 = 2;
    pub const STATUS: u16 = 3;
    pub const PROTOINFO: u16 = 4;
    pub const HELP: u16 = 5;
    pub const NAT_SRC: u16 = 6;
    pub const TIMEOUT: u16 = 7;
    pub const MARK: u16 = 8;
    pub const COUNTERS_ORIG: u16 = 9;
    pub const COUNTERS_REPLY: u16 = 10;
    pub const USE: u16 = 11;
    pub const ID: u16 = 12;
    pub const NAT_DST: u16 = 13;
    pub const TUPLE_MASTER: u16 = 14;
    pub const SEQ_ADJ_ORIG: u16 = 15;
    pub const SEQ_ADJ_REPLY: u16 = 16;
    pub const ZONE: u16 = 18;
    pub const TIMESTAMP: u16 = 20;
    pub const MARK_MASK: u16 = 21;
    pub const LABELS: u16 = 22;
    pub const LABELS_MASK: u16 = 23;
    pub const FILTER: u16 = 25;
    pub const STATUS_MASK: u16 = 26;
    pub const TIMESTAMP_EVENT: u16 = 27;
    /// One more than the last.
    pub const COUNT: usize = 28;
}

/// `CTA_TUPLE_…`.
pub mod tuple {
    pub const IP: u16 = 1;
    pub const PROTO: u16 = 2;
    pub const ZONE: u16 = 3;
}

/// `CTA_IP_…`.
pub mod address {
    pub const V4_SRC: u16 = 1;
    pub const V4_DST: u16 = 2;
    pub const V6_SRC: u16 = 3;
    pub const V6_DST: u16 = 4;
}

/// `CTA_PROTO_…`.
pub mod proto {
    pub const NUM: u16 = 1;
    pub const SRC_PORT: u16 = 2;
    pub const DST_PORT: u16 = 3;
    pub const ICMP_ID: u16 = 4;
    pub const ICMP_TYPE: u16 = 5;
    pub const ICMP_CODE: u16 = 6;
    pub const ICMPV6_ID: u16 = 7;
    pub const ICMPV6_TYPE: u16 = 8;
    pub const ICMPV6_CODE: u16 = 9;
}

/// `CTA_PROTOINFO_…`.
pub mod protoinfo {
    pub const TCP: u16 = 1;
    pub const SCTP: u16 = 3;
}

/// `CTA_PROTOINFO_TCP_…`.
pub mod tcp {
    pub const STATE: u16 = 1;
    pub const WSCALE_ORIGINAL: u16 = 2;
    pub const WSCALE_REPLY: u16 = 3;
    pub const FLAGS_ORIGINAL: u16 = 4;
    pub const FLAGS_REPLY: u16 = 5;
}

/// `CTA_PROTOINFO_SCTP_…`.
pub mod sctp {
    pub const STATE: u16 = 1;
    pub const VTAG_ORIGINAL: u16 = 2;
    pub const VTAG_REPLY: u16 = 3;
}

/// `CTA_COUNTERS_…`.
pub mod counters {
    pub const PACKETS: u16 = 1;
    pub const BYTES: u16 = 2;
}

/// `CTA_TIMESTAMP_…`.
pub mod timestamp {
    pub const START: u16 = 1;
    pub const STOP: u16 = 2;
}

/// `CTA_HELP_…`.
pub mod help {
    pub const NAME: u16 = 1;
}

/// `CTA_NAT_…`, `CTA_PROTONAT_…`.
pub mod nat {
    pub const V4_MINIP: u16 = 1;
    pub const V4_MAXIP: u16 = 2;
    pub const PROTO: u16 = 3;
    pub const V6_MINIP: u16 = 4;
    pub const V6_MAXIP: u16 = 5;
    pub const PORT_MIN: u16 = 1;
    pub const PORT_MAX: u16 = 2;
}

/// `CTA_FILTER_…`.
pub mod filter {
    pub const ORIG_FLAGS: u16 = 1;
    pub const REPLY_FLAGS: u16 = 2;
}

/// `CTA_STATS_…`.
pub mod stats {
    pub const FOUND: u16 = 2;
    pub const INVALID: u16 = 4;
    pub const INSERT: u16 = 8;
    pub const INSERT_FAILED: u16 = 9;
    pub const DROP: u16 = 10;
    pub const EARLY_DROP: u16 = 11;
    pub const ERROR: u16 = 12;
    pub const SEARCH_RESTART: u16 = 13;
    pub const CLASH_RESOLVE: u16 = 14;
    pub const CHAIN_TOOLONG: u16 = 15;
    /// `CTA_STATS_GLOBAL_…`.
    pub const GLOBAL_ENTRIES: u16 = 1;
    pub const GLOBAL_MAX_ENTRIES: u16 = 2;
}

/// `CTA_TIMEOUT_…` and the messages' numbers.
pub mod timeout {
    pub const NAME: u16 = 1;
    pub const L3PROTO: u16 = 2;
    pub const L4PROTO: u16 = 3;
    pub const DATA: u16 = 4;
    pub const USE: u16 = 5;

    pub const MSG_NEW: u8 = 0;
    pub const MSG_GET: u8 = 1;
    pub const MSG_DELETE: u8 = 2;
    pub const MSG_DEFAULT_SET: u8 = 3;
    pub const MSG_DEFAULT_GET: u8 = 4;
}

/// Messages, attributes and counters of expectations.
pub mod expect {
    pub const MSG_NEW: u8 = 0;
    pub const MSG_GET: u8 = 1;
    pub const MSG_DELETE: u8 = 2;
    pub const MSG_GET_STATS_CPU: u8 = 3;

    /// `CTA_STATS_EXP_NEW`, `_CREATE`, `_DELETE`.
    pub const STATS: [u16; 3] = [1, 2, 3];
}
