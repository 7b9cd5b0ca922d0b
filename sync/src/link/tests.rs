//! Two nodes' links in two network namespaces, joined by veths.

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::*;

/// Two namespaces, of this test alone, with interfaces `sync0` and `sync1` to each other. Gone with this.
struct Lab {
    names: [String; 2],
}

impl Lab {
    /// `None`, and said: this user may make no namespaces.
    fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: this test makes network namespaces, which needs root");
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let names = [0, 1].map(|n| format!("twlink-{}-{number}-{n}", std::process::id()));
        for name in &names {
            ip(&format!("netns add {name}"));
        }
        let lab = Self { names };
        for n in 0..2 {
            lab.join(n);
        }
        Some(lab)
    }

    fn join(&self, n: u8) {
        let [one, two] = &self.names;
        ip(&format!("-n {one} link add sync{n} type veth peer name sync{n} netns {two}"));
        for (name, host) in [(one, 1), (two, 2)] {
            ip(&format!("-n {name} addr add 10.9.{n}.{host}/24 dev sync{n}"));
            ip(&format!("-n {name} addr add fe80::{host}/64 dev sync{n} nodad"));
            ip(&format!("-n {name} link set sync{n} up"));
        }
        // IPv6 has its routes only when the kernel has noticed the carrier.
        let begun = Instant::now();
        for name in [one, two] {
            while !ip(&format!("-n {name} -6 route show table local dev sync{n}"))
                .contains("ff00::/8")
                || !ip(&format!("-n {name} link show sync{n}")).contains("state UP")
            {
                assert!(begun.elapsed() < Duration::from_secs(20));
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Does something in one of them; this thread stays there until it goes to the other.
    fn inside<T>(&self, n: usize, act: impl FnOnce() -> T) -> T {
        let file = File::open(format!("/run/netns/{}", self.names[n])).unwrap();
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(file.as_fd(), Some(kind)).unwrap();
        act()
    }

    fn open(&self, n: usize, configs: &[LinkConfig]) -> Links {
        self.inside(n, || Links::open(configs.to_vec(), Tick(0)))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn ip(args: &str) -> String {
    let output = Command::new("ip").args(args.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn group(interface: &str, group: &str) -> LinkConfig {
    let target = Target::Group(group.parse().unwrap());
    LinkConfig { interface: interface.into(), target, port: 7701 }
}

fn peers(interface: &str, peers: &[&str]) -> LinkConfig {
    let target = Target::Peers(peers.iter().map(|peer| peer.parse().unwrap()).collect());
    LinkConfig { interface: interface.into(), target, port: 7701 }
}

/// What comes until `wanted` datagrams are there, or nothing more does.
fn take(links: &mut Links, wanted: usize) -> Vec<Vec<u8>> {
    let (mut found, mut inbox) = (Vec::new(), Inbox::new());
    let mut quiet = Instant::now();
    while found.len() < wanted && quiet.elapsed() < Duration::from_millis(500) {
        for link in 0..links.count() {
            links.receive(link, Tick(7), &mut inbox);
            for datagram in inbox.datagrams() {
                found.push(datagram.to_vec());
                quiet = Instant::now();
            }
        }
    }
    found
}

#[test]
fn each_kind_of_link_carries_datagrams() {
    let Some(lab) = Lab::new() else { return };
    for (kind, [one, two]) in [
        ("IPv4 multicast", [group("sync0", "239.255.77.1"), group("sync0", "239.255.77.1")]),
        ("IPv6 multicast", [group("sync0", "ff02::7701"), group("sync0", "ff02::7701")]),
        ("IPv4 peers", [peers("sync0", &["10.9.0.2"]), peers("sync0", &["10.9.0.1"])]),
        ("IPv6 peers", [peers("sync0", &["fe80::2"]), peers("sync0", &["fe80::1"])]),
    ] {
        let (mut one, mut two) = (lab.open(0, &[one]), lab.open(1, &[two]));
        assert!(two.news().contains(&News::Up { interface: "sync0".into() }), "{kind}");
        // More than a batch, of each length.
        let sent: Vec<Vec<u8>> = (0..200usize).map(|n| vec![n as u8; 1 + n * 7]).collect();
        for datagram in &sent {
            assert!(one.send(datagram));
        }
        one.flush();
        let came = take(&mut two, 200);
        assert!(came == sent, "{kind}: {} came, {:?}", came.len(), two.status());
        assert!(take(&mut one, 1).is_empty(), "{kind}: nobody hears himself");
        let (there, back) = (one.status()[0].counters, two.status()[0].clone());
        assert_eq!((there.tx_datagrams, there.tx_full, there.tx_errors), (200, 0, 0), "{kind}");
        assert_eq!((back.counters.rx_datagrams, back.heard), (200, Some(Tick(7))), "{kind}");
        assert_eq!(there.tx_bytes, back.counters.rx_bytes, "{kind}");
        assert!(!one.send(&[0; DATAGRAM + 1]), "too long");
    }
}

#[test]
fn what_came_through_a_router_is_not_taken() {
    let Some(lab) = Lab::new() else { return };
    let mut node = lab.open(1, &[group("sync0", "239.255.77.1"), peers("sync1", &["fe80::1"])]);
    lab.inside(0, || {
        let sender = std::net::UdpSocket::bind("10.9.0.1:0").unwrap();
        sender.set_multicast_ttl_v4(254).unwrap();
        sender.send_to(b"from afar", "239.255.77.1:7701").unwrap();
        let sender = std::net::UdpSocket::bind("[::]:0").unwrap();
        let index = netdevice("sync1");
        let to = std::net::SocketAddrV6::new("fe80::2".parse().unwrap(), 7701, 0, index);
        sender.send_to(b"from afar", to).unwrap();
        rustix::net::sockopt::set_ipv6_unicast_hops(&sender, Some(255)).unwrap();
        sender.send_to(&[0; DATAGRAM + 1], to).unwrap();
        sender.send_to(b"from here", to).unwrap();
    });
    assert_eq!(take(&mut node, 2), [b"from here"], "{:?}", node.status());
    let status = node.status();
    assert_eq!((status[0].counters.rx_routed, status[0].heard), (1, None));
    let second = status[1].counters;
    assert_eq!((second.rx_routed, second.rx_too_long, second.rx_datagrams), (1, 1, 1));
}

fn netdevice(name: &str) -> u32 {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    rustix::net::netdevice::name_to_index(&socket, name).unwrap()
}

#[test]
fn a_link_that_fails_is_named_and_the_other_goes_on() {
    let Some(lab) = Lab::new() else { return };
    let configs = [group("sync0", "239.255.77.1"), peers("sync1", &["10.9.1.2"])];
    let there = [group("sync0", "239.255.77.1"), peers("sync1", &["10.9.1.1"])];
    let (mut one, mut two) = (lab.open(0, &configs), lab.open(1, &there));
    one.news();
    let say = |links: &mut Links, what: &[u8]| {
        links.send(what);
        links.flush();
    };
    say(&mut one, b"both");
    assert_eq!(take(&mut two, 2), [b"both", b"both"], "once on each link");

    ip(&format!("-n {} link set sync0 down", lab.names[0]));
    say(&mut one, b"second");
    assert_eq!(take(&mut two, 2), [b"second"]);
    let status = one.status();
    assert!(!status[0].up && status[1].up, "{status:?}");
    assert_eq!(status[0].counters.tx_errors, 1);
    let news = one.news();
    assert!(
        matches!(&news[..], [News::Down { interface, .. }] if interface == "sync0"),
        "{news:?}"
    );
    say(&mut one, b"second");
    assert!(one.news().is_empty(), "it is said once");

    ip(&format!("-n {} link set sync0 up", lab.names[0]));
    say(&mut one, b"both again");
    assert_eq!(one.news(), [News::Up { interface: "sync0".into() }]);
    assert!(one.status()[0].up);
    take(&mut two, 4);

    // Another interface of the same name: the old socket would hear nothing from it.
    ip(&format!("-n {} link del sync0", lab.names[0]));
    lab.inside(0, || one.tend(Tick(1 << 30)));
    assert!(!one.status()[0].up);
    assert!(matches!(&one.news()[..], [News::Down { .. }]));
    lab.join(0);
    lab.inside(0, || one.tend(Tick(1 << 31)));
    lab.inside(1, || two.tend(Tick(1 << 31)));
    say(&mut one, b"anew");
    assert_eq!(take(&mut two, 2), [b"anew", b"anew"]);
    assert_eq!(one.status()[0].counters.opened, 2);
}

#[test]
fn a_filter_of_this_machine_drops_some_and_not_the_rest() {
    let Some(lab) = Lab::new() else { return };
    let rules = "add table t; add chain t o { type filter hook output priority 0; }; add rule t o udp dport 7701 @th,64,8 & 3 == 0 drop";
    let output = Command::new("ip").args(["netns", "exec", &lab.names[0], "nft", rules]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut one = lab.open(0, &[group("sync0", "239.255.77.1")]);
    let mut two = lab.open(1, &[group("sync0", "239.255.77.1")]);
    for n in 0..64 {
        one.send(&[n]);
    }
    one.flush();
    assert_eq!(take(&mut two, 64).len(), 48);
    let status = &one.status()[0];
    assert_eq!((status.counters.tx_datagrams, status.counters.tx_errors), (48, 16));
    assert!(status.up, "{status:?}");
}

#[test]
fn an_interface_that_is_not_there_stops_nothing() {
    let Some(lab) = Lab::new() else { return };
    let absent = group("sync9", "239.255.77.1");
    let mut links =
        lab.open(0, &[absent, peers("sync0", &[&Ipv4Addr::new(10, 9, 0, 2).to_string()])]);
    let news = links.news();
    assert!(news.iter().any(|news| news.to_string().starts_with("the sync link sync9 is down: ")));
    assert_eq!(links.fds().count(), 1);
    assert!(links.send(b"x"));
    links.flush();
    assert_eq!(links.status()[1].counters.tx_datagrams, 1);
}

/// Time that this thread has had a processor (proc(5), `schedstat`).
fn processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// What a datagram costs over a veth, whose receiving side is the sender's work, too. The bound is far above it, so that only a
/// mistake fails.
#[test]
fn sending_and_receiving_is_cheap() {
    let Some(lab) = Lab::new() else { return };
    let mut one = lab.open(0, &[group("sync0", "239.255.77.1")]);
    let mut two = lab.open(1, &[group("sync0", "239.255.77.1")]);
    let (rounds, mut came, mut inbox) = (500, 0, Inbox::new());
    let (mut sending, mut receiving) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..rounds {
        let begun = processor();
        for _ in 0..BATCH {
            one.send(&[0; 1448]);
        }
        one.flush();
        let sent = processor();
        assert!(two.receive(0, Tick(0), &mut inbox));
        came += inbox.datagrams().count();
        sending += sent - begun;
        receiving += processor() - sent;
    }
    let total = rounds * BATCH;
    let each = |time: Duration| time.as_nanos() / total as u128;
    eprintln!(
        "a datagram of 1448 bytes: {} ns to send, {} ns to receive",
        each(sending),
        each(receiving)
    );
    assert_eq!(came, total);
    assert!(each(sending) < 50_000 && each(receiving) < 50_000);
}
