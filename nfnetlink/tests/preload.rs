//! Real programs with the preload library, against a server with the toy subsystem: `nft`, and `tests/python/clients.py`, which
//! uses sockets as programs on libmnl and libnetfilter_* do.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::running::{Running, available, library, preloaded, scripts, succeed};
use common::toy;
use nfnetlink::{Event, ServerConfig};

macro_rules! clients {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            if available("python3") {
                Running::start().run(stringify!($name));
            }
        }
    )*};
}

clients! {
    answers_are_there_when_send_returns
    addresses_and_options
    poll_select_and_epoll_wait_for_answers
    every_way_to_send_and_receive
    peek_and_truncation
    dumps_do_not_end_early
    more_answers_than_the_buffer_holds
    large_batches
    too_large_is_refused
    events_are_lost_loudly_and_come_again
    echo_comes_to_who_asked
    other_families_are_untouched
    duplicates_share_the_socket
    closed_behind_our_back
    fork_and_threads
    signals_do_not_interrupt_a_request
    many_sockets
}

#[test]
fn nft_lists_changes_and_complains() {
    if !available("nft") {
        return;
    }
    let server = Running::start();
    let nft = |arguments: &[&str]| server.command("nft").args(arguments).output().unwrap();
    assert_eq!(succeed(server.command("nft").args(["list", "ruleset"])), "");
    succeed(server.command("nft").args(["add", "table", "ip", "one"]));
    succeed(server.command("nft").args(["-c", "add", "table", "ip", "checked"]));
    assert_eq!(succeed(server.command("nft").args(["list", "ruleset"])), "table ip one {\n}\n");
    let echoed = succeed(server.command("nft").args(["--echo", "add", "table", "ip", "two"]));
    assert!(echoed.contains("add table ip two"), "{echoed}");
    let refused = nft(&["delete", "table", "ip", "none"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("No such file or directory"), "{told}");
    let json = succeed(server.command("nft").args(["-j", "list", "tables"]));
    assert!(json.contains(r#""name": "two""#), "{json}");
}

#[test]
fn nft_monitor_hears_of_changes() {
    if !available("nft") {
        return;
    }
    let server = Running::start();
    let mut monitor = server
        .command("stdbuf")
        .args(["-oL", "nft", "monitor"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(monitor.stdout.take().unwrap()).lines();
    // It listens from some moment on.
    let heard = (0..100).find_map(|n| {
        succeed(server.command("nft").args(["add", "table", "ip", &format!("t{n}")]));
        std::thread::sleep(Duration::from_millis(20));
        (server.stats.events.get() > 0).then(|| lines.next().unwrap().unwrap())
    });
    assert!(heard.unwrap().starts_with("add table ip t"));
    monitor.kill().unwrap();
    monitor.wait().unwrap();
}

#[test]
fn events_of_other_threads_come_through() {
    if !available("nft") {
        return;
    }
    let server = Running::start();
    let mut monitor = server
        .command("stdbuf")
        .args(["-oL", "nft", "monitor"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(monitor.stdout.take().unwrap()).lines();
    let event = {
        let mut event = common::table(toy::NEW_TABLE, 0, 0, "published");
        event.extend([8, 0, 2, 0, 0, 0, 0, 0, 8, 0, 3, 0, 0, 0, 0, 0]);
        let length = event.len() as u32;
        event[..4].copy_from_slice(&length.to_ne_bytes());
        Event { group: toy::GROUP, datagram: event, echo: None }
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.stats.events.get() == 0 {
        assert!(Instant::now() < deadline, "nft monitor never listened");
        assert!(!server.publisher.wanted(toy::GROUP + 1));
        assert!(server.publisher.publish(event.clone()));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(server.publisher.wanted(toy::GROUP));
    assert_eq!(lines.next().unwrap().unwrap(), "add table ip published");
    monitor.kill().unwrap();
    monitor.wait().unwrap();
}

#[test]
fn a_publisher_never_waits_and_losses_are_told() {
    if !available("python3") {
        return;
    }
    let server = Running::with(ServerConfig { max_published: 4, ..ServerConfig::default() });
    let event = Event { group: toy::GROUP, datagram: vec![0; 20], echo: None };
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (publisher, event) = (server.publisher.clone(), event.clone());
            std::thread::spawn(move || {
                (0..10_000).filter(|_| !publisher.publish(event.clone())).count()
            })
        })
        .collect();
    let refused: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(server.stats.unpublished.get(), refused as u64);
    server.run("answers_are_there_when_send_returns");
}

#[test]
fn a_client_that_dies_harms_nobody() {
    if !available("nft") {
        return;
    }
    let server = Running::start();
    for _ in 0..5 {
        let status = server.client("dies_at_once").status().unwrap();
        assert!(!status.success());
    }
    for _ in 0..5 {
        let mut child = server.client("dies_while_sending").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    server.run("answers_are_there_when_send_returns");
    assert_eq!(succeed(server.command("nft").args(["list", "ruleset"])), "", "nothing half done");
}

#[test]
fn too_many_clients_are_turned_away() {
    if !available("python3") {
        return;
    }
    let server = Running::with(ServerConfig { max_clients: 0, ..ServerConfig::default() });
    server.run("is_turned_away");
    assert_eq!(server.stats.turned_away.get(), 1);
}

#[test]
fn strangers_are_refused() {
    if !available("python3") {
        return;
    }
    let server = Running::with(ServerConfig { mode: 0o666, ..ServerConfig::default() });
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED strangers_are_refused: only root can become somebody else");
        return;
    }
    std::fs::set_permissions(server.folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // The library and the script must be readable for that user.
    let readable = server.folder.path().join("libtwinwall_nfnl.so");
    std::fs::copy(library(), &readable).unwrap();
    for script in ["nl.py", "clients.py"] {
        std::fs::copy(scripts().join(script), server.folder.path().join(script)).unwrap();
    }
    let as_user = |name: &str, groups: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", groups]);
        // Not the shims of a version manager in root's home.
        command.args(["env", &format!("LD_PRELOAD={}", readable.display()), "/usr/bin/python3"]);
        command.arg(server.folder.path().join("clients.py")).arg(name);
        command.env("TWINWALL_NFNL", server.socket());
        command
    };
    succeed(&mut as_user("is_not_permitted", "--clear-groups"));
    assert_eq!(server.stats.denied.get(), 1);
    // A member of the group is welcome.
    let server =
        Running::with(ServerConfig { mode: 0o660, group: Some(12345), ..ServerConfig::default() });
    std::fs::set_permissions(server.folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut member = as_user("answers_are_there_when_send_returns", "--groups=12345");
    succeed(member.env("TWINWALL_NFNL", server.socket()));
    let mut other = as_user("is_turned_away", "--clear-groups");
    let refused = other.env("TWINWALL_NFNL", server.socket()).output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("EACCES instead of ECONNREFUSED"), "{told}");
}

#[test]
fn a_client_notices_that_its_server_is_gone() {
    if !available("python3") {
        return;
    }
    let mut server = Running::start();
    let mut child = server
        .client("loses_its_server")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    server.stop();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn without_a_server_a_tool_says_so() {
    if !available("nft") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output =
        preloaded("nft", &folder.path().join("none")).args(["list", "ruleset"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("Connection refused"), "{told}");
}

#[test]
#[ignore = "a measurement"]
fn measure() {
    let server = Running::start();
    println!("twinwall: {}", server.run("measure"));
    let mut kernel = Command::new("unshare");
    kernel.args(["-n", "python3"]).arg(scripts().join("clients.py")).arg("measure");
    println!("kernel: {}", succeed(&mut kernel));
    let nft = |command: &mut Command| {
        let started = Instant::now();
        (0..20).for_each(|_| drop(succeed(command)));
        started.elapsed() / 20
    };
    println!(
        "nft list ruleset: twinwall {:?}",
        nft(server.command("nft").args(["list", "ruleset"]))
    );
    println!(
        "nft list ruleset: kernel {:?}",
        nft(Command::new("unshare").args(["-n", "nft", "list", "ruleset"]))
    );
}
