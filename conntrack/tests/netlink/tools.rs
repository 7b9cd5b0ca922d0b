//! Commands whose output must be the kernel's, but for ids, times and order.

use crate::masked::lines;
use crate::rig::{Done, On, Rig};

/// Runs each line on both sides and holds exit status, output and complaints equal. A line that does not begin with a program is
/// `conntrack`'s.
fn same(rig: &Rig, script: &str) {
    same_with(rig, script, "");
}

/// The same; each program is started by `starter`.
fn same_with(rig: &Rig, script: &str, starter: &str) {
    let mut different = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let program = if line.starts_with("nfct ") { "" } else { "conntrack " };
        let [kernel, ours] = [On::Kernel, On::Ours]
            .map(|on| rig.shell(on, &format!("{starter}{program}{line}"), ""));
        let seen = |done: &Done| [lines(&done.out), lines(&done.err)].concat();
        let (wanted, got) = (seen(&kernel), seen(&ours));
        if (kernel.code, &wanted) != (ours.code, &got) {
            let only = |these: &[String], those: &[String]| {
                let only = these.iter().filter(|line| !those.contains(line));
                only.fold(String::new(), |all, line| format!("{all}\n    {line}"))
            };
            let (wanted, got) = (only(&wanted, &got), only(&got, &wanted));
            let codes = [kernel.code, ours.code];
            different.push(format!("{line} ended {codes:?}\n  kernel:{wanted}\n  ours:{got}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Flows of every kind.
const FLOWS: &str = "
    -I -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 10 --dport 20 --state ESTABLISHED -u SEEN_REPLY,ASSURED -t 5000 -m 7
    -I -s 1.1.1.2 -d 2.2.2.2 -p tcp --sport 11 --dport 20 --state SYN_SENT -t 5000
    -I -s 1.1.1.3 -d 2.2.2.2 -p tcp --sport 12 --dport 20 --state TIME_WAIT -u ASSURED -t 5000 --src-nat 3.3.3.3:80
    -I -s 1.1.1.4 -d 2.2.2.2 -p tcp --sport 13 --dport 20 --state CLOSE -t 5000 --dst-nat 4.4.4.4
    -I -s 1.1.1.5 -d 2.2.2.2 -p tcp --sport 14 --dport 20 --state NONE -t 5000 --dst-nat 4.4.4.4:8 --src-nat 5.5.5.5
    -I -s 1.1.1.6 -d 2.2.2.2 -p udp --sport 10 --dport 53 -t 5000 --zone 3
    -I -s 1.1.1.7 -d 2.2.2.2 -p udp --sport 10 --dport 53 -t 5000 --orig-zone 4 -u SEEN_REPLY
    -I -s 1.1.1.8 -d 2.2.2.2 -p udp --sport 10 --dport 53 -t 5000 --reply-zone 5 -m 0xffffffff
    -I -s 1.1.1.9 -d 2.2.2.2 -p udplite --sport 10 --dport 53 -t 5000
    -I -s 1.1.1.1 -d 2.2.2.2 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 7 -t 5000
    -I -s 1.1.1.1 -d 2.2.2.2 -p sctp --sport 1 --dport 2 --state ESTABLISHED --orig-vtag 1 --reply-vtag 2 -t 5000
    -I -s 1.1.1.1 -d 2.2.2.2 -p gre --srckey 5 --dstkey 6 -t 5000
    -I -s 1.1.1.1 -d 2.2.2.2 -p 99 -t 5000
    -I -s 2001:db8::1 -d 2001:db8::2 -p tcp --sport 10 --dport 20 --state LISTEN -u SEEN_REPLY -t 5000
    -I -s 2001:db8::1 -d 2001:db8::2 -p udp --sport 10 --dport 20 -t 5000 -u FIXED_TIMEOUT -m 9/15
    -I -s 2001:db8::1 -d 2001:db8::2 -p icmpv6 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 5 -t 5000
";

const LISTINGS: &str = "
    -C
    -L
    -L -o extended
    -L -o xml
    -L -o xml,extended
    -L -o save
    -L -o timestamp
    -L -o ktimestamp
    -L -o id
    -L -o extended,id,labels
    -L -f ipv4
    -L -f ipv6
    -L -p tcp
    -L -p udp -s 1.1.1.6
    -L -p tcp --state ESTABLISHED
    -L -m 7
    -L -m 1/1
    -L -m 0
    -L -u ASSURED
    -L -u SEEN_REPLY,ASSURED
    -L -u UNREPLIED
    -L -u SRC_NAT
    -L --src-nat
    -L --dst-nat
    -L --any-nat
    -L --src-nat 3.3.3.3
    -L --zone 3
    -L --orig-zone 4
    -L --reply-zone 5
    -L -s 1.1.1.0/24 -p tcp
    -L -d 2001:db8::2 -f ipv6
    -L dying
    -L unconfirmed
    -L expect
    -L conntrack
    -L -z
    -G -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 10 --dport 20
    -G -r 2.2.2.2 -q 1.1.1.1 -p tcp --reply-port-src 20 --reply-port-dst 10
    -G -s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 10 --dport 21
    -G -s 1.1.1.6 -d 2.2.2.2 -p udp --sport 10 --dport 53 --zone 3
    -G -s 1.1.1.6 -d 2.2.2.2 -p udp --sport 10 --dport 53
    -G -s 1.1.1.6 -d 2.2.2.2 -p udp --sport 10 --dport 53 --zone 4
    -G -s 2001:db8::1 -d 2001:db8::2 -p icmpv6 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 5
";

#[test]
fn listings_are_the_kernels() {
    let Some(rig) = Rig::new(1000) else { return };
    for accounting in [0, 1] {
        rig.set("nf_conntrack_acct", accounting);
        rig.set("nf_conntrack_timestamp", accounting);
        same(&rig, FLOWS);
        same(&rig, LISTINGS);
        same(&rig, "-F\n-C\n-L\n-L -o xml");
    }
}

#[test]
fn changes_are_the_kernels() {
    let Some(rig) = Rig::new(1000) else { return };
    same(&rig, FLOWS);
    let flow = "-s 1.1.1.1 -d 2.2.2.2 -p tcp --sport 10 --dport 20";
    let script = [
        "-I FLOW --state ESTABLISHED -t 5000",
        "-A FLOW --state ESTABLISHED -u SEEN_REPLY,ASSURED -t 5000",
        "-U FLOW -m 3",
        "-G FLOW",
        "-U FLOW -m 0x10/0xf0",
        "-G FLOW",
        "-U FLOW -t 4000 --state CLOSE_WAIT",
        "-G FLOW",
        "-U FLOW -u FIXED_TIMEOUT",
        "-U FLOW -t 3000",
        "-U FLOW -u UNSET",
        "-G FLOW",
        "-U FLOW -m 5 --src-nat 9.9.9.9",
        "-U FLOW -m 9",
        "-U -p udp -m 0x77",
        "-U -s 9.9.9.9 -m 1",
        "-U --zone 3 -m 0x33",
        "-L -o extended",
        "-I -s 1.1.1.20 -d 2.2.2.2 -p tcp --sport 10 --dport 20 --state ESTABLISHED -u CONFIRMED -t 9000000",
        "-I -s 1.1.1.21 -d 2.2.2.2 -p tcp --sport 10 --dport 20 --state ESTABLISHED -u EXPECTED -t 50",
        "-I -s 1.1.1.22 -d 2.2.2.2 -p tcp --sport 10 --dport 20 -t 50",
        "-I -s 1.1.1.23 -d 2.2.2.2 -r 2.2.2.2 -q 1.1.1.1 -p tcp --sport 10 --dport 20 --reply-port-src 20 \
            --reply-port-dst 10 --state NONE -t 50",
        "-I -s 1.1.1.24 -d 2.2.2.2 -p icmp --icmp-type 3 --icmp-code 0 --icmp-id 7 -t 5000",
        "-I -s 1.1.1.25 -d 2.2.2.2 -p tcp --sport 10 --dport 20 --state ESTABLISHED -t 0",
        "-I -s 1.1.1.26 -d 2.2.2.2 -p sctp --sport 10 --dport 20 --state ESTABLISHED -t 100",
        "-D FLOW",
        "-D FLOW",
        "-D -s 1.1.1.6 -d 2.2.2.2 -p udp --sport 10 --dport 53",
        "-D -s 1.1.1.6 -d 2.2.2.2 -p udp --sport 10 --dport 53 --zone 3",
        "-D --orig-zone 4",
        "-D -m 0x77",
        "-D -p icmp",
        "-D --src-nat",
        "-D -f ipv6",
        "-D -f ipv6",
        "-L",
        "-D",
        "-L",
        "-F expect",
        "-F conntrack",
        "-C expect",
        "-D expect -s 1.1.1.1",
    ];
    same(&rig, &script.join("\n").replace("FLOW", flow));
}

#[test]
fn labels_are_the_kernels() {
    let Some(rig) = Rig::new(1000) else { return };
    same(&rig, FLOWS);
    // The tool reads the names of labels from a fixed place.
    let names = rig.file("etc/xtables/connlabel.conf", "0 zero\n5 five\n127 last\n");
    let etc = names.ancestors().nth(2).unwrap();
    std::fs::copy("/etc/protocols", etc.join("protocols")).unwrap();
    let script = "
        -U -p tcp --sport 10 --label-add five
        -L -o labels
        -U -p udp --label-add five,last
        -L -l five
        -L -l five,last
        -L -o labels
        -U -p udp --label-del five
        -L -o labels
        -U --label-add zero
        -L -l zero -o labels
        -U --label-add none
        -U --label-del
        -L -o labels
    ";
    same_with(
        &rig,
        script,
        &format!("unshare -m sh -c 'mount --bind {} /etc && exec \"$@\"' sh ", etc.display()),
    );
    let [out, _] = [On::Ours, On::Kernel].map(|on| rig.conntrack(on, "-L -o xml").out);
    assert!(!out.contains("<label"), "{out}");
}

#[test]
fn restoring_what_was_saved_gives_it_back() {
    let Some(rig) = Rig::new(1000) else { return };
    same(&rig, FLOWS);
    let restored = [On::Kernel, On::Ours].map(|on| {
        let saved = rig.conntrack(on, "-L -o save").out;
        assert_eq!(rig.conntrack(on, "-F").code, 0);
        let done = rig.tool(on, "conntrack", &["-R", "-"], &saved);
        (
            done.code,
            lines(&rig.conntrack(on, "-L").out),
            lines(&rig.conntrack(on, "-L -o save").out),
        )
    });
    let [kernel, ours] = restored;
    assert_eq!(kernel.0, ours.0);
    for (kernel, ours) in [(&kernel.1, &ours.1), (&kernel.2, &ours.2)] {
        assert!(!ours.is_empty());
        for (kernel, ours) in kernel.iter().zip(ours) {
            assert_eq!(kernel, ours);
        }
        assert_eq!(kernel.len(), ours.len());
    }
}

#[test]
fn timeouts_are_the_kernels() {
    let Some(rig) = Rig::new(1000) else { return };
    let script = "
        nfct list timeout
        nfct add timeout t1 inet tcp
        nfct add timeout t1 inet tcp established 100
        nfct add timeout t1 inet tcp established 200
        nfct add timeout t2 inet udp unreplied 1 replied 2
        nfct add timeout t3 inet6 icmpv6 timeout 5
        nfct add timeout t4 inet generic timeout 7
        nfct add timeout t5 inet sctp established 9
        nfct add timeout t6 inet gre unreplied 9
        nfct add timeout t7 inet icmp timeout 9
        nfct add timeout t8 inet udplite unreplied 3
        nfct add timeout t9 inet dccp request 3
        nfct add timeout a-name-that-is-31-bytes-long-xx inet udp unreplied 3
        nfct add timeout a-name-that-is-longer-than-31-bytes inet udp unreplied 3
        nfct list timeout
        nfct get timeout t1
        nfct get timeout nothing
        nfct delete timeout t2
        nfct delete timeout t2
        nfct default-get timeout inet tcp
        nfct default-set timeout inet tcp established 1000 syn_sent2 9
        nfct default-get timeout inet tcp
        nfct add timeout t10 inet tcp close 3
        nfct get timeout t10
        nfct default-set timeout inet udp unreplied 11
        nfct default-get timeout inet udp
        nfct default-get timeout inet udplite
        nfct default-get timeout inet icmp
        nfct default-get timeout inet6 icmpv6
        nfct default-get timeout inet sctp
        nfct default-get timeout inet gre
        nfct default-get timeout inet generic
        nfct default-get timeout inet dccp
        nfct flush timeout
        nfct list timeout
    ";
    same(&rig, script);
}
