//! The commands, as clients of the API.

use cli::client::Client;

use super::made_up::MadeUp;
use super::{Running, runtime, twinwall};

#[test]
fn commands_print_tables() {
    let daemon = Running::start(None);
    let (code, out, err) = daemon.twinwall(&["ports"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("PORT  LINK") && lines[0].ends_with("LOST"), "{out}");
    assert!(
        lines[1].starts_with("lan   10.0 Gbit/s  routed  net_null") && lines[1].contains("2,000"),
        "{out}"
    );
    assert!(lines[2].starts_with("wan   down"), "{out}");
    assert_eq!(lines.len(), 3, "{out}");

    let (_, out, _) = daemon.twinwall(&["drops"]);
    assert!(
        out.contains("no_route") && out.contains("lan 8, wan 2") && !out.contains("ttl_expired"),
        "{out}"
    );
    assert!(daemon.twinwall(&["drops", "--all"]).1.contains("ttl_expired"));

    let (_, out, _) = daemon.twinwall(&["status"]);
    for part in [
        "1,234 of 262,144, tracking auto, 0 packets invalid, 3 given up early",
        "1.2.3 on DPDK 22.11",
        "01:06:40",
        "2, 1 up",
        "2,048 of 16,384 in use",
        "4 IPv4, 5 IPv6",
    ] {
        assert!(out.contains(part), "{part:?} is missing in\n{out}");
    }
    let (_, out, _) = daemon.twinwall(&["workers"]);
    assert!(out.lines().nth(1).unwrap().starts_with("0          3"), "{out}");
}

#[test]
fn commands_print_rates_and_json() {
    let daemon = Running::start(None);
    let (code, out, _) = daemon.twinwall(&["ports", "--watch", "0.1", "--count", "2"]);
    assert_eq!(code, Some(0));
    let lan: Vec<&str> = out.lines().filter(|line| line.starts_with("lan")).collect();
    assert_eq!(lan.len(), 2, "{out}");
    assert!(lan.iter().all(|line| line.contains("2.00 k") && line.contains("1.02 M")), "{out}");

    let (_, out, _) = daemon.twinwall(&["workers", "--watch", "0.1", "--count", "1", "--json"]);
    let json: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    let rates = &json["workers"][0]["rates"];
    assert_eq!(
        (rates["rx_packets"].as_f64(), rates["busy"].as_f64()),
        (Some(2000.0), Some(0.25)),
        "{out}"
    );

    let (_, out, _) = daemon.twinwall(&["drops", "--watch", "0.1", "--count", "3", "--json"]);
    let lines: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{out}");
    assert!(lines.iter().all(|line| line["drops"][0]["packets_per_second"] == 5.0), "{out}");

    for command in ["status", "ports", "workers", "drops"] {
        let (code, out, _) = daemon.twinwall(&[command, "--json"]);
        assert_eq!(code, Some(0));
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert!(json.is_object() && !out.contains("rates"), "{out}");
    }
}

#[test]
fn without_a_daemon_commands_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.sock");
    for command in ["status", "ports", "workers", "drops"] {
        let (code, out, err) = twinwall(&missing, &[command]);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(err.contains("twinwall is not running") && err.contains("none.sock"), "{err}");
        assert!(err.contains("twinwall run --config") && err.contains("--socket"), "{err}");
    }
}

#[test]
fn usage_is_exit_code_2_and_check_0_or_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.toml");
    let path = file.to_str().unwrap();
    assert_eq!(twinwall(&file, &["frobnicate"]).0, Some(2));
    assert_eq!(twinwall(&file, &["check", "--conf"]).0, Some(2));
    std::fs::write(
        &file,
        "[dataplane]\nhugepages = \"off\"\n[[port]]\nname = \"lan\"\ndevice = \"net_null0\"\n",
    )
    .unwrap();
    let (code, out, err) = twinwall(&file, &["check", "--config", path]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{err}");
    assert!(out.contains("good: 1 ports"), "{out}");
    std::fs::write(
        &file,
        "[dataplane]\nhugepages = \"off\"\n[[port]]\nname = \"lan\"\ndevice = \"eth9\"\n",
    )
    .unwrap();
    let (code, _, err) = twinwall(&file, &["check", "--config", path]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("t.toml:5:10") && err.contains("device = \"eth9\"") && err.contains("help:"),
        "{err}"
    );
}

#[test]
fn completions_and_manual_pages_come_out() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = twinwall(folder.path(), &["completions", shell]);
        assert!(code == Some(0) && out.contains("workers"), "{shell}");
    }
    assert!(twinwall(folder.path(), &["man"]).1.contains(".TH twinwall 1"));
    let out = folder.path().join("man");
    assert_eq!(twinwall(folder.path(), &["man", "--out", out.to_str().unwrap()]).0, Some(0));
    for page in ["twinwall.1", "twinwall-run.1", "twinwall-drops.1"] {
        assert!(out.join(page).exists(), "{page}");
    }
    assert!(twinwall(folder.path(), &["--version"]).1.starts_with("twinwall 0."));
}

#[test]
fn flows_are_shown_by_what_was_asked() {
    let daemon = Running::start(None);
    let (code, out, err) = daemon.twinwall(&["flows", "--sort", "bytes", "--port", "443"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.lines().nth(1).unwrap().starts_with("tcp    10.0.0.1"), "{out}");
    assert!(out.trim_end().ends_with("1 of 5 flows"), "{out}");
    let (_, out, _) = daemon.twinwall(&[
        "flows", "-s", "bytes", "--port", "8", "--watch", "0.1", "--count", "1", "--json",
    ]);
    let json: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    assert_eq!(json["flows"][0]["mark"], 8);
    assert_eq!(json["flows"][0]["bits_per_second"], 10_000.0, "{out}");
    let (code, _, err) = daemon.twinwall(&["flows", "--address", "10.0.0.0/33"]);
    assert!(code == Some(2) && err.contains("is no address such as"), "{err}");
}

#[test]
fn settings_are_shown_and_set() {
    let daemon = Running::start(None);
    let said = |args: &[&str]| daemon.twinwall(&[&["sysctl"], args].concat());
    let all = "net.netfilter.nf_conntrack_acct = 0\nnet.netfilter.nf_conntrack_udp_timeout = 30\n";
    assert_eq!(said(&[]), (Some(0), all.into(), String::new()));
    let one = said(&["nf_conntrack_udp_timeout"]);
    assert_eq!(one.1, "net.netfilter.nf_conntrack_udp_timeout = 30\n");
    let set = said(&["net.netfilter.nf_conntrack_acct=1", "nf_conntrack_udp_timeout"]);
    assert_eq!(set.0, Some(0), "{set:?}");
    assert!(set.1.starts_with("net.netfilter.nf_conntrack_acct = 1\n"), "{set:?}");
    for (wrong, why) in [
        ("nf_conntrack_acct=101", "must be 0 to 100"),
        ("nf_conntrack_acct=yes", "is no NAME=NUMBER"),
        ("nf_conntrack_nonsense", "there is no setting"),
    ] {
        let (code, _, err) = said(&[wrong]);
        assert!(code == Some(1) && err.contains(why), "{wrong}: {err}");
    }
    let (_, json, _) = said(&["--json", "nf_conntrack_acct"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["settings"][0]["value"], 0);
}

#[test]
fn a_node_among_others_is_shown_and_told_what_to_be() {
    let daemon = Running::start(None);
    let (code, out, _) = daemon.twinwall(&["ha", "status"]);
    assert_eq!(code, Some(0));
    for line in [
        "role          active",
        "owner         this node, term 5",
        "flows         1,000 own, 99,000 imported",
        "bulk          [#############-----------------]  45 % 470,000 of 1,048,576 slots",
        "lag           half 0.21 ms, 99 of 100 1.90 ms, 17 changes of flows not confirmed",
        "verify        1,024 parts compared, 1 differ, 2 skipped",
        "sync0: Network is down (os error 100)",
        "ALARM  node 2 has another ruleset",
    ] {
        assert!(out.lines().any(|found| found == line), "{line:?} in\n{out}");
    }
    let (_, out, _) = daemon.twinwall(&["ha", "status", "--watch", "0.1", "--count", "1"]);
    assert!(out.contains("nacks"), "{out}");
    assert!(!out.contains("rejected_forged"), "it did not grow: {out}");
    let (_, out, _) = daemon.twinwall(&["ha", "status", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["peers"][0]["watermark_age_us"], 5_000);
    assert_eq!(json["counters"]["rejected_forged"], 4);
    let metrics = daemon.text("/metrics");
    for line in [
        "twinwall_ha_role{role=\"active\"} 1",
        "twinwall_ha_role{role=\"standby\"} 0",
        "twinwall_ha_lag_seconds{quantile=\"0.99\"} 0.0019",
        "twinwall_ha_peer_watermark_age_seconds{peer=\"2\"} 0.005",
        "twinwall_ha_events_total{event=\"rejected_forged\"} 4",
        "twinwall_ha_link_tx_errors_total{interface=\"sync0\"} 8",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line:?} in\n{metrics}");
    }

    assert_eq!(daemon.twinwall(&["ha", "check"]).0, Some(0));
    let (code, _, said) = daemon.twinwall(&["ha", "promote"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("409 Conflict: flows are missing"), "{said}");
    for (args, done) in [
        (&["ha", "promote", "--force"][..], "Promote { force: true }"),
        (&["ha", "demote"], "Demote"),
        (&["ha", "resync"], "Resync"),
        (&["ha", "pull-ruleset", "2"], "PullRuleset(2)"),
        (&["ha", "notify", "GROUP", "twinwall", "MASTER", "150"], "Notify(\"MASTER\")"),
        (&["ha", "notify", "INSTANCE", "lan", "FAULT"], "Notify(\"FAULT\")"),
    ] {
        let (code, out, said) = daemon.twinwall(args);
        assert_eq!((code, out.trim()), (Some(0), done), "{args:?}: {said}");
    }
    let (code, out, _) = daemon.twinwall(&["ha", "verify"]);
    assert_eq!((code, out.trim()), (Some(1), "1,024 parts compared, 1 differ, 2 skipped"));
    let post = |target: &str, body: &str| {
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        let patience = std::time::Duration::from_secs(5);
        let client = Client::new(&daemon.path());
        runtime().block_on(client.post::<serde_json::Value>(target, &value, patience))
    };
    let refused = post("/v1/ha/promote", "{\"forced\": true}").unwrap_err().to_string();
    assert!(refused.contains("400 Bad Request") || refused.contains("422"), "{refused}");
    assert!(refused.contains("forced"), "{refused}");
}

#[test]
fn a_node_that_is_alone_says_so() {
    let daemon = Running::of(MadeUp::alone(), None);
    for args in [&["ha", "status"][..], &["ha", "check"]] {
        let (code, _, said) = daemon.twinwall(args);
        assert_eq!(code, Some(1));
        assert!(said.contains("404 Not Found: this node is alone"), "{said}");
    }
    assert!(!daemon.text("/metrics").contains("twinwall_ha_role{"));
}
