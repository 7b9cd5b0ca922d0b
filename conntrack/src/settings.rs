//! What an operator can set: timeouts and switches, under the kernel's sysctl names, and the timeouts that rules give to
//! single flows.
//!
//! # Overview
//!
//! [`Settings`] is plain data: each shard has a copy, which the control thread replaces by a job. One table names each cell.
//! A `ct timeout` object is a [`Policy`]: interned by content in [`Policies`], so that a flow keeps a number.
//!
//! Defaults are the kernel's (Linux 6.18).

use ahash::{HashMap, RandomState};
use packet::wire::ip;

/// What every name may begin with: `net.netfilter.`.
pub const PREFIX: &str = "net.netfilter.";
/// The longest timeout in seconds: the kernel's `INT_MAX` jiffies at 250 Hz.
pub const MAX_SECONDS: u32 = i32::MAX as u32 / 250;

/// Timeouts of a TCP connection: by state from SYN_SENT on, then retransmissions, then unacknowledged data
/// (`enum ctattr_timeout_tcp`, less one).
pub type TcpTimeouts = [u32; 11];
/// Index in [`TcpTimeouts`]: established.
pub const TCP_ESTABLISHED: usize = 2;
/// Index in [`TcpTimeouts`]: closed, by a reset too.
pub const TCP_CLOSE: usize = 7;
/// Index in [`TcpTimeouts`]: the other side does not answer what is sent again and again.
pub const TCP_RETRANSMIT: usize = 9;
/// Index in [`TcpTimeouts`]: data that was not acknowledged yet.
pub const TCP_UNACKNOWLEDGED: usize = 10;

/// Why a value was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingError {
    /// There is no such name.
    Unknown,
    /// The value is out of the setting's range, which is this.
    Range(u64, u64),
}

impl std::fmt::Display for SettingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => f.write_str("no such setting"),
            Self::Range(least, most) => write!(f, "must be {least} to {most}"),
        }
    }
}

impl std::error::Error for SettingError {}

/// Timeouts are in seconds; those of a protocol stand by `CTA_TIMEOUT_…` less one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Count packets and bytes of flows.
    pub acct: bool,
    /// Keep when flows began and ended.
    pub timestamp: bool,
    /// Tell of changes: 0 never, 1 always, 2 when somebody listens.
    pub events: u8,
    /// Look at checksums in software where the device did not.
    pub checksum: bool,
    /// Log what is invalid: 0 nothing, 255 every protocol, else the protocol's number.
    pub log_invalid: u8,
    /// Flows: more are not made; 0: as many as there is room for. This shard's part of it.
    pub max: u32,
    /// TCP.
    pub tcp: TcpTimeouts,
    /// Take up TCP connections that began before we looked.
    pub tcp_loose: bool,
    /// Take segments out of the window for valid.
    pub tcp_be_liberal: bool,
    /// Take resets out of the window for valid.
    pub tcp_ignore_invalid_rst: bool,
    /// How often a segment is sent again before the timeout gets short.
    pub tcp_max_retrans: u8,
    /// UDP and UDP-Lite: unanswered, and a stream.
    pub udp: [u32; 2],
    /// ICMP.
    pub icmp: [u32; 1],
    /// ICMPv6.
    pub icmp6: [u32; 1],
    /// SCTP, by state from CLOSED on.
    pub sctp: [u32; 8],
    /// GRE: unanswered, and a stream.
    pub gre: [u32; 2],
    /// All other protocols.
    pub generic: [u32; 1],
    /// How long fragments of an IPv6 packet wait for the rest.
    pub frag6_timeout: u32,
    /// Bytes of IPv6 fragments above which none are taken.
    pub frag6_high_thresh: u32,
    /// Kept for programs that read it: fragments are given up one by one.
    pub frag6_low_thresh: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            acct: false,
            timestamp: false,
            events: 2,
            checksum: true,
            log_invalid: 0,
            max: 0,
            tcp: [120, 60, 432_000, 120, 60, 30, 120, 10, 120, 300, 300],
            tcp_loose: true,
            tcp_be_liberal: false,
            tcp_ignore_invalid_rst: false,
            tcp_max_retrans: 3,
            udp: [30, 120],
            icmp: [30],
            icmp6: [30],
            sctp: [10, 3, 3, 210, 3, 3, 3, 30],
            gre: [30, 180],
            generic: [600],
            frag6_timeout: 60,
            frag6_high_thresh: 4 << 20,
            frag6_low_thresh: 3 << 20,
        }
    }
}

/// Where a setting is kept.
enum Cell<'a> {
    Switch(&'a mut bool),
    /// And the largest value.
    Small(&'a mut u8, u8),
    /// And the range.
    Number(&'a mut u32, u32, u32),
}

impl Cell<'_> {
    fn get(&self) -> u64 {
        match self {
            Self::Switch(on) => u64::from(**on),
            Self::Small(number, _) => u64::from(**number),
            Self::Number(number, ..) => u64::from(**number),
        }
    }

    fn range(&self) -> (u64, u64) {
        match self {
            Self::Switch(_) => (0, 1),
            Self::Small(_, most) => (0, u64::from(*most)),
            Self::Number(_, least, most) => (u64::from(*least), u64::from(*most)),
        }
    }

    /// `value` is in the range.
    fn put(self, value: u64) {
        match self {
            Self::Switch(on) => *on = value != 0,
            Self::Small(number, _) => *number = value as u8,
            Self::Number(number, ..) => *number = value as u32,
        }
    }
}

fn seconds(cell: &mut u32) -> Cell<'_> {
    Cell::Number(cell, 0, MAX_SECONDS)
}

struct Setting {
    name: &'static str,
    cell: fn(&mut Settings) -> Cell<'_>,
}

macro_rules! table {
    ($($name:literal: $settings:ident => $cell:expr;)*) => {
        &[$(Setting { name: concat!("net.netfilter.nf_conntrack_", $name), cell: |$settings| $cell },)*]
    };
}

/// Every setting; there is no other list of them. In the order in which the kernel's `sysctl -a` shows them.
#[rustfmt::skip]
static TABLE: &[Setting] = table! {
    "acct": s => Cell::Switch(&mut s.acct);
    "checksum": s => Cell::Switch(&mut s.checksum);
    "events": s => Cell::Small(&mut s.events, 2);
    "frag6_high_thresh": s => Cell::Number(&mut s.frag6_high_thresh, 0, u32::MAX);
    "frag6_low_thresh": s => Cell::Number(&mut s.frag6_low_thresh, 0, u32::MAX);
    "frag6_timeout": s => seconds(&mut s.frag6_timeout);
    "generic_timeout": s => seconds(&mut s.generic[0]);
    "gre_timeout": s => seconds(&mut s.gre[0]);
    "gre_timeout_stream": s => seconds(&mut s.gre[1]);
    "icmp_timeout": s => seconds(&mut s.icmp[0]);
    "icmpv6_timeout": s => seconds(&mut s.icmp6[0]);
    "log_invalid": s => Cell::Small(&mut s.log_invalid, u8::MAX);
    "max": s => Cell::Number(&mut s.max, 0, i32::MAX as u32);
    "sctp_timeout_closed": s => seconds(&mut s.sctp[0]);
    "sctp_timeout_cookie_echoed": s => seconds(&mut s.sctp[2]);
    "sctp_timeout_cookie_wait": s => seconds(&mut s.sctp[1]);
    "sctp_timeout_established": s => seconds(&mut s.sctp[3]);
    "sctp_timeout_heartbeat_sent": s => seconds(&mut s.sctp[7]);
    "sctp_timeout_shutdown_ack_sent": s => seconds(&mut s.sctp[6]);
    "sctp_timeout_shutdown_recd": s => seconds(&mut s.sctp[5]);
    "sctp_timeout_shutdown_sent": s => seconds(&mut s.sctp[4]);
    "tcp_be_liberal": s => Cell::Switch(&mut s.tcp_be_liberal);
    "tcp_ignore_invalid_rst": s => Cell::Switch(&mut s.tcp_ignore_invalid_rst);
    "tcp_loose": s => Cell::Switch(&mut s.tcp_loose);
    "tcp_max_retrans": s => Cell::Small(&mut s.tcp_max_retrans, u8::MAX);
    "tcp_timeout_close": s => seconds(&mut s.tcp[7]);
    "tcp_timeout_close_wait": s => seconds(&mut s.tcp[4]);
    "tcp_timeout_established": s => seconds(&mut s.tcp[2]);
    "tcp_timeout_fin_wait": s => seconds(&mut s.tcp[3]);
    "tcp_timeout_last_ack": s => seconds(&mut s.tcp[5]);
    "tcp_timeout_max_retrans": s => seconds(&mut s.tcp[9]);
    "tcp_timeout_syn_recv": s => seconds(&mut s.tcp[1]);
    "tcp_timeout_syn_sent": s => seconds(&mut s.tcp[0]);
    "tcp_timeout_time_wait": s => seconds(&mut s.tcp[6]);
    "tcp_timeout_unacknowledged": s => seconds(&mut s.tcp[10]);
    "timestamp": s => Cell::Switch(&mut s.timestamp);
    "udp_timeout": s => seconds(&mut s.udp[0]);
    "udp_timeout_stream": s => seconds(&mut s.udp[1]);
};

fn setting(name: &str) -> Option<&'static Setting> {
    let short = name.strip_prefix(PREFIX).unwrap_or(name);
    TABLE.iter().find(|setting| setting.name.strip_prefix(PREFIX) == Some(short))
}

/// The names of all settings, whole, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|setting| setting.name)
}

impl Settings {
    /// The value of a setting, by its name with or without [`PREFIX`]; a switch is 0 or 1.
    pub fn get(&self, name: &str) -> Option<u64> {
        let mut copy = *self;
        Some((setting(name)?.cell)(&mut copy).get())
    }

    /// Sets it.
    ///
    /// # Errors
    ///
    /// There is no such setting, or its range excludes the value; nothing was set.
    pub fn set(&mut self, name: &str, value: u64) -> Result<(), SettingError> {
        let cell = (setting(name).ok_or(SettingError::Unknown)?.cell)(self);
        let (least, most) = cell.range();
        if !(least..=most).contains(&value) {
            return Err(SettingError::Range(least, most));
        }
        cell.put(value);
        Ok(())
    }

    /// Sets the timeouts of a protocol (IP's number), as many as are given.
    pub fn set_timeouts(&mut self, protocol: u8, seconds: &[u32]) {
        for (to, from) in self.timeouts_mut(protocol).iter_mut().zip(seconds) {
            *to = (*from).min(MAX_SECONDS);
        }
    }

    fn timeouts_mut(&mut self, protocol: u8) -> &mut [u32] {
        match protocol {
            ip::TCP => &mut self.tcp,
            ip::UDP | ip::UDP_LITE => &mut self.udp,
            ip::ICMP => &mut self.icmp,
            ip::ICMP6 => &mut self.icmp6,
            ip::SCTP => &mut self.sctp,
            ip::GRE => &mut self.gre,
            _ => &mut self.generic,
        }
    }

    /// The timeouts of a protocol (IP's number), those of "generic" where it has none of its own.
    #[inline]
    pub fn timeouts(&self, protocol: u8) -> &[u32] {
        match protocol {
            ip::TCP => &self.tcp,
            ip::UDP | ip::UDP_LITE => &self.udp,
            ip::ICMP => &self.icmp,
            ip::ICMP6 => &self.icmp6,
            ip::SCTP => &self.sctp,
            ip::GRE => &self.gre,
            _ => &self.generic,
        }
    }
}

/// Timeouts that a rule gave to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Of flows of this protocol.
    pub protocol: u8,
    /// As in [`Settings`]: as many as the protocol has, then zeros.
    pub seconds: TcpTimeouts,
}

/// The policies of a shard, each once. They stay: flows have their numbers, and rules bring about few.
#[derive(Debug, Default)]
pub struct Policies {
    list: Vec<Policy>,
    numbers: HashMap<Policy, u16>,
}

impl Policies {
    /// None yet.
    pub fn new() -> Self {
        Self { list: Vec::new(), numbers: HashMap::with_hasher(RandomState::new()) }
    }

    /// Whether there is none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The number, from 1, of what has these timeouts of a protocol; what is missing at the end is as in `settings`. 0, as if
    /// no rule had said anything, when there are 65,535 already.
    pub fn intern(&mut self, protocol: u8, seconds: &[u32], settings: &Settings) -> u16 {
        let mut policy = Policy { protocol, seconds: TcpTimeouts::default() };
        let default = settings.timeouts(protocol);
        for (n, (to, from)) in policy.seconds.iter_mut().zip(default).enumerate() {
            *to = seconds.get(n).unwrap_or(from).min(&MAX_SECONDS).to_owned();
        }
        if let Some(number) = self.numbers.get(&policy) {
            return *number;
        }
        let Ok(number) = u16::try_from(self.list.len() + 1) else { return 0 };
        self.list.push(policy);
        self.numbers.insert(policy, number);
        number
    }

    /// The policy with a number; `None` for 0.
    #[inline]
    pub fn get(&self, number: u16) -> Option<&Policy> {
        self.list.get(usize::from(number).checked_sub(1)?)
    }

    /// The timeouts of a flow of `protocol` with the policy `number`.
    #[inline]
    pub fn timeouts<'a>(&'a self, number: u16, protocol: u8, settings: &'a Settings) -> &'a [u32] {
        match self.get(number) {
            Some(policy) if policy.protocol == protocol => &policy.seconds,
            _ => settings.timeouts(protocol),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_own_cell() {
        let before = Settings::default();
        for name in names() {
            let mut settings = before;
            let old = settings.get(name).unwrap();
            let new = if old == 1 { 0 } else { 1 };
            settings.set(name, new).unwrap();
            assert_ne!(settings, before, "{name}");
            assert_eq!(settings.get(name), Some(new), "{name}");
            for other in names().filter(|other| *other != name) {
                assert_eq!(settings.get(other), before.get(other), "{name} changed {other}");
            }
        }
    }

    #[test]
    fn names_and_defaults_are_the_kernels() {
        // `sysctl -a`, Linux 6.18, in a fresh namespace; but `max`, which goes by the kernel's memory.
        let kernel = "acct 0 checksum 1 events 2 frag6_high_thresh 4194304 frag6_low_thresh 3145728 frag6_timeout 60 \
            generic_timeout 600 gre_timeout 30 gre_timeout_stream 180 icmp_timeout 30 icmpv6_timeout 30 log_invalid 0 \
            max 0 sctp_timeout_closed 10 sctp_timeout_cookie_echoed 3 sctp_timeout_cookie_wait 3 \
            sctp_timeout_established 210 sctp_timeout_heartbeat_sent 30 sctp_timeout_shutdown_ack_sent 3 \
            sctp_timeout_shutdown_recd 3 sctp_timeout_shutdown_sent 3 tcp_be_liberal 0 tcp_ignore_invalid_rst 0 \
            tcp_loose 1 tcp_max_retrans 3 tcp_timeout_close 10 tcp_timeout_close_wait 60 tcp_timeout_established 432000 \
            tcp_timeout_fin_wait 120 tcp_timeout_last_ack 30 tcp_timeout_max_retrans 300 tcp_timeout_syn_recv 60 \
            tcp_timeout_syn_sent 120 tcp_timeout_time_wait 120 tcp_timeout_unacknowledged 300 timestamp 0 udp_timeout 30 \
            udp_timeout_stream 120";
        let words: Vec<&str> = kernel.split_whitespace().collect();
        let settings = Settings::default();
        for pair in words.chunks(2) {
            let value = pair[1].parse().ok();
            assert_eq!(settings.get(&format!("nf_conntrack_{}", pair[0])), value, "{}", pair[0]);
        }
        assert_eq!(names().count(), words.len() / 2);
    }

    #[test]
    fn what_is_out_of_range_is_not_set() {
        let mut settings = Settings::default();
        let mut set = |name: &str, value| settings.set(name, value);
        assert_eq!(set("nf_conntrack_nonsense", 1), Err(SettingError::Unknown));
        assert_eq!(set("net.netfilter.nf_conntrack_acct", 2), Err(SettingError::Range(0, 1)));
        assert_eq!(set("nf_conntrack_tcp_max_retrans", 256), Err(SettingError::Range(0, 255)));
        assert_eq!(
            set("nf_conntrack_udp_timeout", 8_589_935),
            Err(SettingError::Range(0, 8_589_934))
        );
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn policies_are_kept_once() {
        let settings = Settings::default();
        let mut policies = Policies::new();
        let one = policies.intern(ip::UDP, &[5], &settings);
        assert_eq!(policies.intern(ip::UDP, &[5, 120], &settings), one);
        assert_ne!(policies.intern(ip::UDP, &[5, 121], &settings), one);
        assert_eq!(policies.timeouts(one, ip::UDP, &settings)[..2], [5, 120]);
        assert_eq!(policies.timeouts(one, ip::TCP, &settings), settings.tcp);
        assert_eq!(policies.timeouts(0, ip::UDP, &settings), settings.udp);
    }
}
