//! What is wrong with the data plane and its ports.

use cli::config::{Mode, Severity};

use super::{file, findings, one_finding, parse};

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

#[test]
fn each_bad_line_is_named_with_its_place_and_its_remedy() {
    for (line, expected) in DATAPLANE {
        one_finding(&file(line, ""), expected);
    }
    for (line, expected) in PORT {
        one_finding(&file("", line), expected);
    }
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
