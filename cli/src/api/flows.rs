//! What the API says of flows and of the settings of tracking.

use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

/// How many flows there are, and what workers counted of them. A fifth of a second old at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowCounts {
    /// When connections are tracked: `auto` (where rules need it) or `always`.
    pub tracking: String,
    /// Flows now.
    pub flows: u64,
    /// Flows that there is room for.
    pub room: u64,
    /// Flows that came into the table.
    pub inserted: u64,
    /// Flows that did not: another had their tuple.
    pub insert_failed: u64,
    /// Packets that belong to no connection.
    pub invalid: u64,
    /// Packets dropped because the table was full.
    pub dropped: u64,
    /// Flows given up early, to make room for others.
    pub early_dropped: u64,
    /// Clashes of two first packets that were resolved.
    pub clashes_resolved: u64,
    /// ICMP errors that were malformed.
    pub bad_errors: u64,
    /// Tuples whose place in the index was far from their bucket.
    pub long_chains: u64,
    /// Tuples that NAT wanted and that others had.
    pub nat_taken: u64,
    /// Events that nobody took in time.
    pub events_lost: u64,
    /// Flows now that other nodes made.
    #[serde(default)]
    pub imported: u64,
    /// Flows now, by worker.
    pub by_worker: Vec<u64>,
}

/// By what flows are put in order.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// Bits per second since it began, both directions, most first
    #[default]
    Rate,
    /// Bytes, both directions, most first
    Bytes,
    /// Packets, both directions, most first
    Packets,
    /// The oldest first
    Oldest,
    /// The newest first
    Newest,
    /// The longest timeout first
    Timeout,
}

/// An address, or a prefix: `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    len: u8,
}

impl Network {
    /// Whether an address is in it.
    pub fn has(&self, address: IpAddr) -> bool {
        let differ = match (self.address, address) {
            (IpAddr::V4(mine), IpAddr::V4(other)) => {
                u128::from(mine.to_bits() ^ other.to_bits()) << 96
            }
            (IpAddr::V6(mine), IpAddr::V6(other)) => mine.to_bits() ^ other.to_bits(),
            _ => return false,
        };
        differ.leading_zeros() >= u32::from(self.len)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address such as 10.0.0.1 or 2001:db8::/32");
        let (address, len) = text.split_once('/').map_or((text, None), |(a, len)| (a, Some(len)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let len = len.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if len > most { Err(wrong()) } else { Ok(Self { address, len }) }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which flows: those that have all that is given, in either of their tuples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// 4 or 6.
    pub family: Option<u8>,
    /// A protocol's name, or its number where it has none.
    pub protocol: Option<String>,
    /// Where one of its ends is.
    pub address: Option<Network>,
    /// The port of one of its ends.
    pub port: Option<u16>,
    /// The state of its connection.
    pub state: Option<String>,
    /// Its mark.
    pub mark: Option<u32>,
    /// Its zone, in either direction.
    pub zone: Option<u16>,
    /// Whether it is translated.
    pub nat: Option<bool>,
}

/// The longest list of flows in one answer.
pub const LIMIT_MAX: usize = 10_000;

/// Which flows are asked for, and in what order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowsQuery {
    /// Which.
    pub filter: Filter,
    /// In what order.
    pub sort: Sort,
    /// How many at most.
    pub limit: usize,
}

/// [`FlowsQuery`] as it stands in an address.
#[derive(Debug, Deserialize, Serialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlowsParams {
    /// 4 or 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<u8>,
    /// A protocol's name (`tcp`), or its number where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    /// An address or prefix that one of its ends is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    address: Option<Network>,
    /// The port of one of its ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// The state of its connection, such as `ESTABLISHED`.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// Its mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<u32>,
    /// Its zone, in either direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<u16>,
    /// Whether it is translated.
    #[serde(skip_serializing_if = "Option::is_none")]
    nat: Option<bool>,
    /// In what order.
    #[serde(default)]
    #[param(default = "rate")]
    sort: Sort,
    /// How many at most.
    #[serde(default = "default_limit")]
    #[param(default = 20, maximum = 10_000)]
    limit: usize,
}

fn default_limit() -> usize {
    20
}

impl From<FlowsParams> for FlowsQuery {
    fn from(params: FlowsParams) -> Self {
        let FlowsParams { family, protocol, address, port, state, mark, zone, nat, sort, limit } =
            params;
        let filter = Filter { family, protocol, address, port, state, mark, zone, nat };
        Self { filter, sort, limit }
    }
}

impl FlowsQuery {
    /// The address that asks for it.
    pub fn target(&self) -> String {
        let Filter { family, protocol, address, port, state, mark, zone, nat } = &self.filter;
        let given: [(&str, Option<String>); 8] = [
            ("family", family.map(|n| n.to_string())),
            ("protocol", protocol.clone()),
            ("address", address.map(|network| network.to_string())),
            ("port", port.map(|n| n.to_string())),
            ("state", state.clone()),
            ("mark", mark.map(|n| n.to_string())),
            ("zone", zone.map(|n| n.to_string())),
            ("nat", nat.map(|yes| yes.to_string())),
        ];
        let sort = clap::ValueEnum::to_possible_value(&self.sort);
        let sort = sort.map_or_else(String::new, |value| value.get_name().to_owned());
        let mut target = format!("/v1/flows?sort={sort}&limit={}", self.limit);
        for (name, value) in given {
            if let Some(value) = value {
                target.push_str(&format!("&{name}={}", escaped(&value)));
            }
        }
        target
    }
}

/// A value as it may stand in an address (RFC 3986, section 2).
fn escaped(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The flows that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Flows {
    /// Seconds since the daemon started.
    pub uptime_seconds: f64,
    /// How many flows there are that fit.
    pub matching: u64,
    /// Whether new flows are accounted (`nf_conntrack_acct`).
    pub accounting: bool,
    /// Whether it is kept when new flows begin (`nf_conntrack_timestamp`).
    pub timestamps: bool,
    /// The first of them.
    pub flows: Vec<FlowEntry>,
}

/// A flow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FlowEntry {
    /// What `conntrack -o id` shows.
    pub id: u32,
    /// The worker whose it is.
    pub worker: u16,
    /// 4 or 6.
    pub family: u8,
    /// The protocol's name, or its number.
    pub protocol: String,
    /// The connection's state, where the protocol has any.
    pub state: Option<String>,
    /// A packet of the direction of the first.
    pub original: Tuple,
    /// A packet back, before it is translated.
    pub reply: Tuple,
    /// Words: `unreplied`, `assured`, `expected`, `src-nat`, `dst-nat`, `fixed-timeout`.
    pub status: Vec<String>,
    /// Its mark.
    pub mark: u32,
    /// Seconds until it ends, if nothing comes.
    pub timeout_seconds: u32,
    /// Seconds since the daemon's start when it began, if that was kept.
    pub started_seconds: Option<f64>,
    /// Packets there and back, if it is accounted.
    pub packets: Option<[u64; 2]>,
    /// Bytes of layer 3 there and back, if it is accounted.
    pub bytes: Option<[u64; 2]>,
}

/// What packets of a direction have in their headers when they arrive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tuple {
    /// Source address.
    pub source: String,
    /// Destination address.
    pub destination: String,
    /// Source port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// ICMP type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// ICMP code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    /// ICMP identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_id: Option<u16>,
    /// Conntrack zone.
    pub zone: u16,
}

/// A setting of connection tracking, under the kernel's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sysctl {
    /// Its name, such as `net.netfilter.nf_conntrack_udp_timeout`; the first two words may be missing where it is set.
    pub name: String,
    /// Its value; a switch is 0 or 1, a timeout has seconds.
    pub value: u64,
}

/// All settings of connection tracking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sysctls {
    /// In the order of their names.
    pub settings: Vec<Sysctl>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_addresses() {
        let has = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().has(address.parse().unwrap())
        };
        assert!(has("10.0.0.1", "10.0.0.1") && !has("10.0.0.1", "10.0.0.2"));
        assert!(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.0"));
        assert!(has("0.0.0.0/0", "1.2.3.4") && !has("0.0.0.0/0", "::"));
        assert!(has("2001:db8::/32", "2001:db8:1::") && !has("2001:db8::/32", "2001:db9::"));
        for bad in ["10.0.0.0/33", "x", "", "::/129", "10.0.0.0/"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_asked_for_is_what_arrives() {
        let filter = Filter {
            family: Some(6),
            protocol: Some("t c&p".into()),
            address: Some("2001:db8::/32".parse().unwrap()),
            port: Some(1),
            state: Some("TIME_WAIT".into()),
            mark: Some(2),
            zone: Some(3),
            nat: Some(true),
        };
        let query = FlowsQuery { filter, sort: Sort::Newest, limit: 7 };
        let uri: axum::http::Uri = query.target().parse().unwrap();
        let axum::extract::Query(params) =
            axum::extract::Query::<FlowsParams>::try_from_uri(&uri).unwrap();
        assert_eq!(FlowsQuery::from(params), query);
    }
}
