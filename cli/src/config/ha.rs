//! `[ha]`: which node of a cluster this is, over which links the nodes talk, and when one takes over from another.
//!
//! # Overview
//!
//! `read_ha` reads the section with its `[[ha.link]]` and `[ha.defer]`; `check` finds what contradicts itself,
//! `resolve` what the machine has not got, and reads the key file on the way.

use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sync::seal::Keyring;
use toml::Spanned;

use super::diagnostic::{Diagnostic, Span};
use super::host::Host;
use super::model::{Config, Mode};
use super::reader::{Reader, nearest};

/// Where epoch and terms are kept when nobody says otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/twinwall/ha.state";
/// The UDP port when nobody says otherwise.
pub const DEFAULT_PORT: u32 = 7701;
/// What an interface must carry: a datagram of 1,400 bytes of records with its header, seal, UDP and IPv6.
pub const LEAST_MTU: u32 = 1400 + 32 + 16 + 8 + 40;
/// The longest key file that is read.
const KEY_FILE_MAX: u64 = 64 * 1024;

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HaMode {
    /// Active or standby.
    Pair,
    /// It tracks mirrored traffic, and forwards nothing.
    Passive,
}

/// Who says that a node becomes active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// keepalived, or any other arbiter.
    External,
    /// The node itself, when nothing is heard of the owner.
    Silence,
}

/// `[[ha.link]]`.
#[derive(Clone, Debug)]
pub struct Link {
    /// The kernel's interface.
    pub interface: Spanned<String>,
    /// Whom datagrams go to.
    pub target: Target,
    /// The UDP port.
    pub port: u16,
    /// Where its section begins.
    pub span: Span,
}

/// Whom a link's datagrams go to.
#[derive(Clone, Debug)]
pub enum Target {
    /// All who listen to a multicast group.
    Group(Spanned<IpAddr>),
    /// These.
    Peers(Vec<Spanned<IpAddr>>),
}

/// `[ha.defer]`: first packets that wait until others have their flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defer {
    /// The bit among a flow's labels that asks for it.
    pub label: u8,
    /// How many others must have the flow.
    pub acks: Spanned<u32>,
    /// Whether a packet whose flow they do not get is dropped.
    pub strict: bool,
}

/// `[ha]`.
#[derive(Clone, Debug)]
pub struct Ha {
    /// This node: 0 to 15.
    pub node: u8,
    /// How many nodes share the ports of NAT.
    pub nodes: Spanned<u32>,
    /// Tells clusters on one network apart.
    pub cluster: u16,
    /// The unit of ownership.
    pub group: u8,
    /// What the node is for.
    pub mode: HaMode,
    /// The file of keys; `None`: nothing is authenticated.
    pub key: Option<Spanned<PathBuf>>,
    /// Where epoch and terms are kept.
    pub state: Spanned<PathBuf>,
    /// Who says that it becomes active.
    pub takeover: Spanned<Takeover>,
    /// With [`Takeover::Silence`]: after how many milliseconds without a word.
    pub silence_ms: Spanned<u32>,
    /// How many milliseconds workers forward after the last word of the thread that talks to the others.
    pub lease_ms: Spanned<u32>,
    /// How many microseconds a record waits for others at most.
    pub flush_us: u32,
    /// The real-time priority of the thread that talks to the others; 0: none.
    pub rt_priority: u8,
    /// Mbit/s on each link at most.
    pub bandwidth_mbit: u32,
    /// For how many seconds an unsynchronised node refuses to become active while another lives; 0: never.
    pub promote_unsynchronised_s: u32,
    /// First packets that wait.
    pub defer: Option<Defer>,
    /// The links between the nodes.
    pub links: Vec<Link>,
    /// Where the section begins.
    pub span: Span,
}

/// Reads `[ha]`.
pub(super) fn read_ha(mut table: Reader<'_, '_>) -> Option<Ha> {
    let or =
        |value: Option<Spanned<u32>>, default| value.unwrap_or_else(|| Spanned::new(0..0, default));
    let number = |value: Option<Spanned<u32>>, default| value.map_or(default, Spanned::into_inner);
    let span = table.span();
    let node = table.required_integer("node", 0..=15, "1");
    let nodes = or(table.integer("nodes", 1..=16), 2);
    let cluster = number(table.integer("cluster", 0..=65_535), 0);
    let group = number(table.integer("group", 0..=255), 0);
    let mode = table.choice("mode", &[("pair", HaMode::Pair), ("passive", HaMode::Passive)]);
    let mode = mode.map_or(HaMode::Pair, Spanned::into_inner);
    let key = read_key(&mut table, &span);
    let state = file(&mut table, "state", DEFAULT_STATE);
    let words = [("external", Takeover::External), ("silence", Takeover::Silence)];
    let takeover = table.choice("takeover", &words);
    let takeover = takeover.unwrap_or_else(|| Spanned::new(0..0, Takeover::External));
    let silence_ms = or(table.integer("silence_ms", 20..=60_000), 100);
    let lease_ms = or(table.integer("lease_ms", 20..=60_000), 80);
    let flush_us = number(table.integer("flush_us", 10..=10_000), 100);
    let rt_priority = number(table.integer("rt_priority", 0..=99), 10);
    let bandwidth_mbit = number(table.integer("bandwidth_mbit", 1..=400_000), 1000);
    let promote_unsynchronised_s =
        number(table.integer("promote_unsynchronised_s", 0..=86_400), 10);
    let defer = table.table("defer", "[ha.defer]").and_then(read_defer);
    let links: Vec<Option<Link>> =
        table.tables("link", "[[ha.link]]").into_iter().map(read_link).collect();
    if links.is_empty() {
        table.report(Diagnostic::error(
            span.clone(),
            "[ha] has no [[ha.link]]: the nodes need a network between them",
            "add a section such as:\n[[ha.link]]\ninterface = \"eth3\"\ngroup = \"239.255.77.1\"",
        ));
    }
    table.finish();
    Some(Ha {
        node: u8::try_from(*node?.get_ref()).ok()?,
        nodes,
        cluster: u16::try_from(cluster).ok()?,
        group: u8::try_from(group).ok()?,
        mode,
        key,
        state: state.unwrap_or_else(|| Spanned::new(0..0, PathBuf::from(DEFAULT_STATE))),
        takeover,
        silence_ms,
        lease_ms,
        flush_us,
        rt_priority: u8::try_from(rt_priority).unwrap_or(0),
        bandwidth_mbit,
        promote_unsynchronised_s,
        defer,
        links: links.into_iter().flatten().collect(),
        span,
    })
}

/// One of `key` and `unauthenticated`.
fn read_key(table: &mut Reader<'_, '_>, span: &Span) -> Option<Spanned<PathBuf>> {
    let has_key = table.has("key");
    let key = file(table, "key", "/etc/twinwall/ha.key");
    let unauthenticated = table.boolean("unauthenticated");
    let open = unauthenticated.as_ref().is_some_and(|word| *word.get_ref());
    match (key, unauthenticated) {
        (Some(key), Some(word)) if open => {
            table.report(
                Diagnostic::error(
                    word.span(),
                    "`unauthenticated` in [ha] contradicts `key`",
                    "remove this line",
                )
                .with_related(key.span(), "the key"),
            );
            None
        }
        (None, _) if !open && !has_key => {
            table.report(Diagnostic::error(
                span.clone(),
                "[ha] has no `key`: whoever reaches the link could say what flows there are",
                "add key = \"/etc/twinwall/ha.key\", a file of mode 0600 made with: (umask 077; echo \"1 $(openssl rand -hex 32)\" > /etc/twinwall/ha.key); \
                 or write unauthenticated = true where the link is a cable",
            ));
            None
        }
        (key, _) => key,
    }
}

fn read_defer(mut table: Reader<'_, '_>) -> Option<Defer> {
    let label = table.required_integer("label", 0..=127, "127");
    let acks = table.integer("acks", 1..=15).unwrap_or_else(|| Spanned::new(0..0, 1));
    let strict = table.boolean("strict").is_some_and(Spanned::into_inner);
    table.finish();
    Some(Defer { label: u8::try_from(*label?.get_ref()).ok()?, acks, strict })
}

fn read_link(mut table: Reader<'_, '_>) -> Option<Link> {
    let span = table.span();
    let interface = table.required_string("interface", "\"eth3\"");
    let said = table.has("group") || table.has("peers");
    let group = table.string("group");
    let peers = table.strings("peers");
    let port = table.integer("port", 1..=65_535).map_or(DEFAULT_PORT, Spanned::into_inner);
    let target = match (group, peers) {
        (Some(group), None) => read_group(&table, &group).map(Target::Group),
        (None, Some(peers)) => {
            if table.is_empty_list("peers") {
                table.report(Diagnostic::error(
                    peers.span(),
                    "`peers` in [[ha.link]] names nobody",
                    "list the addresses of the other nodes on this link, such as [\"10.9.0.2\"]",
                ));
            }
            let peers = peers.into_inner();
            let peers: Option<Vec<_>> = peers.iter().map(|peer| read_peer(&table, peer)).collect();
            if let Some(mixed) = peers.as_deref().and_then(other_family) {
                table.report(Diagnostic::error(
                    mixed.span(),
                    "`peers` of [[ha.link]] has IPv4 and IPv6 addresses",
                    "write those of one family: they are the same nodes on the same link",
                ));
            }
            peers.map(Target::Peers)
        }
        (Some(group), Some(peers)) => {
            table.report(
                Diagnostic::error(
                    peers.span(),
                    "`peers` and `group` in [[ha.link]] are two ways to reach the other nodes",
                    "remove one: `group` where the link carries multicast, else `peers`",
                )
                .with_related(group.span(), "the other one"),
            );
            None
        }
        // Of another type: that is said already.
        (None, None) if said => None,
        (None, None) => {
            table.report(Diagnostic::error(
                span.clone(),
                "[[ha.link]] has neither `group` nor `peers`",
                "add a line such as: group = \"239.255.77.1\"",
            ));
            None
        }
    };
    table.finish();
    Some(Link { interface: interface?, target: target?, port: u16::try_from(port).ok()?, span })
}

/// The first address of another family than the first.
fn other_family(peers: &[Spanned<IpAddr>]) -> Option<&Spanned<IpAddr>> {
    let first = peers.first()?.get_ref().is_ipv4();
    peers.iter().find(|peer| peer.get_ref().is_ipv4() != first)
}

fn read_group(table: &Reader<'_, '_>, text: &Spanned<String>) -> Option<Spanned<IpAddr>> {
    let remedy = "write a multicast address, such as \"239.255.77.1\" or \"ff02::7701\"";
    match text.get_ref().parse::<IpAddr>() {
        // Interface-local multicast (ff01::/16) leaves no machine (RFC 4291, 2.7).
        Ok(IpAddr::V6(addr)) if addr.is_multicast() && addr.segments()[0] & 0xf <= 1 => {
            table.report(Diagnostic::error(
                text.span(),
                format!("`group` in [[ha.link]] is {addr}, which leaves no machine"),
                remedy,
            ));
            None
        }
        Ok(addr) if addr.is_multicast() => Some(Spanned::new(text.span(), addr)),
        Ok(addr) => {
            table.report(Diagnostic::error(
                text.span(),
                format!("`group` in [[ha.link]] is {addr}, which is no multicast address"),
                format!("{remedy}; or peers = [\"{addr}\"] if it is the other node's"),
            ));
            None
        }
        Err(_) => {
            table.report(Diagnostic::error(
                text.span(),
                format!("`group` in [[ha.link]] is {:?}, which is no address", text.get_ref()),
                remedy,
            ));
            None
        }
    }
}

fn read_peer(table: &Reader<'_, '_>, text: &Spanned<String>) -> Option<Spanned<IpAddr>> {
    match text.get_ref().parse::<IpAddr>() {
        Ok(addr) if !addr.is_multicast() && !addr.is_unspecified() => {
            Some(Spanned::new(text.span(), addr))
        }
        _ => {
            table.report(Diagnostic::error(
                text.span(),
                format!("{:?} in `peers` of [[ha.link]] is no node's address", text.get_ref()),
                "write the other node's address on this link, such as \"10.9.0.2\" or \"fe80::2\"",
            ));
            None
        }
    }
}

fn file(table: &mut Reader<'_, '_>, key: &'static str, example: &str) -> Option<Spanned<PathBuf>> {
    let path = table.string(key)?;
    let text = path.get_ref();
    if text.starts_with('/') && !text.ends_with('/') && !text.contains('\0') {
        return Some(Spanned::new(path.span(), PathBuf::from(text)));
    }
    table.report(Diagnostic::error(
        path.span(),
        format!("`{key}` in [ha] cannot be {text:?}"),
        format!("write an absolute path of a file, such as \"{example}\""),
    ));
    None
}

/// What contradicts itself.
pub(super) fn check(config: &Config, findings: &mut Vec<Diagnostic>) {
    let Some(ha) = &config.ha else { return };
    timing(ha, findings);
    let cores = config.dataplane.cores.as_deref().unwrap_or_default();
    if let Some(core) = cores.get(sync::ids::LANES) {
        findings.push(Diagnostic::error(
            core.span(),
            format!("a node of a cluster has at most {} workers", sync::ids::LANES),
            "list fewer cores",
        ));
    }
    if let Some(defer) = &ha.defer
        && defer.acks.get_ref() >= ha.nodes.get_ref()
    {
        findings.push(Diagnostic::error(
            defer.acks.span(),
            format!(
                "{} other nodes can never have a flow: there are {} nodes in all",
                defer.acks.get_ref(),
                ha.nodes.get_ref()
            ),
            "write a smaller number for acks, or a larger one for `nodes` in [ha]",
        ));
    }
    for (n, link) in ha.links.iter().enumerate() {
        own_interface(config, link, findings);
        let same = |other: &&Link| {
            other.interface.get_ref() == link.interface.get_ref() && other.port == link.port
        };
        if let Some(first) = ha.links.iter().take(n).find(same) {
            findings.push(
                Diagnostic::error(
                    link.interface.span(),
                    format!(
                        "an earlier link has interface {:?} and port {}, too",
                        link.interface.get_ref(),
                        link.port
                    ),
                    "name an interface of another network, so that one may fail",
                )
                .with_related(first.interface.span(), "used here"),
            );
        }
    }
}

fn timing(ha: &Ha, findings: &mut Vec<Diagnostic>) {
    let place = |span: Span| if span.is_empty() { ha.span.clone() } else { span };
    if *ha.takeover.get_ref() != Takeover::Silence {
        if !ha.silence_ms.span().is_empty() {
            findings.push(Diagnostic::error(
                ha.silence_ms.span(),
                "`silence_ms` in [ha] has no meaning without takeover = \"silence\"",
                "add takeover = \"silence\", or remove this line",
            ));
        }
        return;
    }
    if ha.mode == HaMode::Passive {
        findings.push(Diagnostic::error(
            ha.takeover.span(),
            "a node of mode \"passive\" forwards nothing, so it cannot take over",
            "remove this line, or mode = \"passive\"",
        ));
    }
    if ha.lease_ms.get_ref() >= ha.silence_ms.get_ref() {
        findings.push(Diagnostic::error(
            place(ha.lease_ms.span()),
            format!(
                "workers go on for {} ms (`lease_ms`) after their node fell silent, but another takes over after {} (`silence_ms`): both would forward",
                ha.lease_ms.get_ref(),
                ha.silence_ms.get_ref()
            ),
            "write a lease_ms that is less than silence_ms",
        ));
    }
}

/// The nodes talk through the kernel: through an interface that no port has.
fn own_interface(config: &Config, link: &Link, findings: &mut Vec<Diagnostic>) {
    let name = link.interface.get_ref().as_str();
    for port in &config.ports {
        let what = if matches!(port.mode, Mode::Routed) && port.name.get_ref() == name {
            "the twin of a port"
        } else if port.device.get_ref().kernel_interface() == Some(name) {
            "the interface below a port"
        } else {
            continue;
        };
        findings.push(
            Diagnostic::error(
                link.interface.span(),
                format!("{name:?} is {what}: what the nodes say would depend on what it is about"),
                "name an interface that the kernel alone has",
            )
            .with_related(port.name.span(), "this port"),
        );
    }
}

/// What the machine has not got; what the key file has.
pub(super) fn resolve(config: &Config, host: &Host, findings: &mut Vec<Diagnostic>) -> Keyring {
    let Some(ha) = &config.ha else { return Keyring::unauthenticated() };
    for link in &ha.links {
        interface(link, host, findings);
    }
    let state = ha.state.get_ref();
    // The folder is made where it is not there.
    let above = state.ancestors().skip(1).find(|folder| folder.exists());
    let above = above.unwrap_or(Path::new("/"));
    let writable =
        rustix::fs::access(above, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    let folder = above.is_dir();
    if state.is_dir() || !folder || writable.is_err() {
        let why = match writable {
            _ if state.is_dir() => "it is a folder".to_owned(),
            _ if !folder => format!("{} is no folder", above.display()),
            Err(error) => format!("{}: {error}", above.display()),
            Ok(()) => String::new(),
        };
        findings.push(Diagnostic::error(
            ha.state.span(),
            format!("the state {} cannot be kept: {why}", state.display()),
            "name a file in a folder on a disk of this machine that this user may write to",
        ));
    }
    let Some(key) = &ha.key else { return Keyring::unauthenticated() };
    match read_keys(key.get_ref()) {
        Ok(keys) => keys,
        Err((message, remedy)) => {
            findings.push(Diagnostic::error(key.span(), message, remedy));
            Keyring::unauthenticated()
        }
    }
}

fn interface(link: &Link, host: &Host, findings: &mut Vec<Diagnostic>) {
    let name = link.interface.get_ref();
    if !host.interfaces.contains(name) {
        let near = nearest(name, host.interfaces.iter().map(String::as_str));
        findings.push(Diagnostic::error(
            link.interface.span(),
            format!("there is no interface {name:?}"),
            near.map_or_else(
                || "`ip -br link` lists the interfaces of this network namespace".to_owned(),
                |near| format!("did you mean {near:?}? `ip -br link` lists all"),
            ),
        ));
    } else if let Some(mtu) = host.mtus.get(name).filter(|mtu| **mtu < LEAST_MTU) {
        findings.push(Diagnostic::error(
            link.interface.span(),
            format!("interface {name:?} has an MTU of {mtu}, but datagrams of {LEAST_MTU} bytes are sent there"),
            format!("ip link set {name} mtu 1500"),
        ));
    }
}

/// Reads a key file, if it is for nobody else to read.
fn read_keys(path: &Path) -> Result<Keyring, (String, String)> {
    let shown = path.display();
    let make = format!(
        "make it with: (umask 077; echo \"1 $(openssl rand -hex 32)\" > {shown}), and copy it to the other nodes"
    );
    let unread = |error: std::io::Error| {
        (format!("the key file {shown} cannot be read: {error}"), make.clone())
    };
    let file = std::fs::File::open(path).map_err(unread)?;
    let metadata = file.metadata().map_err(unread)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode != 0o600 {
        return Err((
            format!("the key file {shown} has mode {mode:04o}, so others might read or change it"),
            format!("chmod 0600 {shown}"),
        ));
    }
    let user = rustix::process::geteuid().as_raw();
    if ![0, user].contains(&metadata.uid()) {
        return Err((
            format!("the key file {shown} belongs to user {}", metadata.uid()),
            format!("chown {user} {shown}"),
        ));
    }
    let mut text = String::new();
    file.take(KEY_FILE_MAX).read_to_string(&mut text).map_err(unread)?;
    // What a line has is not repeated: it may be most of a key.
    Keyring::parse(&text).map_err(|error| (format!("the key file {shown} is wrong: {error}"), make))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(mode: u32, text: &str) -> Result<Keyring, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ha.key");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        read_keys(&path).map_err(|(message, _)| message)
    }

    #[test]
    fn a_key_file_is_read_whole_or_not_at_all() {
        let (one, two) = ("01".repeat(32), "Fe".repeat(32));
        let keys = written(0o600, &format!("# old\n1 {one}\n\n200  {two}\n")).unwrap();
        assert_eq!(keys.sending(), Some(200), "the last one sends");
        for (mode, text, said) in [
            (0o640, format!("1 {one}"), "has mode 0640"),
            (0o644, format!("1 {one}"), "has mode 0644"),
            (0o600, String::new(), "there is no key in it"),
            (0o600, format!("0 {one}"), "wrong: line 1: the ID must be"),
            (0o600, format!("1 {one}\n2 {one}0"), "wrong: line 2: the key has 65"),
        ] {
            let found = written(mode, &text).unwrap_err();
            assert!(found.contains(said), "{found}: wanted {said}");
            assert!(!found.contains(&one[..8]), "a key is not shown: {found}");
        }
    }
}
