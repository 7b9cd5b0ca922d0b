//! What `iptables-save` and its kin printed somewhere, through the nft flavour of the restore commands and back.

use std::collections::BTreeMap;
use std::fs;

use crate::corpus::{self, text};
use crate::lab::{Lab, Side};
use crate::tally::{Outcome, Tally, listing};

/// Restores, saves, and lists what that made of nf_tables.
fn restore_and_save(lab: &Lab, side: Side, tool: &str, dump: &str) -> Outcome {
    lab.flush(side);
    let done = lab.tool(side, &format!("{tool}-nft-restore"), &[], dump);
    if !done.ok() {
        return Outcome::Refused(done.err.trim().replace('\n', " | "));
    }
    let save = lab.tool(side, &format!("{tool}-nft-save"), &["-c"], "");
    if !save.ok() {
        return Outcome::Refused(format!("can't be saved: {}", save.err.trim()));
    }
    // The comments have the time of day.
    let saved = save.out.lines().filter(|line| !line.starts_with('#'));
    let saved = saved.map(|line| format!("{line}\n")).collect();
    let nft = lab.nft(side, &["-a", "list", "ruleset"]);
    Outcome::Listed(vec![("save", saved), ("nft", listing::text(&nft.out))])
}

#[test]
fn saved_iptables_rules_are_saved_as_from_the_kernel() {
    let Some(lab) = corpus::folder().and_then(|_| Lab::new(&corpus::devices())) else { return };
    let mut tally = Tally::new("real iptables dumps");
    for row in corpus::rows("real_index.jsonl") {
        if text(&row, "dir") != "real/ipt" {
            continue;
        }
        let tool = match text(&row, "kind") {
            "v4" => "iptables",
            "v6" => "ip6tables",
            "arp" => "arptables",
            "eb" => "ebtables",
            other => panic!("{other}"),
        };
        if !corpus::tool(&format!("{tool}-nft-restore")) {
            eprintln!("******** SKIPPED: no {tool}-nft-restore ********");
            continue;
        }
        let path = corpus::folder().unwrap().join("real/ipt").join(text(&row, "file"));
        let dump = fs::read_to_string(&path).unwrap();
        let (kernel, ours) = lab.both(|side| restore_and_save(&lab, side, tool, &dump));
        assert!(lab.alive(), "the engine died of {}", path.display());
        tally.add(text(&row, "file"), &kernel, &ours);
    }
    tally.finish(95);
}

/// Rules that are restored at once.
const CHUNK: usize = 40;

/// A rule of iptables' own tests.
#[derive(Clone)]
struct Rule {
    name: String,
    line: String,
}

/// Restores rules of one table, saves them, and lists what that made of nf_tables.
fn restore_rules(lab: &Lab, side: Side, tool: &str, table: &str, rules: &[Rule]) -> Outcome {
    let lines: String = rules.iter().map(|rule| format!("{}\n", rule.line)).collect();
    restore_and_save(lab, side, tool, &format!("*{table}\n{lines}COMMIT\n"))
}

/// Those that all their own tests' rules are taken from, in groups of one tool and table.
fn rules_of_tests() -> BTreeMap<(String, String), Vec<Rule>> {
    let mut groups: BTreeMap<_, Vec<Rule>> = BTreeMap::new();
    for row in corpus::rows("ipt_rules.jsonl") {
        for target in row["targets"].as_array().unwrap() {
            if target["nft_ok_189"] != true {
                continue;
            }
            let (tool, chain) = (text(target, "tool"), text(target, "chain"));
            let line = format!("-A {chain} {}", text(&row, "rule"));
            let name = format!("{} {tool} {line}", text(&row, "id"));
            let group = (tool.to_owned(), text(&row, "table").to_owned());
            groups.entry(group).or_default().push(Rule { name, line });
        }
    }
    groups
}

#[test]
fn rules_of_iptables_own_tests_are_saved_as_from_the_kernel() {
    let Some(lab) = corpus::folder().and_then(|_| Lab::new(&corpus::devices())) else { return };
    let mut tally = Tally::new("rules of iptables' own tests");
    for ((tool, table), rules) in rules_of_tests() {
        if !corpus::tool(&format!("{tool}-nft-restore")) {
            eprintln!("******** SKIPPED: no {tool}-nft-restore ********");
            continue;
        }
        for chunk in rules.chunks(CHUNK) {
            let both =
                |rules: &[Rule]| lab.both(|side| restore_rules(&lab, side, &tool, &table, rules));
            let (kernel, ours) = both(chunk);
            let all_equal = matches!(kernel, Outcome::Listed(_)) && kernel == ours;
            for rule in chunk {
                let (kernel, ours) = if all_equal {
                    (Outcome::Listed(Vec::new()), Outcome::Listed(Vec::new()))
                } else {
                    both(std::slice::from_ref(rule))
                };
                assert!(lab.alive(), "the engine died of {}", rule.name);
                tally.add(&rule.name, &kernel, &ours);
            }
        }
    }
    tally.finish(95);
}

/// Scripts in shell, by name. `t` runs a command and tells its exit status.
const SCRIPTS: &[(&str, &str)] = &[
    (
        "append, insert, replace, check, delete",
        "i() { iptables-nft \"$@\" 2>&1; }
         for p in 22 80 443; do t i -A INPUT -p tcp --dport $p -m conntrack --ctstate NEW -j ACCEPT; done
         t i -I INPUT -i eth1 -j DROP; t i -I INPUT 3 -m comment --comment 'third rule' -j RETURN; t i -I INPUT 99 -j DROP
         t i -R INPUT 2 -s 10.0.0.0/8 -m mac --mac-source 02:00:00:00:00:01 -j LOG --log-prefix 'seen: '; t i -S; t i -L -v -n --line-numbers
         t i -C INPUT -p tcp --dport 443 -m conntrack --ctstate NEW -j ACCEPT; t i -C INPUT -p tcp --dport 444 -j ACCEPT
         t i -D INPUT -p tcp --dport 443 -m conntrack --ctstate NEW -j ACCEPT; t i -D INPUT 1; t i -D INPUT 99; t i -D INPUT -j DROP; t i -S
         t i -L INPUT 2; t i -S INPUT 2; t nft list ruleset",
    ),
    (
        "chains, policies and counters",
        "i() { iptables-nft \"$@\" 2>&1; }
         t i -N own; t i -N own; t i -A FORWARD -j own; t i -A own -m mark --mark 1 -j RETURN; t i -X own; t i -E own other; t i -S
         t i -P FORWARD DROP; t i -P own DROP; t i -P FORWARD RETURN; t i -A FORWARD -g other; t i -A other -j own
         t i -A FORWARD -c 5 600 -p udp -j ACCEPT; t i -L -v -x; t i -Z FORWARD; t i -L -v; t i -Z FORWARD 1; t i -F FORWARD; t i -X other; t i -X; t i -S
         t i -t nat -A POSTROUTING -o eth1 -j MASQUERADE; t i -t nat -A FORWARD -j ACCEPT; t i -t nat -P POSTROUTING DROP
         t i -A INPUT -j MASQUERADE; t i -t nat -N n; t i -t nat -A n -j MASQUERADE; t i -t nat -A PREROUTING -j n; t i -t nat -S
         t i -t raw -A OUTPUT -j CT --notrack; t i -t raw -S; t i -t mangle -A PREROUTING -j TTL --ttl-inc 1; t i -t filter -A INPUT -j TTL --ttl-inc 1
         t i -t nosuch -S; t i -F nosuch; t i -A INPUT -m nosuch; t i -A INPUT -j NOSUCH; t i -t nat -F; t i -t nat -X; t nft list ruleset",
    ),
    (
        "restore and save",
        "save() { iptables-nft-save \"$@\" 2>&1 | grep -v '^#'; }
         rules() { printf '*filter\\n:INPUT DROP [3:400]\\n:own - [0:0]\\n-A INPUT -p tcp -m multiport --dports 1,2:3 -j own\\n'; printf \"$@\"; }
         rules 'COMMIT\\n' | t iptables-nft-restore; t save; t save -c; t save -t filter
         rules 'COMMIT\\n' | t iptables-nft-restore -n; t save; rules '[7:8] -A own -j REJECT --reject-with tcp-reset\\nCOMMIT\\n' | t iptables-nft-restore -c 2>&1
         t save; rules '-A own -m nosuch\\nCOMMIT\\n' | t iptables-nft-restore 2>&1; rules '-A none -j ACCEPT\\nCOMMIT\\n' | t iptables-nft-restore 2>&1
         rules 'COMMIT\\n' | t iptables-nft-restore --test; t save; rules 'COMMIT\\n' | t iptables-nft-restore -T filter; t save -c; t nft list ruleset",
    ),
    (
        "IPv6",
        "i() { ip6tables-nft \"$@\" 2>&1; }
         t i -A INPUT -p icmpv6 --icmpv6-type echo-request -m hl --hl-eq 255 -j ACCEPT; t i -A FORWARD -m rt --rt-type 0 -j DROP
         t i -A FORWARD -s 2001:db8::/32 -m frag --fragmore -j REJECT --reject-with icmp6-adm-prohibited; t i -A FORWARD -p tcp -j REJECT --reject-with tcp-reset
         t i -A FORWARD -j REJECT --reject-with tcp-reset; t i -t mangle -A POSTROUTING -j HL --hl-set 9; t i -t nat -A PREROUTING -p tcp -j DNAT --to [2001:db8::1]:80
         t i -S; t i -L -v -n; t i -t mangle -S; t i -t nat -S; t nft list ruleset",
    ),
    (
        "ARP",
        "a() { arptables-nft \"$@\" 2>&1; }
         t a -A INPUT -s 10.0.0.1 --opcode 1 -j DROP; t a -A OUTPUT -d 10.0.0.2 -j mangle --mangle-ip-d 10.0.0.3; t a -A OUTPUT -j MARK --set-mark 7
         t a -A OUTPUT -j CLASSIFY --set-class 1:2; t a -A INPUT -j CLASSIFY --set-class 1:2; t a -N own; t a -A INPUT -j own; t a -P OUTPUT DROP
         t a -L -v; t a -D INPUT 1; t a -F own; t a -X own; arptables-nft-save; t nft list ruleset",
    ),
    (
        "bridges",
        "e() { ebtables-nft \"$@\" 2>&1; }
         t e -A FORWARD -p IPv4 --ip-src 10.0.0.1 --ip-proto tcp --ip-dport 22:23 -j DROP; t e -A FORWARD -p ARP --arp-op Request -j ACCEPT
         t e -A FORWARD -p 802_1Q --vlan-id 5 -j mark --mark-set 1; t e -A FORWARD --among-src 02:00:00:00:00:01,02:00:00:00:00:02=10.0.0.1 -j DROP
         t e -A FORWARD --limit 5/sec -j CONTINUE; t e -A FORWARD --log --log-prefix seen --log-ip; t e -t nat -A PREROUTING -d 02:00:00:00:00:03 -j dnat --to-dst 02:00:00:00:00:04
         t e -t nat -A POSTROUTING -j snat --to-src 02:00:00:00:00:05; t e -A INPUT -j dnat --to-dst 02:00:00:00:00:04; t e -N own; t e -P own DROP; t e -A FORWARD -j own
         t e -L; t e -L --Lc; t e -t nat -L; t e -D FORWARD 1; t e -P FORWARD DROP; ebtables-nft-save; t e -F; t e -X own; t e -L; t nft list ruleset",
    ),
];

#[test]
fn commands_print_and_end_as_on_the_kernel() {
    let Some(lab) = corpus::folder().and_then(|_| Lab::new(&["eth1".to_owned()])) else { return };
    if !["iptables-nft", "ip6tables-nft", "arptables-nft", "ebtables-nft"]
        .into_iter()
        .all(corpus::tool)
    {
        eprintln!("******** SKIPPED: no iptables-nft ********");
        return;
    }
    let mut tally = Tally::new("commands of iptables");
    for (name, script) in SCRIPTS {
        let script = format!("t() {{ echo \"> $*\"; \"$@\"; echo \"= $?\"; }}\n{script}");
        let (kernel, ours) = lab.both(|side| {
            lab.flush(side);
            let done = lab.tool(side, "sh", &["-c", &script], "");
            let printed = done.out + &done.err;
            let lines = printed.lines().filter(|line| !line.starts_with('#'));
            let printed: String = lines.map(|line| format!("{line}\n")).collect();
            Outcome::Listed(vec![("printed", listing::text(&printed))])
        });
        assert!(lab.alive(), "the engine died in {name}");
        tally.add(name, &kernel, &ours);
    }
    tally.finish(100);
}
