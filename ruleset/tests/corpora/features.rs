//! What `nft` does beside loading and listing: each script runs on both sides, and all that it prints and every exit status must
//! be the same.

use crate::corpus;
use crate::lab::Lab;
use crate::tally::{Outcome, Tally, listing};

/// Scripts in shell, by name. `n` is the nft at hand; `t` runs a command and tells its exit status.
const SCRIPTS: &[(&str, &str)] = &[
    (
        "check only",
        "n add table ip t; n add chain ip t c
         t n -c add rule ip t c counter; t n -c add rule ip t missing counter; t n -c add table ip t2
         t n -c delete table ip t; t n list ruleset",
    ),
    (
        "insert, add and replace by handle, index and position",
        "n add table inet t; n add chain inet t c
         for i in 1 2 3 4; do n add rule inet t c meta mark $i; done
         t n insert rule inet t c meta mark 10; t n add rule inet t c handle 3 meta mark 11
         t n insert rule inet t c handle 3 meta mark 12; t n add rule inet t c index 0 meta mark 13
         t n insert rule inet t c index 2 meta mark 14; t n add rule inet t c position 4 meta mark 15
         t n -a list chain inet t c
         t n replace rule inet t c handle 4 meta mark 16 counter; t n -a list chain inet t c
         t n delete rule inet t c handle 5; t n delete rule inet t c handle 5; t n delete rule inet t c handle 99
         t n replace rule inet t c handle 99 accept; t n add rule inet t c handle 99 accept
         t n add rule inet t c index 99 accept; t n insert rule inet t c position 99 accept
         t n -a list ruleset; t n -j -a list ruleset",
    ),
    (
        "rules that name rules of the same batch",
        "t n 'add table ip t; add chain ip t c; add rule ip t c meta mark 1; add rule ip t c index 0 meta mark 2;
              insert rule ip t c index 0 meta mark 0; add rule ip t c index 1 meta mark 9'
         t n -a list ruleset",
    ),
    (
        "rename",
        "n add table ip t; n add chain ip t a; n add chain ip t b; n add rule ip t b jump a
         t n rename chain ip t a z; t n list ruleset; t n rename chain ip t z b; t n rename chain ip t missing q
         t n 'add chain ip t x; rename chain ip t x y'; t n list ruleset; t n 'rename chain ip t y p; add chain ip t y'
         t n -a list ruleset",
    ),
    (
        "delete what is in use",
        "n add table ip t; n add chain ip t a; n add chain ip t b; n add rule ip t b jump a
         t n delete chain ip t a; t n delete chain ip t b; t n list ruleset
         t n flush chain ip t b; t n delete chain ip t a; t n delete chain ip t missing; t n delete table ip missing
         n add rule ip t b counter; t n delete chain ip t b; t n list ruleset
         n add set ip t s '{ type ipv4_addr; }'; n add rule ip t b ip saddr @s; t n delete set ip t s
         t n flush ruleset; t n list ruleset",
    ),
    (
        "loops and depth",
        "n add table ip t; for c in a b c d; do n add chain ip t $c; done
         n add rule ip t a jump b; n add rule ip t b jump c; n add rule ip t c goto d
         t n add rule ip t d jump a; t n add rule ip t a jump a; t n add rule ip t d goto d
         n add chain ip t base '{ type filter hook input priority 0; }'; t n add rule ip t base jump a
         t n add rule ip t a jump base; t n add rule ip t a jump missing
         for i in $(seq 1 20); do echo add chain ip t x$i; done >x; for i in $(seq 1 19); do
         echo add rule ip t x$i jump x$((i + 1)); done >>x; t n -f x; t n list ruleset",
    ),
    (
        "base chains",
        "n add table ip t
         t n add chain ip t a '{ type filter hook input priority 5; policy drop; }'; t n add chain ip t a '{ policy accept; }'
         t n add chain ip t a '{ type filter hook input priority 6; }'; t n add chain ip t a '{ type nat hook input priority 5; }'
         t n add chain ip t b '{ type nat hook forward priority 0; }'; t n add chain ip t b '{ type route hook input priority 0; }'
         t n add chain ip t b '{ type filter hook ingress device lo priority 0; }'
         t n add chain ip t b '{ type nat hook prerouting priority -300; }'; t n add chain ip t b '{ type nat hook prerouting priority dstnat; }'
         t n create chain ip t b; t n create chain ip t k; t n add chain ip t k '{ type filter hook output priority 0; }'
         t n add chain ip t k '{ policy drop; }'; t n add chain ip t b '{ policy drop; }'
         n add table inet i; t n add chain inet i x '{ type filter hook ingress device lo priority 1; }'
         t n add chain inet i y '{ type nat hook postrouting priority srcnat; }'
         n add table bridge b; t n add chain bridge b y '{ type filter hook prerouting priority filter; }'
         t n add chain bridge b z '{ type nat hook prerouting priority filter; }'
         n add table arp a; t n add chain arp a y '{ type filter hook forward priority filter; }'
         t n add chain arp a z '{ type filter hook input priority filter; policy drop; }'
         n add table netdev n; t n add chain netdev n y '{ type filter hook ingress device lo priority filter; }'
         t n add chain netdev n z '{ type filter hook ingress device missing priority filter; }'
         t n add chain netdev n w '{ type filter hook egress device lo priority filter; }'
         t n add chain netdev n v '{ type filter hook input priority filter; }'
         t n add chain netdev n u '{ type filter hook ingress devices = { lo, eth1 } priority 7; policy drop; }'
         t n -a list ruleset; t n -j list ruleset; t n list chains; t n list tables; t n list tables ip",
    ),
    (
        "dormant",
        "n add table ip t '{ flags dormant; }'; n add chain ip t c '{ type filter hook input priority 0; }'; t n list ruleset
         t n add table ip t; t n list ruleset; t n add table ip t '{ flags dormant; }'; t n list ruleset
         t n -j add table ip t; t n list tables",
    ),
    (
        "echo",
        "t n -e add table ip t; t n -e -a add chain ip t c; t n -e -a add rule ip t c counter accept; t n -j -e -a add rule ip t c drop
         t n -e -a insert rule ip t c meta mark 1; t n -e add set ip t s '{ type ipv4_addr; elements = { 192.0.2.1 }; }'
         t n -e add element ip t s '{ 192.0.2.2 }'; t n -e -a add rule ip t c ip saddr '{ 10.0.0.1, 10.0.0.2 }' drop
         t n -e delete element ip t s '{ 192.0.2.2 }'; t n -e delete table ip t",
    ),
    (
        "JSON in",
        r#"cat >j <<'END'
{"nftables": [{"add": {"table": {"family": "inet", "name": "j"}}},
 {"add": {"chain": {"family": "inet", "table": "j", "name": "c", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}}},
 {"add": {"set": {"family": "inet", "table": "j", "name": "s", "type": "ipv4_addr", "flags": ["interval"], "elem": [{"prefix": {"addr": "10.0.0.0", "len": 8}}]}}},
 {"add": {"rule": {"family": "inet", "table": "j", "chain": "c", "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@s"}}, {"counter": null}, {"accept": null}]}}},
 {"insert": {"rule": {"family": "inet", "table": "j", "chain": "c", "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": {"set": [22, 80]}}}, {"accept": null}]}}}]}
END
         t n -j -f j; t n -a list ruleset; t n -j -a list ruleset; n -j list ruleset >dump; n flush ruleset; t n -j -f dump; t n list ruleset
         echo '{"nftables": [{"delete": {"rule": {"family": "inet", "table": "j", "chain": "c", "handle": 99}}}]}' >j; t n -j -f j
         echo '{"nftables": [{"flush": {"chain": {"family": "inet", "table": "j", "name": "c"}}}]}' >j; t n -j -f j; t n list ruleset"#,
    ),
    (
        "reset",
        "n add table ip t; n add counter ip t c '{ packets 3 bytes 300; }'; n add quota ip t q '{ 10 mbytes used 1 mbytes; }'
         n add chain ip t x; n add rule ip t x counter packets 5 bytes 50 counter name c quota name q
         t n list ruleset; t n reset counter ip t c; t n list counters; t n reset quotas; t n reset counters; t n list quotas
         t n reset quota ip t q; t n reset counter ip t missing; t n reset counters table ip t; t n list ruleset",
    ),
    (
        "stateful objects",
        "n add table ip t; n add chain ip t x; t n add counter ip t c; t n create counter ip t c; t n add quota ip t c 10 bytes
         t n add limit ip t l rate 400/minute burst 5 packets; t n add limit ip t l2 rate over 1 mbytes/second
         t n add synproxy ip t s mss 1460 wscale 7 timestamp sack-perm; t n add synproxy ip t s mss 1 wscale 2
         t n add rule ip t x counter name c; t n add rule ip t x limit name l; t n add rule ip t x counter name missing
         t n delete counter ip t c; t n delete quota ip t c; t n delete limit ip t l2; t n delete limit ip t l2
         t n 'add map ip t m { type ipv4_addr : counter; }'; t n 'add element ip t m { 10.0.0.1 : \"c\" }'
         t n 'add element ip t m { 10.0.0.2 : \"missing\" }'; t n add rule ip t x counter name ip saddr map @m
         t n -a list ruleset; t n -j list ruleset; t n list counters; t n list limits; t n list counter ip t c; t n list synproxys
         t n flush table ip t; t n delete counter ip t c; t n delete map ip t m; t n delete counter ip t c; t n list ruleset",
    ),
    (
        "elements",
        "n add table ip t; n add set ip t s '{ type ipv4_addr; }'; t n add element ip t s '{ 1.1.1.1, 2.2.2.2 }'
         t n add element ip t s '{ 1.1.1.1 }'; t n create element ip t s '{ 1.1.1.1 }'; t n delete element ip t s '{ 3.3.3.3 }'
         t n get element ip t s '{ 1.1.1.1 }'; t n get element ip t s '{ 9.9.9.9 }'; t n delete element ip t s '{ 1.1.1.1 }'
         t n list set ip t s; t n flush set ip t s; t n list set ip t s; t n flush set ip t missing; t n list set ip t missing
         n add set ip t small '{ type ipv4_addr; size 2; }'; t n add element ip t small '{ 1.1.1.1, 2.2.2.2, 3.3.3.3 }'
         t n add element ip t small '{ 1.1.1.1, 2.2.2.2 }'; t n add element ip t small '{ 3.3.3.3 }'; t n list set ip t small
         n add map ip t m '{ type ipv4_addr : mark; }'; t n add element ip t m '{ 1.1.1.1 : 1 }'; t n add element ip t m '{ 1.1.1.1 : 2 }'
         t n add element ip t m '{ 1.1.1.1 : 1 }'; t n add element ip t m '{ 1.1.1.1 }'; t n get element ip t m '{ 1.1.1.1 }'; t n list map ip t m
         n add chain ip t c; n add map ip t v '{ type ipv4_addr : verdict; }'; t n add element ip t v '{ 1.1.1.1 : jump c, 2.2.2.2 : drop }'
         t n delete chain ip t c; t n add element ip t v '{ 3.3.3.3 : jump missing }'; t n list map ip t v
         t n delete element ip t v '{ 1.1.1.1 }'; t n delete chain ip t c; t n list sets; t n list maps; t n -a list ruleset",
    ),
    (
        "intervals",
        "n add table ip t; n add set ip t i '{ type ipv4_addr; flags interval; }'
         t n add element ip t i '{ 10.0.0.0/8, 192.168.1.10-192.168.1.20, 203.0.113.7 }'; t n list set ip t i
         t n add element ip t i '{ 10.1.0.0/16 }'; t n add element ip t i '{ 10.0.0.0/8 }'; t n create element ip t i '{ 10.0.0.0/8 }'
         t n get element ip t i '{ 10.2.3.4 }'; t n get element ip t i '{ 192.168.1.11-192.168.1.12 }'; t n get element ip t i '{ 11.0.0.1 }'
         t n delete element ip t i '{ 10.0.0.0/8 }'; t n delete element ip t i '{ 192.168.1.10 }'; t n list set ip t i
         t n add element ip t i '{ 0.0.0.0/1 }'; t n add element ip t i '{ 255.255.255.255 }'; t n list set ip t i
         n add set ip t a '{ type ipv4_addr; flags interval; auto-merge; }'; t n add element ip t a '{ 10.0.0.0/25, 10.0.0.128/25, 10.0.1.0/24 }'
         t n list set ip t a; t n add element ip t a '{ 10.0.0.5 }'; t n delete element ip t a '{ 10.0.0.64/26 }'; t n list set ip t a
         n add set inet missing x '{ type ipv4_addr; }'; n add table inet t; n add set inet t p '{ type inet_service; flags interval; }'
         t n add element inet t p '{ 0-1023, 65535 }'; t n list set inet t p; t n delete element inet t p '{ 0-1023 }'; t n list set inet t p
         n add map ip t im '{ type ipv4_addr : verdict; flags interval; }'; t n add element ip t im '{ 10.0.0.0/8 : drop, 11.0.0.0/8 : accept, * : continue }'
         t n list map ip t im; t n delete element ip t im '{ * }'; t n list map ip t im; t n add element ip t im '{ 10.0.0.0/9 : accept }'",
    ),
    (
        "concatenations",
        "n add table inet t; n add set inet t s '{ type ipv4_addr . inet_proto . inet_service; }'
         t n add element inet t s '{ 1.1.1.1 . tcp . 22, 2.2.2.2 . udp . 53 }'; t n get element inet t s '{ 1.1.1.1 . tcp . 22 }'
         t n get element inet t s '{ 1.1.1.1 . tcp . 23 }'; t n delete element inet t s '{ 1.1.1.1 . tcp . 22 }'; t n list set inet t s
         n add set inet t r '{ type ipv4_addr . inet_service; flags interval; }'
         t n add element inet t r '{ 10.0.0.0/8 . 80-90, 192.168.0.1-192.168.0.9 . 443 }'; t n list set inet t r
         t n add element inet t r '{ 10.0.0.0/8 . 80-90 }'; t n create element inet t r '{ 10.0.0.0/8 . 80-90 }'; t n add element inet t r '{ 10.1.0.0/16 . 85 }'
         t n get element inet t r '{ 10.3.3.3 . 81 }'; t n get element inet t r '{ 10.3.3.3 . 91 }'
         t n delete element inet t r '{ 10.0.0.0/8 . 80-90 }'; t n delete element inet t r '{ 10.0.0.0/8 . 80-90 }'; t n list set inet t r
         n add map inet t m '{ type ipv4_addr . inet_service : ipv4_addr . inet_service; }'; t n add element inet t m '{ 1.1.1.1 . 80 : 2.2.2.2 . 8080 }'
         t n add rule inet t c dnat ip to ip daddr . tcp dport map @m; n add chain inet t c '{ type nat hook prerouting priority 0; }'
         t n add rule inet t c dnat ip to ip daddr . tcp dport map @m; t n -a list ruleset; t n -j list ruleset",
    ),
    (
        "timeouts",
        "n add table ip t; n add set ip t s '{ type ipv4_addr; timeout 1h; }'; t n add element ip t s '{ 1.1.1.1, 2.2.2.2 timeout 2h, 3.3.3.3 timeout 3h expires 2h }'
         t n list set ip t s; t n -j list set ip t s; n add set ip t x '{ type ipv4_addr; }'; t n add element ip t x '{ 1.1.1.1 timeout 5s }'
         n add set ip t y '{ type ipv4_addr; flags timeout; gc-interval 10s; }'; t n add element ip t y '{ 1.1.1.1 timeout 1s, 2.2.2.2 }'
         t n list set ip t y; sleep 1.5; t n list set ip t y; t n get element ip t y '{ 1.1.1.1 }'; t n add element ip t y '{ 1.1.1.1 timeout 50s }'; t n list ruleset",
    ),
    (
        "dynamic sets and meters",
        "n add table ip t; n add chain ip t c '{ type filter hook input priority 0; }'; n add set ip t d '{ type ipv4_addr; flags dynamic, timeout; size 128; }'
         t n add rule ip t c add @d '{ ip saddr }'; t n add rule ip t c update @d '{ ip saddr timeout 10s limit rate 5/second }'
         t n add rule ip t c delete @d '{ ip saddr }'; t n add rule ip t c meter m '{ ip saddr limit rate 10/second }' drop
         t n add rule ip t c add @d '{ ip saddr counter ct count over 5 }'; n add set ip t e '{ type ipv4_addr; }'; t n add rule ip t c add @e '{ ip saddr }'
         n add map ip t dm '{ type ipv4_addr : mark; flags dynamic; }'; t n add rule ip t c add @dm '{ ip saddr : 1 }'; t n list meters; t n list meter ip t m
         n add set ip t cs '{ type ipv4_addr; flags dynamic; counter; }'; t n add element ip t cs '{ 1.1.1.1 counter packets 5 bytes 6, 2.2.2.2 }'; t n -a list ruleset; t n -j list ruleset",
    ),
    (
        "flush",
        "n add table ip a; n add table ip b; n add table ip6 c; n add chain ip a x; n add rule ip a x counter; n add set ip a s '{ type ipv4_addr; elements = { 1.1.1.1 }; }'
         t n flush chain ip a x; t n list ruleset; n add rule ip a x ip saddr @s; t n flush table ip a; t n list ruleset
         t n flush ruleset ip; t n list ruleset; t n flush ruleset; t n list ruleset; t n flush table ip missing",
    ),
    (
        "all or nothing",
        "n add table ip t; t n 'add chain ip t a; add rule ip t a counter; add rule ip t missing counter; add chain ip t b'; t n list ruleset
         t n 'delete table ip t; add table ip t; add chain ip t fresh'; t n list ruleset
         t n 'flush ruleset; add table ip x; add chain ip x c; delete table ip x'; t n list ruleset",
    ),
    (
        "owner",
        "(echo 'add table ip o { flags owner; }'; echo 'add chain ip o c'; sleep 0.6) | n -i >/dev/null & sleep 0.3
         t n list tables; t n delete table ip o; t n add chain ip o d; t n flush ruleset; t n add table ip o; t n list tables; wait; t n list ruleset
         n add table ip p; t n add table ip p '{ flags owner; }'",
    ),
    (
        "names",
        "n add table ip t; long=$(printf 'x%.0s' $(seq 255)); t n add chain ip t $long; t n add chain ip t ${long%x}; t n add table ip ${long%x}
         t n add set ip t $long '{ type ipv4_addr; }'; t n add chain ip t a_b-c/d.e; t n list ruleset",
    ),
    (
        "comments",
        "t n 'add table ip t { comment \"a table\"; }'; t n 'add chain ip t c { comment \"a chain\"; }'; t n 'add set ip t s { type ipv4_addr; comment \"a set\"; }'
         t n 'add element ip t s { 1.1.1.1 comment \"an element\" }'; t n 'add rule ip t c counter comment \"a rule\"'; t n 'add counter ip t n { comment \"a counter\"; }'
         t n -a list ruleset; t n -j -a list ruleset",
    ),
    (
        "list parts",
        "n add table ip t; n add chain ip t c; n add rule ip t c counter; n add table inet u; n add set inet u s '{ type ipv4_addr; elements = { 1.1.1.1 }; }'
         t n list table ip t; t n list table ip missing; t n list chain ip t c; t n list chain ip t missing; t n list chains ip; t n list sets inet
         t n list set inet u s; t n -t list ruleset; t n -s list ruleset; t n -n list ruleset; t n list ruleset inet; t n list flowtables; t n list ct helpers table ip t
         t n list maps; t n list quotas; t n list ct timeout table ip t; t n list secmarks; t n describe ip saddr",
    ),
    (
        "expressions without a meaning where they stand",
        "n add table ip t; n add chain ip t in '{ type filter hook input priority 0; }'; n add chain ip t pre '{ type filter hook prerouting priority 0; }'
         n add chain ip t nat '{ type nat hook postrouting priority 0; }'; n add chain ip t out '{ type filter hook output priority 0; }'
         t n add rule ip t in oifname x; t n add rule ip t pre masquerade; t n add rule ip t nat masquerade; t n add rule ip t in snat to 1.1.1.1
         t n add rule ip t out tproxy to :80; t n add rule ip t pre tproxy to :80; t n add rule ip t in fib saddr oif; t n add rule ip t out fib saddr oif exists
         t n add rule ip t nat redirect; t n add rule ip t pre notrack; t n add rule ip t in notrack; t n add rule ip t nat notrack; t n add rule ip t pre reject
         t n add rule ip t nat reject; t n add rule ip t in synproxy mss 1460 wscale 7; t n add rule ip t pre synproxy mss 1460 wscale 7
         t n add chain ip t plain; t n add rule ip t plain masquerade; t n add rule ip t in jump plain; t n add rule ip t nat jump plain; t n list ruleset",
    ),
];

#[test]
fn commands_print_and_end_as_on_the_kernel() {
    let Some(lab) = Lab::new(&["eth1".to_owned()]) else { return };
    let mut tally = Tally::new("features of nft");
    for (name, script) in SCRIPTS {
        let nft = corpus::nft();
        let script = format!(
            "n() {{ {nft} \"$@\" 2>&1; }}; t() {{ echo \"> $*\"; \"$@\"; echo \"= $?\"; }}\n{script}"
        );
        let (kernel, ours) = lab.both(|side| {
            lab.flush(side);
            let dir = lab.folder(side);
            let done =
                lab.tool(side, "sh", &["-c", &format!("cd {}; {script}", dir.display())], "");
            Outcome::Listed(vec![("printed", listing::text(&(done.out + &done.err)))])
        });
        assert!(lab.alive(), "the engine died in {name}");
        tally.add(name, &kernel, &ours);
    }
    tally.finish(95);
}
