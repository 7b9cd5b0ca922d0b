//! Files as a whole: all problems at once, defaults, the example, the documentation.

use cli::config::{self, Hugepages, Loaded};

use super::{findings, machine, parse};

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_file() {
    let text = "[dataplane]\nhugepages = \"off\"\nidle = 7\ncors = [1]\n[[port]]\nname = \"this-name-is-too-long\"\ndevice = \"eth0\"\n[log]\nlevel = \"loud\"\n";
    let found = findings(text);
    let places: Vec<&str> =
        found.iter().map(|line| line.split(": error").next().unwrap()).collect();
    assert_eq!(places, ["t.toml:3:8", "t.toml:4:1", "t.toml:7:10", "t.toml:9:9"], "{found:#?}");
}

#[test]
fn broken_toml_is_reported_at_every_place() {
    let found = findings("cores = \n[log]\nlevel = = 3\n");
    assert!(found.len() >= 2, "{found:#?}");
    assert!(found[0].starts_with("t.toml:1:"), "{found:#?}");
    assert!(
        found.iter().any(|line| line.starts_with("t.toml:3:") && line.contains("this is not TOML")),
        "{found:#?}"
    );
}

#[test]
fn an_empty_file_lacks_a_port() {
    assert_eq!(findings("").len(), 2, "no port, and too few hugepages for the default");
    assert!(
        findings("")[0].starts_with("t.toml: error: there is no [[port]]"),
        "{:?}",
        findings("")
    );
}

#[test]
fn defaults_fill_what_is_left_out() {
    let loaded = parse("[[port]]\nname = \"lan\"\ndevice = \"0000:03:00.0\"\n").unwrap();
    let (config, resolved) = (&loaded.config, &loaded.resolved);
    assert_eq!(resolved.cores, [1], "the first core that the process may use");
    assert_eq!(*config.dataplane.memory.get_ref(), 512);
    assert_eq!(*config.dataplane.hugepages.get_ref(), Hugepages::Auto);
    assert_eq!(config.dataplane.icmp_rate, 1000);
    assert_eq!(*config.ports[0].mtu.get_ref(), 1500);
    assert_eq!(config.api.socket.to_str(), Some(config::model::DEFAULT_SOCKET));
    assert_eq!(config.log.level, "info");
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let report =
        config::load(std::path::Path::new("/nonexistent/twinwall.toml"), &machine()).unwrap_err();
    let line = report.lines().next().unwrap();
    assert!(
        line.starts_with("/nonexistent/twinwall.toml: error: the file cannot be read"),
        "{line}"
    );
    assert!(line.contains("--config"), "{line}");
}

/// A file of the repository.
fn repository(path: &str) -> String {
    std::fs::read_to_string(format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn the_example_is_good_and_its_values_are_the_defaults() {
    let example = repository("cli/twinwall.example.toml").replace("eth2", "eth0");
    let loaded = parse(&example).unwrap();
    assert!(loaded.report.lines().all(|line| line.contains("hugepages")), "{:?}", loaded.report);
    let least = "[[port]]\nname = \"lan\"\ndevice = \"net_af_packet0,iface=eth1\"\n[[port]]\nname = \"wan\"\ndevice = \"net_af_packet1,iface=eth0\"\n";
    let least = parse(least).unwrap();
    let dataplane = |loaded: &Loaded| {
        let d = &loaded.config.dataplane;
        (d.idle, *d.hugepages.get_ref(), *d.memory.get_ref(), *d.mbufs.get_ref(), d.icmp_rate)
    };
    assert_eq!(dataplane(&loaded), dataplane(&least));
    let port = |loaded: &Loaded| {
        let p = &loaded.config.ports[0];
        (*p.mtu.get_ref(), *p.rx_descriptors.get_ref(), *p.tx_descriptors.get_ref())
    };
    assert_eq!(port(&loaded), port(&least));
    assert_eq!((&loaded.config.api, &loaded.config.log), (&least.config.api, &least.config.log));
}

#[test]
fn every_key_is_documented_and_in_the_example() {
    let (guide, example) = (repository("docs/config.md"), repository("cli/twinwall.example.toml"));
    // An unknown key is answered with those that are known: so no list here can go stale.
    for (section, sample) in [
        ("[dataplane]", "[dataplane]\nzzzzzzzz = 1\n"),
        ("[[port]]", "[[port]]\nzzzzzzzz = 1\n"),
        ("[ha]", "[ha]\nzzzzzzzz = 1\n"),
        ("[ha.defer]", "[ha.defer]\nzzzzzzzz = 1\n"),
        ("[[ha.link]]", "[[ha.link]]\nzzzzzzzz = 1\n"),
        ("[api]", "[api]\nzzzzzzzz = 1\n"),
        ("[log]", "[log]\nzzzzzzzz = 1\n"),
    ] {
        let found = findings(sample);
        let unknown = format!("unknown key `zzzzzzzz` in {section}");
        let line = found.iter().find(|line| line.contains(&unknown)).unwrap();
        let known = line.split("known here: ").nth(1).unwrap();
        let keys: Vec<&str> = known.split(", ").map(|key| key.trim_matches('`')).collect();
        assert!(keys.len() >= 2, "{found:?}");
        let chapter =
            guide.split(&format!("## {section}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
        // Sections within a section have chapters of their own.
        let section_of_its_own = |key: &&str| {
            let inner = format!("{}.{key}]", section.trim_matches(['[', ']']));
            guide.contains(&format!("## [{inner}\n")) || guide.contains(&format!("## [[{inner}]\n"))
        };
        for key in keys.into_iter().filter(|key| !section_of_its_own(key)) {
            assert!(
                chapter.contains(&format!("`{key}`")),
                "docs/config.md does not describe {key} of {section}"
            );
            assert!(example.contains(&format!("{key} = ")), "the example lacks {key} of {section}");
        }
    }
}
