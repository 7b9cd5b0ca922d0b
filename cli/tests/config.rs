//! Bad configuration files, and what the user is told of each: the place, the problem, the remedy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use cli::config::{
    self, Hugepages, Loaded, Mode, Report, Rules, Severity, Source, Tracking, host::PageSize,
};

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

/// A file that is right but for the lines given: those of `[dataplane]`, and those of the first port.
fn file(dataplane: &str, port: &str) -> String {
    format!(
        "[dataplane]\nhugepages = \"off\"\n{dataplane}\n[[port]]\nname = \"lan\"\ndevice = \"net_null0\"\n{port}\n[[port]]\nname = \"wan\"\ndevice = \"net_null1\"\n"
    )
}

/// Bad lines of `[dataplane]`, which stand on line 3, and what is said.
const DATAPLANE: &[(&str, &str)] = &[
    ("core = [1]", "t.toml:3:1: error: unknown key `core` in [dataplane]; did you mean `cores`?"),
    (
        "frobnicate = 1",
        "t.toml:3:1: error: unknown key `frobnicate` in [dataplane]; remove it; known here: `cores`",
    ),
    (
        "cores = 1",
        "t.toml:3:9: error: `cores` in [dataplane] is an integer, but a list of integers is wanted",
    ),
    (
        "cores = [\"1\"]",
        "t.toml:3:10: error: `cores` in [dataplane] is a string, but an integer is wanted",
    ),
    ("cores = []", "t.toml:3:9: error: `cores` in [dataplane] names no core"),
    ("cores = [1, 2, 1]", "t.toml:3:16: error: core 1 is listed twice; list each core once"),
    (
        "cores = [4]",
        "t.toml:3:10: error: core 4 does not exist or is offline; use cores that are online: 1, 2, 3",
    ),
    ("cores = [1, 0]", "t.toml:3:13: error: core 0 is not for this process"),
    (
        "cores = [-1]",
        "t.toml:3:10: error: `cores` in [dataplane] is -1, which is out of range; write a number from 0",
    ),
    (
        "idle = \"pol\"",
        "t.toml:3:8: error: `idle` in [dataplane] cannot be \"pol\"; did you mean \"poll\"?",
    ),
    (
        "idle = true",
        "t.toml:3:8: error: `idle` in [dataplane] is true or false, but a string is wanted",
    ),
    (
        "memory = 1.5",
        "t.toml:3:10: error: `memory` in [dataplane] is a fraction, but an integer is wanted",
    ),
    (
        "memory = 63",
        "t.toml:3:10: error: `memory` in [dataplane] is 63, which is out of range; write a number from 64",
    ),
    (
        "memory = 99999999999999999999",
        "t.toml:3:10: error: `memory` in [dataplane] is 99999999999999999999, which is out of",
    ),
    (
        "mbufs = 1000000",
        "t.toml:3:9: error: 1000000 mbufs need 2855 MiB with what goes with them, but `memory` is 512; write memory = 2855",
    ),
    ("mbufs = 2048", "t.toml:3:9: warning: 2048 mbufs are fewer than the 5632 that full queues"),
    (
        "eal_args = [\"--vdev=net_null2\"]",
        "t.toml:3:13: error: EAL argument \"--vdev=net_null2\" is set by twinwall itself; remove it; use `device`",
    ),
    (
        "eal_args = [\"-l\", \"0-1\"]",
        "t.toml:3:13: error: EAL argument \"-l\" is set by twinwall itself; remove it; use `cores`",
    ),
    (
        "rss_key = \"6d5\"",
        "t.toml:3:11: error: `rss_key` in [dataplane] is \"6d5\", which is not 16 bits in hexadecimal",
    ),
    (
        "rss_key = \"5555\"",
        "t.toml:3:11: error: `rss_key` in [dataplane] is \"5555\", which repeats itself",
    ),
    (
        "icmp_rate = -5",
        "t.toml:3:13: error: `icmp_rate` in [dataplane] is -5, which is out of range; write a number from 0 to",
    ),
    (
        "[log]\nlevel = \"verbose\"",
        "t.toml:4:9: error: `level` in [log] cannot be \"verbose\"; write one of \"error\", \"warn\"",
    ),
    (
        "[log]\nlevel = \"Warn\"",
        "t.toml:4:9: error: `level` in [log] cannot be \"Warn\"; did you mean \"warn\"?",
    ),
    ("[log]\nformat = \"yaml\"", "t.toml:4:10: error: `format` in [log] cannot be \"yaml\""),
    (
        "[api]\nlisten = \"0.0.0.0:9090\"",
        "t.toml:4:10: error: `listen` in [api] is 0.0.0.0:9090, which others can reach",
    ),
    (
        "[api]\nlisten = \"localhost\"",
        "t.toml:4:10: error: `listen` in [api] is \"localhost\", which is no address with a port",
    ),
    (
        "[api]\nsocket = \"api.sock\"",
        "t.toml:4:10: error: `socket` in [api] cannot be \"api.sock\"; write an absolute path",
    ),
    (
        "[logs]\nlevel = \"info\"",
        "t.toml:3:2: error: unknown key `logs` in the file; did you mean `log`?",
    ),
];

/// Bad lines of the first port, which stand on line 7 (`name` is on 5, `device` on 6), and what is said.
const PORT: &[(&str, &str)] = &[
    (
        "mtu = 9601",
        "t.toml:7:7: error: `mtu` in [[port]] is 9601, which is out of range; write a number from 68 to 9600",
    ),
    (
        "mtu = \"1500\"",
        "t.toml:7:7: error: `mtu` in [[port]] is a string, but an integer is wanted",
    ),
    ("mtu = 1000", "t.toml:7:7: warning: port \"lan\" has an MTU under 1280"),
    ("ntu = 1500", "t.toml:7:1: error: unknown key `ntu` in [[port]]; did you mean `mtu`?"),
    (
        "rx_descriptors = 16",
        "t.toml:7:18: error: `rx_descriptors` in [[port]] is 16, which is out of range",
    ),
    (
        "mode = \"bridge\"",
        "t.toml:7:8: error: `mode` in [[port]] cannot be \"bridge\"; write one of \"routed\", \"pair\"",
    ),
    ("mode = \"pair\"", "t.toml:7:8: error: a port of mode \"pair\" needs `pair`"),
    (
        "pair = \"wan\"",
        "t.toml:7:8: error: `pair` has no meaning for a routed port; add mode = \"pair\"",
    ),
    (
        "mode = \"pair\"\npair = \"wan\"",
        "t.toml:8:8: error: port \"lan\" is paired with \"wan\", which is routed",
    ),
    ("mode = \"pair\"\npair = \"lan\"", "t.toml:8:8: error: port \"lan\" is paired with itself"),
    (
        "mode = \"pair\"\npair = \"wam\"",
        "t.toml:8:8: error: port \"lan\" is paired with \"wam\", but there is no such port; did you mean \"wan\"?",
    ),
    (
        "mode = \"pair\"\npair = \"elsewhere\"",
        "there is no such port; add a [[port]] with name = \"elsewhere\", mode = \"pair\"",
    ),
    (
        "[[port]]\nname = \"lan\"\ndevice = \"net_null7\"",
        "t.toml:8:8: error: port name \"lan\" is taken by an earlier port",
    ),
    (
        "[[port]]\nname = \"x\"\ndevice = \"net_null0,size=64\"",
        "t.toml:9:10: error: device \"net_null0\" is used by an earlier port; give it another number",
    ),
    (
        "[[port]]\nname = \"x\"",
        "t.toml:7:1: error: [[port]] has no `device`; add a line such as: device =",
    ),
    (
        "[[port]]\ndevice = \"net_null7\"",
        "t.toml:7:1: error: [[port]] has no `name`; add a line such as: name =",
    ),
    (
        "[[port]]\nname = \"abcdefghijklmnop\"\ndevice = \"net_null7\"",
        "t.toml:8:8: error: port name \"abcdefghijklmnop\" has 16 bytes; an interface's name has at most 15",
    ),
    (
        "[[port]]\nname = \"a/b\"\ndevice = \"net_null7\"",
        "t.toml:8:8: error: port name \"a/b\" has a '/' in it",
    ),
    ("[[port]]\nname = \"\"\ndevice = \"net_null7\"", "t.toml:8:8: error: port name \"\" is empty"),
    (
        "[[port]]\nname = \"lo\"\ndevice = \"net_null7\"",
        "t.toml:8:8: error: port name \"lo\" is reserved",
    ),
    (
        "[[port]]\nname = \"x\"\ndevice = \"eth1\"",
        "t.toml:9:10: error: \"eth1\" is neither a PCI address nor a virtual network device; write a PCI",
    ),
    (
        "[[port]]\nname = \"x\"\ndevice = \"net_afpacket0,iface=eth1\"",
        "t.toml:9:10: error: no driver is called \"net_afpacket\"; did you mean \"net_af_packet0\"?",
    ),
    (
        "[[port]]\nname = \"x\"\ndevice = \"net_af_packet0\"",
        "t.toml:9:10: error: device \"net_af_packet0\" has no argument `iface`",
    ),
    (
        "[[port]]\nname = \"x\"\ndevice = \"net_af_packet0,iface=eth2\"",
        "t.toml:9:10: error: there is no interface \"eth2\"; did you mean",
    ),
    (
        "[[port]]\nname = \"eth1\"\ndevice = \"net_af_packet0,iface=eth1\"",
        "t.toml:8:8: error: port name \"eth1\" is that of the interface below it",
    ),
    (
        "[[port]]\nname = \"x\"\ndevice = \"0000:03:00\"",
        "t.toml:9:10: error: \"0000:03:00\" is no PCI address",
    ),
    (
        "[[port]]\nname = \"x\"\ndevice = \"0000:04:00.0\"",
        "t.toml:9:10: error: there is no PCI device 0000:04:00.0",
    ),
    (
        "[[port]]\nname = \"x\"\ndevice = \"03:00.1\"",
        "t.toml:9:10: error: PCI device 0000:03:00.1 is bound to the kernel driver ixgbe, so DPDK cannot open it; dpdk-devbind.py --bind=vfio-pci 0000:03:00.1",
    ),
    (
        "[[port]]\nname = \"x\"\ndevice = \"03:00.2\"",
        "t.toml:9:10: error: PCI device 0000:03:00.2 is bound to no driver",
    ),
];

fn one_finding(text: &str, expected: &str) {
    let found = findings(text);
    assert!(
        found.iter().any(|line| line.contains(expected)),
        "wanted {expected:?}\nfound {found:#?}\nin\n{text}"
    );
    assert_eq!(found.len(), 1, "one mistake, one finding; found {found:#?}\nin\n{text}");
}

#[test]
fn each_bad_line_is_named_with_its_place_and_its_remedy() {
    for (line, expected) in DATAPLANE {
        one_finding(&file(line, ""), expected);
    }
    for (line, expected) in PORT {
        one_finding(&file("", line), expected);
    }
}

/// Bad lines of `[rules]` and `[nfnetlink]`, which stand on line 12, and what is said.
const RULES: &[(&str, &str)] = &[
    (
        "[rules]\nruleset = \"rules.conf\"",
        "t.toml:12:11: error: `ruleset` in [rules] cannot be \"rules.conf\"; write an absolute path",
    ),
    (
        "[rules]\nruleset = \"/no/such/file\"",
        "t.toml:12:11: error: the ruleset /no/such/file cannot be read: No such file or directory",
    ),
    (
        "[rules]\nrestore = \"lst\"",
        "t.toml:12:11: error: `restore` in [rules] cannot be \"lst\"; did you mean \"last\"?",
    ),
    (
        "[rules]\nrestore = \"last\"\nruleset = \"/dev/null\"",
        "t.toml:12:11: error: `restore` and `ruleset` in [rules] are two places that rules come from",
    ),
    (
        "[rules]\nstate = \"/var/lib/x\"",
        "t.toml:12:9: error: `state` in [rules] has no meaning without `restore`",
    ),
    (
        "[nfnetlink]\nsocket = \"nfnl.sock\"",
        "t.toml:12:10: error: `socket` in [nfnetlink] cannot be \"nfnl.sock\"",
    ),
    (
        "[nfnetlink]\nsocket = \"/run/twinwall/api.sock\"",
        "t.toml:12:10: error: the netlink socket is the API's: /run/twinwall/api.sock",
    ),
    (
        "[nfnetlink]\ngroup = \"no-such-group\"",
        "t.toml:12:9: error: there is no group \"no-such-group\"; make it with `groupadd --system no-such-group`",
    ),
];

/// Bad lines of `[conntrack]`, which stand on line 12, and what is said.
const CONNTRACK: &[(&str, &str)] = &[
    (
        "[conntrack]\nmax = 1000",
        "t.toml:12:7: error: `max` in [conntrack] is 1000, which is out of range; write a number from 1024",
    ),
    (
        "[conntrack]\ntracking = \"allways\"",
        "t.toml:12:12: error: `tracking` in [conntrack] cannot be \"allways\"; did you mean \"always\"?",
    ),
    (
        "[conntrack]\nmaximum = 5000",
        "t.toml:12:1: error: unknown key `maximum` in [conntrack]; remove it; known here: `max`",
    ),
    (
        "[conntrack.sysctl]\nnf_conntrack_tcp_lose = 0",
        "t.toml:12:1: error: unknown setting `nf_conntrack_tcp_lose` in [conntrack.sysctl]; did you mean `nf_conntrack_tcp_loose`?",
    ),
    (
        "[conntrack.sysctl]\nnf_conntrack_acct = true",
        "t.toml:12:21: error: `nf_conntrack_acct` in [conntrack.sysctl] is true or false, but an integer is wanted",
    ),
    (
        "[conntrack.sysctl]\nnf_conntrack_acct = 2",
        "t.toml:12:21: error: `nf_conntrack_acct` in [conntrack.sysctl] is 2, which is out of range; write a number from 0 to 1",
    ),
    (
        "[conntrack.sysctl]\nnf_conntrack_udp_timeout = -1",
        "t.toml:12:28: error: `nf_conntrack_udp_timeout` in [conntrack.sysctl] is -1, which is out of range",
    ),
    (
        "[conntrack.sysctl]\n\"net.netfilter.nf_conntrack_max\" = 5000",
        "t.toml:12:1: error: `net.netfilter.nf_conntrack_max` in [conntrack.sysctl] is decided by `max` in [conntrack]",
    ),
];

#[test]
fn settings_of_tracking_go_by_the_kernels_names() {
    for (line, expected) in CONNTRACK {
        one_finding(&format!("{}{line}\n", file("", "")), expected);
    }
    one_finding(
        &format!("{}[conntrack]\nmax = 1500\n", file("cores = [1, 2]", "")),
        "t.toml:12:7: error: 1500 flows are too few for 2 workers; write at least max = 2048",
    );
    let conntrack =
        |lines: &str| parse(&format!("{}{lines}\n", file("", ""))).unwrap().config.conntrack;
    let none = conntrack("");
    assert_eq!((*none.max.get_ref(), none.tracking), (262_144, Tracking::Auto));
    assert_eq!(none.settings, Default::default());
    let some = conntrack(
        "[conntrack]\nmax = 5000\ntracking = \"always\"\n[conntrack.sysctl]\nnf_conntrack_acct = 1\n\"net.netfilter.nf_conntrack_udp_timeout\" = 17",
    );
    assert_eq!((*some.max.get_ref(), some.tracking), (5000, Tracking::Always));
    assert_eq!((some.settings.acct, some.settings.udp), (true, [17, 120]));
}

#[test]
fn where_rules_come_from_is_held_against_the_machine() {
    for (line, expected) in RULES {
        one_finding(&format!("{}{line}\n", file("", "")), expected);
    }
    let rules = |lines: &str| parse(&format!("{}{lines}\n", file("", ""))).unwrap().config.rules;
    assert!(matches!(rules(""), Rules::Empty));
    let last = rules("[rules]\nrestore = \"last\"");
    assert!(matches!(last, Rules::Last(path) if path.get_ref().ends_with("twinwall/ruleset.nfnl")));
    let loaded = parse(&format!("{}[nfnetlink]\ngroup = \"root\"\n", file("", ""))).unwrap();
    assert_eq!(loaded.resolved.group, Some(0));
}

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
    assert_eq!((ha.bandwidth_mbit, ha.promote_unsynchronised_s), (1000, 10));
    assert!(ha.defer.is_none() && ha.links[0].port == 7701);

    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("ha.key");
    std::fs::write(&key, format!("7 {}\n", "ab".repeat(32))).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, mode).unwrap();
    let state = folder.path().join("not/yet/state");
    let text = format!(
        "{}[ha]\nnode = 15\nnodes = 3\ncluster = 7\ngroup = 255\nmode = \"pair\"\nkey = {key:?}\nstate = {state:?}\ntakeover = \"silence\"\nsilence_ms = 50\nlease_ms = 30\nflush_us = 200\nbandwidth_mbit = 25000\npromote_unsynchronised_s = 0\n\
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
    assert_eq!(ha.links[0].port, 9);
}

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
fn pairs_must_name_each_other_and_agree_on_the_mtu() {
    let ports = |last_pair: &str, last_mtu: &str| {
        let port = |name: &str, n: u8, pair: &str, mtu: &str| {
            format!(
                "[[port]]\nname = \"{name}\"\ndevice = \"net_null{n}\"\nmode = \"pair\"\npair = \"{pair}\"\n{mtu}\n"
            )
        };
        let head = "[dataplane]\nhugepages = \"off\"\n".to_owned();
        head + &port("a", 0, "b", "")
            + &port("b", 1, "a", "")
            + &port("c", 2, "d", "mtu = 1500")
            + &port("d", 3, last_pair, last_mtu)
    };
    assert!(findings(&ports("c", "")).is_empty(), "{:?}", findings(&ports("c", "")));
    let loaded = parse(&ports("c", "")).unwrap();
    assert!(matches!(&loaded.config.ports[3].mode, Mode::Pair(other) if other.get_ref() == "c"));
    one_finding(
        &ports("c", "mtu = 1400"),
        "t.toml:26:7: error: port \"d\" has an MTU of 1400, the other port of its pair, \"c\", of 1500",
    );
    let found = findings(&ports("a", ""));
    assert!(
        found[0].contains(
            "t.toml:19:8: error: port \"c\" is paired with \"d\", which is paired with \"a\""
        ),
        "{found:#?}"
    );
    assert!(
        found[1].contains(
            "t.toml:25:8: error: port \"d\" is paired with \"a\", which is paired with \"b\""
        ),
        "{found:#?}"
    );
}

#[test]
fn missing_hugepages_are_an_error_a_warning_or_nothing() {
    let with = |word: &str| {
        format!(
            "[dataplane]\nhugepages = \"{word}\"\n[[port]]\nname = \"a\"\ndevice = \"net_null0\"\n"
        )
    };
    let required = parse(&with("require")).unwrap_err();
    assert_eq!(required.errors(), 1);
    let line = required.lines().next().unwrap();
    assert!(line.starts_with("t.toml:2:13: error: 512 MiB of hugepages are wanted (`memory`), but 256 MiB are free; add 128 pages of 2048 kB: echo"), "{line}");
    assert!(line.contains("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"), "{line}");

    let auto = parse(&with("auto")).unwrap();
    assert!(!auto.resolved.hugepages, "falls back");
    assert_eq!(auto.report.diagnostics[0].severity, Severity::Warning);
    assert!(auto.report.lines().next().unwrap().contains("ordinary memory is used"));

    let off = parse(&with("off")).unwrap();
    assert!(!off.resolved.hugepages && off.report.diagnostics.is_empty());

    let fits = parse(&(with("require").replace("[[port]]", "memory = 256\n[[port]]"))).unwrap();
    assert!(fits.resolved.hugepages && fits.report.diagnostics.is_empty());
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
