//! What a configuration says, each value with its place in the file where a later check may need to point at it.
//!
//! # Overview
//!
//! `read` turns text into a [`Config`], filling in defaults, and reports what is malformed in itself. What contradicts
//! something else in the file is found by `check`, what the machine cannot give by `host`.

use std::net::SocketAddr;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::DeTable;

use super::conntrack::{Conntrack, read_conntrack};
use super::device::Device;
use super::diagnostic::{Diagnostic, Span};
use super::ha::{Ha, read_ha};
use super::reader::{Findings, Reader};
use super::rules::{Nfnetlink, Rules, read_nfnetlink, read_rules};

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[dataplane]`.
    pub dataplane: Dataplane,
    /// Each `[[port]]`, in the order of the file: a port's place is its index.
    pub ports: Vec<Port>,
    /// `[conntrack]`.
    pub conntrack: Conntrack,
    /// `[nfnetlink]`.
    pub nfnetlink: Nfnetlink,
    /// `[rules]`.
    pub rules: Rules,
    /// `[ha]`; `None`: this node is alone.
    pub ha: Option<Ha>,
    /// `[api]`.
    pub api: Api,
    /// `[log]`.
    pub log: Log,
}

/// What workers do when there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Spin: the lowest latency, a whole core each.
    Poll,
    /// Spin, then pause, then sleep briefly.
    Adaptive,
}

/// Whether DPDK's memory comes from hugepages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hugepages {
    /// Where there are enough; else ordinary memory, with a warning.
    Auto,
    /// Always; without them the daemon does not start.
    Require,
    /// Never.
    Off,
}

/// `[dataplane]`.
#[derive(Clone, Debug)]
pub struct Dataplane {
    /// One worker for each; `None`: one worker on the lowest core that the process may use.
    pub cores: Option<Vec<Spanned<u32>>>,
    /// What workers do when idle.
    pub idle: Idle,
    /// Where memory comes from.
    pub hugepages: Spanned<Hugepages>,
    /// Memory for DPDK, in MiB.
    pub memory: Spanned<u32>,
    /// Frames in each socket's pool.
    pub mbufs: Spanned<u32>,
    /// Further arguments for the EAL, as they are.
    pub eal_args: Vec<Spanned<String>>,
    /// The 16 bits whose repetition is the symmetric RSS key; `None`: drawn at start.
    pub rss_key: Option<u16>,
    /// ICMP errors per second that all workers together may send.
    pub icmp_rate: u32,
}

/// How a port forwards.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Routed, with a twin in the kernel.
    Routed,
    /// Every frame goes to the named port, unchanged.
    Pair(Spanned<String>),
}

/// `[[port]]`.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its name, and its twin's.
    pub name: Spanned<String>,
    /// What DPDK opens.
    pub device: Spanned<Device>,
    /// Bytes of an IP packet, at most.
    pub mtu: Spanned<u32>,
    /// How it forwards.
    pub mode: Mode,
    /// Descriptors of each receive queue.
    pub rx_descriptors: Spanned<u32>,
    /// Descriptors of each transmit queue.
    pub tx_descriptors: Spanned<u32>,
    /// Where its section begins.
    pub span: Span,
}

/// `[api]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// The Unix socket's path.
    pub socket: PathBuf,
    /// A loopback address to listen on as well.
    pub listen: Option<SocketAddr>,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
    /// How a line looks.
    pub format: LogFormat,
}

/// Where the API's socket is when nobody says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/twinwall/api.sock";

/// The longest path of a Unix socket, in bytes (`sun_path` is 108 with its final zero; unix(7)).
pub const SOCKET_PATH_MAX: usize = 107;

/// Reads a configuration. `None` when the text is no TOML at all; else what could be read, with defaults for the rest, to
/// be used only if nothing was reported as an error.
pub(super) fn read(text: &str, findings: &Findings) -> Option<Config> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            findings.borrow_mut().push(Diagnostic::error(
                span,
                format!("this is not TOML: {}", error.message()),
                "docs/config.md shows the form; the sections are [dataplane], [[port]], [conntrack], [nfnetlink], [rules], [ha], [api], [log]",
            ));
        }
        return None;
    }
    // The document has no header to point at; findings about it go to the beginning.
    let mut root = Reader::new("the file", document.get_ref(), 0..0, findings);
    let empty = DeTable::default();
    let nowhere = |name| Reader::new(name, &empty, 0..0, findings);
    let dataplane = read_dataplane(
        root.table("dataplane", "[dataplane]").unwrap_or_else(|| nowhere("[dataplane]")),
    );
    let ports =
        root.tables("port", "[[port]]").into_iter().filter_map(read_port).collect::<Vec<_>>();
    if !document.get_ref().contains_key("port") {
        findings.borrow_mut().push(Diagnostic::whole_file(
            "there is no [[port]]: a router needs something to receive from",
            "add a section such as:\n[[port]]\nname = \"lan\"\ndevice = \"net_af_packet0,iface=eth1\"",
        ));
    }
    let conntrack = read_conntrack(
        root.table("conntrack", "[conntrack]").unwrap_or_else(|| nowhere("[conntrack]")),
    );
    let nfnetlink = read_nfnetlink(
        root.table("nfnetlink", "[nfnetlink]").unwrap_or_else(|| nowhere("[nfnetlink]")),
    );
    let rules = read_rules(root.table("rules", "[rules]").unwrap_or_else(|| nowhere("[rules]")));
    let ha = root.table("ha", "[ha]").and_then(read_ha);
    let api = read_api(root.table("api", "[api]").unwrap_or_else(|| nowhere("[api]")));
    let log = read_log(root.table("log", "[log]").unwrap_or_else(|| nowhere("[log]")));
    root.finish();
    Some(Config { dataplane, ports, conntrack, nfnetlink, rules, ha, api, log })
}

fn or<T>(value: Option<Spanned<T>>, default: T) -> Spanned<T> {
    value.unwrap_or_else(|| Spanned::new(0..0, default))
}

fn read_dataplane(mut table: Reader<'_, '_>) -> Dataplane {
    let dataplane = Dataplane {
        cores: table.integers("cores", 0..=1023).map(|cores| {
            if table.is_empty_list("cores") {
                table.report(Diagnostic::error(
                    cores.span(),
                    "`cores` in [dataplane] names no core, so there would be no worker",
                    "list the cores that may be used, such as [1]; or remove the line for one worker on the first core",
                ));
            }
            cores.into_inner()
        }),
        idle: table
            .choice("idle", &[("poll", Idle::Poll), ("adaptive", Idle::Adaptive)])
            .map_or(Idle::Adaptive, Spanned::into_inner),
        hugepages: or(
            table.choice(
                "hugepages",
                &[("auto", Hugepages::Auto), ("require", Hugepages::Require), ("off", Hugepages::Off)],
            ),
            Hugepages::Auto,
        ),
        memory: or(table.integer("memory", 64..=1 << 20), 512),
        mbufs: or(table.integer("mbufs", 512..=1 << 24), 16_384),
        eal_args: table.strings("eal_args").map(Spanned::into_inner).unwrap_or_default(),
        rss_key: read_rss_key(&mut table),
        icmp_rate: table.integer("icmp_rate", 0..=10_000_000).map_or(1000, Spanned::into_inner),
    };
    table.finish();
    dataplane
}

/// The key repeats 16 bits, so that both directions of a flow hash alike; if those 16 bits repeat within themselves, the
/// hash sees fewer bits of each address and spreads flows badly, down to not at all for 0000.
fn read_rss_key(table: &mut Reader<'_, '_>) -> Option<u16> {
    let text = table.string("rss_key")?;
    let parsed =
        if text.get_ref().len() == 4 { u16::from_str_radix(text.get_ref(), 16).ok() } else { None };
    let Some(key) = parsed else {
        table.report(Diagnostic::error(
            text.span(),
            format!(
                "`rss_key` in [dataplane] is {:?}, which is not 16 bits in hexadecimal",
                text.get_ref()
            ),
            "write four hexadecimal digits such as \"6d5a\", or remove the line for a random key",
        ));
        return None;
    };
    if [1, 2, 4, 8].iter().any(|by| key.rotate_left(*by) == key) {
        table.report(Diagnostic::error(
            text.span(),
            format!("`rss_key` in [dataplane] is {:?}, which repeats itself and would spread flows badly", text.get_ref()),
            "choose 16 bits with no shorter period, such as \"6d5a\", or remove the line for a random key",
        ));
        return None;
    }
    Some(key)
}

fn read_port(mut table: Reader<'_, '_>) -> Option<Port> {
    let span = table.span();
    let name = table.required_string("name", "\"lan\"");
    let device =
        table.required_string("device", "\"net_af_packet0,iface=eth1\"").and_then(|text| {
            match Device::parse(text.get_ref()) {
                Ok(device) => Some(Spanned::new(text.span(), device)),
                Err(found) => {
                    table.report(Diagnostic::error(text.span(), found.message, found.remedy));
                    None
                }
            }
        });
    let mtu = or(table.integer("mtu", 68..=9600), 1500);
    #[derive(Clone, Copy, PartialEq)]
    enum Word {
        Routed,
        Pair,
    }
    let word = table.choice("mode", &[("routed", Word::Routed), ("pair", Word::Pair)]);
    let pair = table.string("pair");
    let mode = match (word.as_ref().map(|word| *word.get_ref()), pair) {
        (Some(Word::Pair), Some(other)) => Mode::Pair(other),
        (Some(Word::Pair), None) => {
            table.report(Diagnostic::error(
                word.map_or(span.clone(), |word| word.span()),
                "a port of mode \"pair\" needs `pair`, the name of the other port",
                "add a line such as: pair = \"right\"",
            ));
            Mode::Routed
        }
        (_, Some(other)) => {
            table.report(Diagnostic::error(
                other.span(),
                "`pair` has no meaning for a routed port",
                "add mode = \"pair\", or remove this line",
            ));
            Mode::Routed
        }
        (_, None) => Mode::Routed,
    };
    let rx_descriptors = or(table.integer("rx_descriptors", 32..=32_768), 1024);
    let tx_descriptors = or(table.integer("tx_descriptors", 32..=32_768), 1024);
    table.finish();
    Some(Port { name: name?, device: device?, mtu, mode, rx_descriptors, tx_descriptors, span })
}

fn read_api(mut table: Reader<'_, '_>) -> Api {
    let socket = table.string("socket").and_then(|path| {
        let text = path.get_ref();
        if text.starts_with('/') && text.len() <= SOCKET_PATH_MAX && !text.ends_with('/') {
            return Some(PathBuf::from(text));
        }
        table.report(Diagnostic::error(
            path.span(),
            format!("`socket` in [api] cannot be {text:?}"),
            format!("write an absolute path of a file, of at most {SOCKET_PATH_MAX} bytes, such as \"{DEFAULT_SOCKET}\""),
        ));
        None
    });
    let listen = table.string("listen").and_then(|text| {
        let remedy = "write a loopback address with a port, such as \"127.0.0.1:9090\" or \"[::1]:9090\"";
        match text.get_ref().parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Some(address),
            Ok(address) => {
                table.report(Diagnostic::error(
                    text.span(),
                    format!("`listen` in [api] is {address}, which others can reach: the API asks for no password"),
                    format!("{remedy}; put a proxy that authenticates in front for access from elsewhere"),
                ));
                None
            }
            Err(_) => {
                table.report(Diagnostic::error(
                    text.span(),
                    format!("`listen` in [api] is {:?}, which is no address with a port", text.get_ref()),
                    remedy,
                ));
                None
            }
        }
    });
    table.finish();
    Api { socket: socket.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET)), listen }
}

fn read_log(mut table: Reader<'_, '_>) -> Log {
    const LEVELS: [(&str, &str); 5] = [
        ("error", "error"),
        ("warn", "warn"),
        ("info", "info"),
        ("debug", "debug"),
        ("trace", "trace"),
    ];
    let log = Log {
        level: table.choice("level", &LEVELS).map_or("info", Spanned::into_inner),
        format: table
            .choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)])
            .map_or(LogFormat::Text, Spanned::into_inner),
    };
    table.finish();
    log
}
