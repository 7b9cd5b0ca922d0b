//! What is wrong with rules and the tracking of connections, and where rules come from.

use cli::config::{Rules, Tracking};

use super::{file, one_finding, parse};

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
