//! SIGHUP: what can change in a running daemon changes, the rest is named.
//!
//! # Overview
//!
//! Both configurations, the one that runs and the new one, are laid flat: a text for each key. The differences are few;
//! for each the log says whether it took effect or waits for a restart. A new file with an error changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use conntrack::settings;
use sync::seal::Keyring;

use crate::api::flows::Sysctl;
use crate::config::conntrack::MAX;
use crate::config::ha::{Defer, Ha, Link, Target};
use crate::config::host::PageSize;
use crate::config::{self, Config, Host, Idle, Loaded, LogFormat, Mode, Rules, Severity};

use super::engine::Engine;
use super::logging::Logging;
use super::snapshots::Live;

/// What the keys of `[conntrack.sysctl]` begin with here.
const SYSCTL: &str = "conntrack.sysctl.";

/// Each key with its value as text.
type Flat = BTreeMap<String, String>;

/// What runs, to compare a new file with.
pub(super) struct Running {
    path: PathBuf,
    logging: Logging,
    flat: Flat,
    /// Those of the key file, which the configuration only names.
    keys: Keyring,
}

impl Running {
    /// What `loaded`, read from `path`, started.
    pub(super) fn new(path: &Path, loaded: &Loaded, logging: Logging) -> Self {
        let (flat, keys) = (flatten(&loaded.config), loaded.resolved.keys.clone());
        Self { path: path.to_owned(), logging, flat, keys }
    }

    /// Reads the file again and does what can be done.
    pub(super) fn reload(&mut self, engine: &Engine, live: &Arc<Live>) {
        // What hugepages there are was decided at the start, and this daemon may have them all.
        let host = Host { pages: vec![PageSize { kib: 1 << 20, free: 1 << 20 }], ..Host::probe() };
        let loaded = match config::load(&self.path, &host) {
            Ok(loaded) => loaded,
            Err(report) => {
                for finding in &report.diagnostics {
                    match finding.severity {
                        Severity::Error => tracing::error!("{}", report.line(finding)),
                        Severity::Warning => tracing::warn!("{}", report.line(finding)),
                    }
                }
                tracing::error!(
                    errors = report.errors(),
                    "the new configuration is wrong: nothing was changed"
                );
                return;
            }
        };
        loaded.report.lines().for_each(|line| tracing::warn!("{line}"));
        let config = &loaded.config;
        let new = flatten(config);
        let differences = differences(&self.flat, &new);
        // As the unit of nftables does: what the file says is loaded, in one transaction. A bad one changes nothing.
        let ruleset = match (&config.rules, engine.rules()) {
            (Rules::File(file), Some(rules)) => rules
                .load(file.get_ref())
                .inspect_err(|error| {
                    tracing::error!("the ruleset was not loaded, the old rules stay: {error}");
                })
                .is_ok(),
            _ => false,
        };
        let had = self.keys.clone();
        let keys = self.rekey(engine, &loaded.resolved.keys);
        if differences.is_empty() && keys && had == self.keys {
            tracing::info!("configuration read again: nothing changed");
        }
        for (key, from, to) in differences {
            let outcome: Result<(), String> = match key.as_str() {
                "log.level" if self.logging.set_level(config.log.level) => Ok(()),
                "log.level" => Err("RUST_LOG decides".into()),
                "dataplane.icmp_rate"
                    if engine.shared.control.set_icmp_rate(config.dataplane.icmp_rate) =>
                {
                    live.set_icmp_rate(config.dataplane.icmp_rate);
                    Ok(())
                }
                "dataplane.icmp_rate" => Err("a worker does not answer".into()),
                "rules.ruleset" if ruleset => Ok(()),
                "ha.key" if keys => Ok(()),
                key if key.starts_with(SYSCTL) => set(engine, key, &to),
                _ => Err("it takes effect at the next start".into()),
            };
            match outcome {
                Ok(()) => {
                    tracing::info!(key, from, to, "changed: it took effect");
                    self.flat.insert(key, to);
                }
                Err(why) => tracing::warn!(key, from, to, "changed: it needs a restart ({why})"),
            }
        }
    }

    /// Has the node go on with the keys that the key file has now. Whether these are its keys from now on.
    fn rekey(&mut self, engine: &Engine, keys: &Keyring) -> bool {
        let Some(ha) = &engine.shared.ha else { return *keys == self.keys };
        if *keys == self.keys {
            return true;
        }
        match ha.rekey(keys.clone()) {
            Ok(()) => {
                let sending = keys.sending().unwrap_or_default();
                tracing::info!(accepted = ?keys.ids(), sending, "the keys changed: it took effect");
                self.keys = keys.clone();
                true
            }
            Err(error) => {
                tracing::error!("the new keys were not taken, the old ones stay: {error}");
                false
            }
        }
    }
}

/// Sets what `[conntrack.sysctl]` has under a key of ours.
fn set(engine: &Engine, key: &str, value: &str) -> Result<(), String> {
    let name = key.strip_prefix(SYSCTL).unwrap_or(key).to_owned();
    let value = value.parse().map_err(|_| "it is no number".to_owned())?;
    engine.shared.flows.set_sysctl(&Sysctl { name, value }).map(drop)
}

/// The keys that differ, with both values; one that is absent is `-`.
fn differences(old: &Flat, new: &Flat) -> Vec<(String, String, String)> {
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let text = |flat: &Flat, key| flat.get(key).map_or("-", String::as_str).to_owned();
    keys.into_iter()
        .map(|key| (key.clone(), text(old, key), text(new, key)))
        .filter(|(_, from, to)| from != to)
        .collect()
}

/// A configuration as key and value. Destructured in full, so that a new key cannot be forgotten here.
fn flatten(config: &Config) -> Flat {
    let mut flat = Flat::new();
    let mut put = |key: String, value: String| {
        flat.insert(key, value);
    };
    let Config { dataplane, ports, conntrack, nfnetlink, rules, ha, api, log } = config;
    let config::Dataplane { cores, idle, hugepages, memory, mbufs, eal_args, rss_key, icmp_rate } =
        dataplane;
    let cores: Option<Vec<u32>> =
        cores.as_ref().map(|cores| cores.iter().map(|core| *core.get_ref()).collect());
    let args: Vec<&String> = eal_args.iter().map(toml::Spanned::get_ref).collect();
    let idle = match idle {
        Idle::Poll => "poll",
        Idle::Adaptive => "adaptive",
    };
    put("dataplane.cores".into(), cores.map_or("default".into(), |cores| format!("{cores:?}")));
    put("dataplane.idle".into(), idle.into());
    put("dataplane.hugepages".into(), format!("{:?}", hugepages.get_ref()).to_lowercase());
    put("dataplane.memory".into(), memory.get_ref().to_string());
    put("dataplane.mbufs".into(), mbufs.get_ref().to_string());
    put("dataplane.eal_args".into(), format!("{args:?}"));
    put("dataplane.rss_key".into(), rss_key.map_or("random".into(), |key| format!("{key:04x}")));
    put("dataplane.icmp_rate".into(), icmp_rate.to_string());
    let names: Vec<&String> = ports.iter().map(|port| port.name.get_ref()).collect();
    put("port".into(), format!("{names:?}"));
    for port in ports {
        let config::Port { name, device, mtu, mode, rx_descriptors, tx_descriptors, span: _ } =
            port;
        let key = |what: &str| format!("port.{}.{what}", name.get_ref());
        put(key("device"), device.get_ref().text.clone());
        put(key("mtu"), mtu.get_ref().to_string());
        let mode = match mode {
            Mode::Routed => "routed".to_owned(),
            Mode::Pair(other) => format!("pair with {}", other.get_ref()),
        };
        put(key("mode"), mode);
        put(key("rx_descriptors"), rx_descriptors.get_ref().to_string());
        put(key("tx_descriptors"), tx_descriptors.get_ref().to_string());
    }
    let config::Conntrack { max, tracking, settings: values } = conntrack;
    put("conntrack.max".into(), max.get_ref().to_string());
    put("conntrack.tracking".into(), tracking.word().into());
    for name in settings::names().filter(|name| *name != MAX) {
        put(format!("{SYSCTL}{name}"), values.get(name).unwrap_or_default().to_string());
    }
    let config::Nfnetlink { socket, group } = nfnetlink;
    put("nfnetlink.socket".into(), socket.get_ref().display().to_string());
    let group = group.as_ref().map_or("none", |group| group.get_ref().as_str());
    put("nfnetlink.group".into(), group.into());
    let (ruleset, state) = match rules {
        Rules::Empty => (None, None),
        Rules::File(path) => (Some(path), None),
        Rules::Last(path) => (None, Some(path)),
    };
    let path = |path: Option<&toml::Spanned<PathBuf>>| {
        path.map_or("none".into(), |path| path.get_ref().display().to_string())
    };
    put("rules.ruleset".into(), path(ruleset));
    put("rules.state".into(), path(state));
    if let Some(ha) = ha {
        flatten_ha(ha, &mut put);
    }
    let config::Api { socket, listen } = api;
    put("api.socket".into(), socket.display().to_string());
    put("api.listen".into(), listen.map_or("none".into(), |address| address.to_string()));
    let config::Log { level, format } = log;
    let format = match format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    put("log.level".into(), (*level).into());
    put("log.format".into(), format.into());
    flat
}

/// `[ha]` likewise.
fn flatten_ha(ha: &Ha, put: &mut impl FnMut(String, String)) {
    let Ha {
        node,
        nodes,
        cluster,
        group,
        mode,
        key,
        state,
        takeover,
        silence_ms,
        lease_ms,
        flush_us,
        rt_priority,
        bandwidth_mbit,
        promote_unsynchronised_s,
        defer,
        links,
        span: _,
    } = ha;
    put("ha.node".into(), node.to_string());
    put("ha.nodes".into(), nodes.get_ref().to_string());
    put("ha.cluster".into(), cluster.to_string());
    put("ha.group".into(), group.to_string());
    put("ha.mode".into(), format!("{mode:?}").to_lowercase());
    let key = key.as_ref().map(|path| path.get_ref().display().to_string());
    put("ha.key".into(), key.unwrap_or_else(|| "none".into()));
    put("ha.state".into(), state.get_ref().display().to_string());
    put("ha.takeover".into(), format!("{:?}", takeover.get_ref()).to_lowercase());
    put("ha.silence_ms".into(), silence_ms.get_ref().to_string());
    put("ha.lease_ms".into(), lease_ms.get_ref().to_string());
    put("ha.flush_us".into(), flush_us.to_string());
    put("ha.rt_priority".into(), rt_priority.to_string());
    put("ha.bandwidth_mbit".into(), bandwidth_mbit.to_string());
    put("ha.promote_unsynchronised_s".into(), promote_unsynchronised_s.to_string());
    if let Some(Defer { label, acks, strict }) = defer {
        put("ha.defer.label".into(), label.to_string());
        put("ha.defer.acks".into(), acks.get_ref().to_string());
        put("ha.defer.strict".into(), strict.to_string());
    }
    for (n, Link { interface, target, port, span: _ }) in links.iter().enumerate() {
        let target = match target {
            Target::Group(group) => group.get_ref().to_string(),
            Target::Peers(peers) => {
                peers.iter().map(|peer| peer.get_ref().to_string()).collect::<Vec<_>>().join(" ")
            }
        };
        put(format!("ha.link.{n}"), format!("{} {target} port {port}", interface.get_ref()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    fn flat(text: &str) -> Flat {
        let host = Host { online: [0].into(), allowed: [0].into(), ..Host::default() };
        let text = format!("[dataplane]\nhugepages = \"off\"\n{text}");
        flatten(&config::parse(Source { path: "t".into(), text }, &host).unwrap().config)
    }

    #[test]
    fn each_changed_key_is_named_once() {
        let port = "[[port]]\nname = \"lan\"\ndevice = \"net_null0\"\n";
        let old = flat(port);
        assert!(differences(&old, &old).is_empty());
        let new = flat(&format!("icmp_rate = 5\n{port}mtu = 9000\n[log]\nlevel = \"debug\"\n"));
        let named: Vec<String> = differences(&old, &new)
            .into_iter()
            .map(|(key, from, to)| format!("{key}: {from} -> {to}"))
            .collect();
        assert_eq!(
            named,
            [
                "dataplane.icmp_rate: 1000 -> 5",
                "log.level: info -> debug",
                "port.lan.mtu: 1500 -> 9000"
            ]
        );
    }

    #[test]
    fn a_port_more_is_named_with_all_it_has() {
        let one = "[[port]]\nname = \"a\"\ndevice = \"net_null0\"\n";
        let two = "[[port]]\nname = \"b\"\ndevice = \"net_null1\"\n";
        let keys: Vec<String> = differences(&flat(one), &flat(&format!("{one}{two}")))
            .into_iter()
            .map(|(key, ..)| key)
            .collect();
        assert!(
            keys.contains(&"port".to_owned()) && keys.contains(&"port.b.device".to_owned()),
            "{keys:?}"
        );
        assert!(!keys.iter().any(|key| key.starts_with("port.a.")), "{keys:?}");
    }
}
