//! What is wrong between nodes, and what a node has.

use super::{file, findings, one_finding, parse};

/// `[ha]` as it should be, but for the lines given: those of `[ha]` from line 15 on, those behind its link from line 18 on.
fn ha(lines: &str, behind: &str) -> String {
    format!(
        "{}[ha]\nnode = 1\nstate = \"/tmp/twinwall-ha/state\"\nunauthenticated = true\n{lines}\n[[ha.link]]\ninterface = \"sync0\"\n{behind}\n",
        file("", "").replace("net_null1", "net_af_packet1,iface=eth1")
    )
}

/// Bad lines of `[ha]`.
const HA: &[(&str, &str)] = &[
    (
        "nodes = 17",
        "t.toml:15:9: error: `nodes` in [ha] is 17, which is out of range; write a number from 1 to 16",
    ),
    ("cluster = 65536", "t.toml:15:11: error: `cluster` in [ha] is 65536, which is out of range"),
    (
        "mode = \"pasive\"",
        "t.toml:15:8: error: `mode` in [ha] cannot be \"pasive\"; did you mean \"passive\"?",
    ),
    ("flush = 100", "t.toml:15:1: error: unknown key `flush` in [ha]; "),
    (
        "key = \"/no/such/key\"",
        "t.toml:14:19: error: `unauthenticated` in [ha] contradicts `key`; remove this line",
    ),
    (
        "takeover = \"silence\"\nlease_ms = 100",
        "t.toml:16:12: error: workers go on for 100 ms (`lease_ms`) after their node fell silent, but another takes over after 100 (`silence_ms`)",
    ),
    (
        "silence_ms = 50",
        "t.toml:15:14: error: `silence_ms` in [ha] has no meaning without takeover",
    ),
    (
        "takeover = \"silence\"\nmode = \"passive\"",
        "t.toml:15:12: error: a node of mode \"passive\" forwards nothing",
    ),
    (
        "[ha.defer]",
        "t.toml:15:1: error: [ha.defer] has no `label`; add a line such as: label = 127",
    ),
    (
        "[ha.defer]\nlabel = 128",
        "t.toml:16:9: error: `label` in [ha.defer] is 128, which is out of range",
    ),
    (
        "[ha.defer]\nlabel = 1\nacks = 2",
        "t.toml:17:8: error: 2 other nodes can never have a flow: there are 2 nodes in all",
    ),
    (
        "[ha.defer]\nlabel = 1\nstrict = 1",
        "t.toml:17:10: error: `strict` in [ha.defer] is an integer, but true or false is wanted",
    ),
];

/// Bad lines of a link.
const HA_LINK: &[(&str, &str)] = &[
    ("", "t.toml:16:1: error: [[ha.link]] has neither `group` nor `peers`"),
    (
        "group = \"10.9.0.2\"",
        "t.toml:18:9: error: `group` in [[ha.link]] is 10.9.0.2, which is no multicast address; write a multicast address, such as \"239.255.77.1\" or \"ff02::7701\"; or peers",
    ),
    (
        "group = \"ff01::1\"",
        "t.toml:18:9: error: `group` in [[ha.link]] is ff01::1, which leaves no machine",
    ),
    (
        "group = \"sync\"",
        "t.toml:18:9: error: `group` in [[ha.link]] is \"sync\", which is no address",
    ),
    (
        "group = 7",
        "t.toml:18:9: error: `group` in [[ha.link]] is an integer, but a string is wanted",
    ),
    ("peers = []", "t.toml:18:9: error: `peers` in [[ha.link]] names nobody"),
    (
        "peers = [\"239.255.77.1\"]",
        "t.toml:18:10: error: \"239.255.77.1\" in `peers` of [[ha.link]] is no",
    ),
    (
        "peers = [\"10.9.0.2\", \"fe80::3\"]",
        "t.toml:18:22: error: `peers` of [[ha.link]] has IPv4 and IPv6 addresses",
    ),
    (
        "group = \"ff02::1\"\npeers = [\"fe80::2\"]",
        "t.toml:19:9: error: `peers` and `group` in [[ha.link]] are two ways",
    ),
    (
        "group = \"ff02::7\"\nport = 0",
        "t.toml:19:8: error: `port` in [[ha.link]] is 0, which is out of range",
    ),
    (
        "group = \"ff02::7\"\n[[ha.link]]\ninterface = \"sync0\"\npeers = [\"fe80::2\"]",
        "t.toml:20:13: error: an earlier link has interface \"sync0\" and port 7701, too",
    ),
    (
        "group = \"ff02::7\"\n[[ha.link]]\ninterface = \"sync1\"\ngroup = \"ff02::7\"",
        "t.toml:20:13: error: there is no interface \"sync1\"; did you mean \"sync0\"?",
    ),
    (
        "group = \"ff02::7\"\n[[ha.link]]\ninterface = \"tiny0\"\ngroup = \"ff02::7\"",
        "t.toml:20:13: error: interface \"tiny0\" has an MTU of 1400, but datagrams of 1496 bytes are sent there; ip link set tiny0 mtu 1500",
    ),
    (
        "group = \"ff02::7\"\n[[ha.link]]\ninterface = \"eth1\"\ngroup = \"ff02::7\"",
        "t.toml:20:13: error: \"eth1\" is the interface below a port",
    ),
];

#[test]
fn what_is_wrong_between_nodes_is_named() {
    for (lines, expected) in HA {
        one_finding(
            &ha(lines, "").replace("sync0\"\n", "sync0\"\ngroup = \"239.1.1.1\"\n"),
            expected,
        );
    }
    for (lines, expected) in HA_LINK {
        one_finding(&ha("", lines), expected);
    }
    let good = ha("", "group = \"239.255.77.1\"");
    one_finding(
        &good.replace("node = 1\n", ""),
        "t.toml:11:1: error: [ha] has no `node`; add a line such as: node = 1",
    );
    one_finding(
        &good.replace("unauthenticated = true", ""),
        "t.toml:11:1: error: [ha] has no `key`",
    );
    one_finding(
        &good.replace("unauthenticated = true", "unauthenticated = false"),
        "[ha] has no `key`",
    );
    one_finding(
        &good.replace("unauthenticated = true", "key = \"/no/such/key\""),
        "t.toml:14:7: error: the key file /no/such/key cannot be read: No such file or directory (os error 2); make it with",
    );
    one_finding(
        &good.replace("/tmp/twinwall-ha/state", "/proc/version/state"),
        "t.toml:13:9: error: the state /proc/version/state cannot be kept: /proc/version is no folder",
    );
    let link = good.find("[[ha.link]]").unwrap();
    one_finding(&good[..link], "t.toml:11:1: error: [ha] has no [[ha.link]]");
    // The twin does not exist yet; that it will is known.
    let found = findings(&good.replace("\"sync0\"", "\"lan\""));
    assert!(found[0].contains("\"lan\" is the twin of a port"), "{found:#?}");
}

#[test]
fn a_node_has_what_its_section_says() {
    use cli::config::ha::{Defer, HaMode, Takeover, Target};
    assert!(
        parse(&file("", "")).unwrap().config.ha.is_none(),
        "a node without the section is alone"
    );
    let ha = parse(&ha("", "group = \"ff02::7701\"")).unwrap();
    assert!(ha.report.diagnostics.is_empty(), "{:?}", ha.report);
    let ha = ha.config.ha.unwrap();
    assert_eq!((ha.node, *ha.nodes.get_ref(), ha.cluster, ha.group), (1, 2, 0, 0));
    assert_eq!((ha.mode, *ha.takeover.get_ref()), (HaMode::Pair, Takeover::External));
    assert_eq!((*ha.silence_ms.get_ref(), *ha.lease_ms.get_ref(), ha.flush_us), (100, 80, 100));
    assert_eq!((ha.rt_priority, ha.bandwidth_mbit, ha.promote_unsynchronised_s), (10, 1000, 10));
    assert!(ha.defer.is_none() && ha.links[0].port == 7701);

    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("ha.key");
    std::fs::write(&key, format!("7 {}\n", "ab".repeat(32))).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, mode).unwrap();
    let state = folder.path().join("not/yet/state");
    let text = format!(
        "{}[ha]\nnode = 15\nnodes = 3\ncluster = 7\ngroup = 255\nmode = \"pair\"\nkey = {key:?}\nstate = {state:?}\ntakeover = \"silence\"\nsilence_ms = 50\nlease_ms = 30\nflush_us = 200\nrt_priority = 0\nbandwidth_mbit = 25000\npromote_unsynchronised_s = 0\n\
         [ha.defer]\nlabel = 0\nacks = 2\nstrict = true\n[[ha.link]]\ninterface = \"sync0\"\npeers = [\"10.9.0.2\", \"10.9.0.3\"]\nport = 9\n",
        file("", "")
    );
    let loaded = parse(&text).unwrap();
    assert_eq!(loaded.resolved.keys.sending(), Some(7));
    let ha = loaded.config.ha.unwrap();
    assert_eq!((ha.node, *ha.nodes.get_ref(), ha.cluster, ha.group), (15, 3, 7, 255));
    assert_eq!((*ha.takeover.get_ref(), *ha.silence_ms.get_ref()), (Takeover::Silence, 50));
    let Some(Defer { label: 0, acks, strict: true }) = &ha.defer else { panic!("{:?}", ha.defer) };
    assert_eq!(*acks.get_ref(), 2);
    let Target::Peers(peers) = &ha.links[0].target else { panic!("{:?}", ha.links) };
    assert_eq!(peers.len(), 2);
    assert_eq!((ha.links[0].port, ha.rt_priority), (9, 0));
}
