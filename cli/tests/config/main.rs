//! Bad configuration files, and what the user is told of each: the place, the problem, the remedy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod nodes;
mod ports;
mod rules;
mod whole;

use std::collections::{BTreeMap, BTreeSet};

use cli::config::{self, Loaded, Report, Source, host::PageSize};

/// A machine of four cores, of which the process may use three, with 256 MiB of hugepages free.
fn machine() -> config::Host {
    config::Host {
        online: BTreeSet::from([0, 1, 2, 3]),
        allowed: BTreeSet::from([1, 2, 3]),
        pages: vec![PageSize { kib: 2048, free: 128 }],
        interfaces: BTreeSet::from([
            "lo".into(),
            "eth0".into(),
            "eth1".into(),
            "sync0".into(),
            "tiny0".into(),
        ]),
        mtus: BTreeMap::from([("sync0".into(), 1500), ("tiny0".into(), 1400)]),
        pci: BTreeMap::from([
            ("0000:03:00.0".into(), Some("vfio-pci".into())),
            ("0000:03:00.1".into(), Some("ixgbe".into())),
            ("0000:03:00.2".into(), None),
        ]),
    }
}

fn parse(text: &str) -> Result<Loaded, Report> {
    config::parse(Source { path: "t.toml".into(), text: text.into() }, &machine())
}

/// The findings of a file, a line each.
fn findings(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(loaded) => loaded.report.lines().collect(),
        Err(report) => report.lines().collect(),
    }
}

fn one_finding(text: &str, expected: &str) {
    let found = findings(text);
    assert!(
        found.iter().any(|line| line.contains(expected)),
        "wanted {expected:?}\nfound {found:#?}\nin\n{text}"
    );
    assert_eq!(found.len(), 1, "one mistake, one finding; found {found:#?}\nin\n{text}");
}

/// A file that is right but for the lines given: those of `[dataplane]`, and those of the first port.
fn file(dataplane: &str, port: &str) -> String {
    format!(
        "[dataplane]\nhugepages = \"off\"\n{dataplane}\n[[port]]\nname = \"lan\"\ndevice = \"net_null0\"\n{port}\n[[port]]\nname = \"wan\"\ndevice = \"net_null1\"\n"
    )
}
