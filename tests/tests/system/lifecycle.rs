//! Started, watched, reconfigured and stopped as an operator would; and what it says when it cannot start.

use crate::Result;
use rustix::process::Signal;
use std::{fs, path::PathBuf, time::Duration};
use tests::{
    Daemon, Ends, Lab, LabError, Netns, PortKind, Settings, Trio, Wire, addresses::SERVER,
    wait_until,
};

#[test]
fn sigterm_leaves_nothing_behind() -> Result {
    let mut trio = Trio::new(PortKind::AfPacket, &Settings::default())?;
    trio.client.sh(&format!("ping -n -q -c 50 -i 0.01 -W 2 {SERVER}"))?;
    let socket = trio.daemon.socket().to_owned();
    let pid = trio.daemon.process().pid();
    assert!(socket.exists());
    let Trio { daemon, router, lab, .. } = trio;
    daemon.stop()?;
    assert!(!socket.exists(), "the API socket is left");
    let links = router.sh("ip -o link show")?.0;
    for twin in ["lan:", "wan:"] {
        assert!(!links.split_whitespace().any(|word| word == twin), "the twin is left:\n{links}");
    }
    let (pids, _) = router.try_sh(&format!("ip netns pids {}", router.name()))?;
    assert_eq!(pids.0.lines().count(), 1, "somebody runs beside this command:\n{}", pids.0);
    let mut left =
        fs::read_dir("/run/dpdk").into_iter().flatten().flatten().map(|entry| entry.file_name());
    let own = format!("-{pid}");
    assert!(
        !left.any(|name| name.to_string_lossy().ends_with(&own)),
        "DPDK's run-time folder is left"
    );
    drop(lab);
    Ok(())
}

#[test]
fn sigterm_under_load_gives_every_frame_back() -> Result {
    let trio = Trio::new(PortKind::AfPacket, &Settings::default())?;
    let mut server = trio.server.start(&["iperf3", "-s", "-1", "--forceflush"])?;
    server.wait_for_output("Server listening", Duration::from_secs(10))?;
    let _load = trio.client.start(&["iperf3", "-c", SERVER, "-t", "10", "-P", "4"])?;
    std::thread::sleep(Duration::from_secs(1));
    trio.daemon.stop().map(|_| ())
}

#[test]
fn a_killed_daemon_can_be_started_again() -> Result {
    let mut trio = Trio::new(PortKind::AfPacket, &Settings::default())?;
    trio.daemon.kill();
    assert!(
        trio.daemon.socket().exists(),
        "SIGKILL leaves the socket: that is what this test is about"
    );
    trio.daemon.restart()?;
    Trio::address_twins(&trio.router)?;
    trio.wait_for_paths()?;
    trio.daemon.stop().map(|_| ())
}

#[test]
fn sighup_reads_again_what_can_change() -> Result {
    let mut trio = Trio::new(
        PortKind::AfPacket,
        &Settings { dataplane: "icmp_rate = 7".into(), ..Settings::default() },
    )?;
    let rate = |daemon: &Daemon| {
        Ok::<_, LabError>(
            daemon.json("status")?.get("icmp_rate").and_then(serde_json::Value::as_u64),
        )
    };
    assert_eq!(rate(&trio.daemon)?, Some(7));
    let path = trio.daemon.config_file().to_owned();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("icmp_rate = 7", "icmp_rate = 8")).unwrap();
    trio.daemon.process().signal(Signal::HUP);
    wait_until("the new rate", Duration::from_secs(5), || Ok(rate(&trio.daemon)? == Some(8)))?;
    // A file that became wrong changes nothing, and stops nobody.
    fs::write(&path, "[dataplane]\ncores = \"many\"\n").unwrap();
    trio.daemon.process().signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(rate(&trio.daemon)?, Some(8));
    trio.client.sh(&format!("ping -n -c 3 -i 0.1 -W 2 {SERVER}"))?;
    trio.daemon.stop().map(|_| ())
}

#[test]
fn a_second_daemon_on_the_same_socket_is_refused() -> Result {
    let trio = Trio::new(PortKind::AfPacket, &Settings::default())?;
    let (config, socket) = (trio.daemon.config_file().to_owned(), trio.daemon.socket().to_owned());
    let mut second = Daemon::spawn(&trio.router, config, socket.clone())?;
    let status = second.process().wait(Duration::from_secs(20))?;
    assert!(!status.success());
    let log = second.log();
    assert!(
        log.contains(&socket.display().to_string()),
        "which socket is taken is not said:\n{log}"
    );
    drop(second);
    trio.client.sh(&format!("ping -n -c 3 -i 0.1 -W 2 {SERVER}"))?;
    assert!(trio.daemon.cli(&["status"]).is_ok(), "the first daemon's socket was taken away");
    trio.daemon.stop().map(|_| ())
}

/// A laboratory with one namespace, and a way to ask `twinwall check` and `twinwall run` about a configuration.
struct Checker {
    netns: Netns,
    lab: Lab,
}

impl Checker {
    fn new() -> Result<Self> {
        let mut lab = Lab::new()?;
        Ok(Self { netns: lab.netns("router")?, lab })
    }

    /// Both commands refuse the text: they must say the file, the line, and `words`.
    fn refuses(&self, text: &str, line: usize, words: &[&str]) -> Result {
        let path = self.lab.scratch().join("wrong.toml");
        fs::write(&path, text).unwrap();
        let place = format!("{}:{line}", path.display());
        for command in ["check", "run"] {
            let program = Daemon::binary()?.display().to_string();
            let (output, ok) =
                self.netns.try_sh(&format!("{program} {command} --config {}", path.display()))?;
            assert!(!ok, "`{command}` accepts:\n{text}");
            for word in words.iter().copied().chain([place.as_str()]) {
                assert!(output.has(word), "`{command}` does not say {word}:\n{}", output.0);
            }
        }
        Ok(())
    }
}

#[test]
fn a_wrong_configuration_is_named_by_file_and_line() -> Result {
    let checker = Checker::new()?;
    let port = "[[port]]\nname = \"lan\"\ndevice = \"net_null0\"\n";
    checker.refuses(
        &format!("[dataplane]\ncores = [0]\nhugepages = \"off\"\nspeed = 9\n{port}"),
        4,
        &["speed"],
    )?;
    checker.refuses(
        &format!("[dataplane]\ncores = [0, 0]\nhugepages = \"off\"\n{port}"),
        2,
        &["core 0"],
    )?;
    checker.refuses(
        &format!("[dataplane]\ncores = [999]\nhugepages = \"off\"\n{port}"),
        2,
        &["999"],
    )?;
    let device = port.replace("net_null0", "no such device");
    checker.refuses(
        &format!("[dataplane]\ncores = [0]\nhugepages = \"off\"\n{device}"),
        6,
        &["no such device"],
    )?;
    Ok(())
}

#[test]
fn missing_hugepages_are_named_or_done_without() -> Result {
    let checker = Checker::new()?;
    // The machine may have hugepages: a mount namespace without any /dev/hugepages and a limit of none is not to be had
    // everywhere, so the test asks for more memory than any machine reserves.
    let text = "[dataplane]\ncores = [0]\nhugepages = \"require\"\nmemory = 1048576\n[[port]]\nname = \"lan\"\ndevice = \"net_null0\"\n";
    checker.refuses(text, 3, &["hugepages"])
}

#[test]
fn a_good_configuration_passes_the_check() -> Result {
    let mut lab = Lab::new()?;
    let [client, router, _] = Trio::namespaces(&mut lab)?;
    let lan = Wire::veth(
        &lab,
        "lan",
        PortKind::AfPacket,
        Ends { router: &router, host: &client, dev: "eth0" },
    )?;
    let path: PathBuf = lab.scratch().join("good.toml");
    fs::write(
        &path,
        Daemon::config(&Settings::default(), &[&lan], &lab.scratch().join("api.sock")),
    )
    .unwrap();
    router
        .sh(&format!("{} check --config {}", Daemon::binary()?.display(), path.display()))
        .map(|_| ())
}

#[test]
fn metrics_and_the_api_answer_on_the_socket() -> Result {
    let trio = Trio::new(PortKind::AfPacket, &Settings::default())?;
    let socket = trio.daemon.socket().display().to_string();
    let get = |path: &str| {
        trio.router.sh(&format!("curl -sS --fail --unix-socket {socket} http://twinwall{path}"))
    };
    let metrics = get("/metrics")?;
    for name in ["lan", "wan", "ttl_expired"] {
        assert!(metrics.has(name), "no {name} in:\n{}", metrics.0);
    }
    for path in ["/v1/status", "/v1/ports", "/v1/workers", "/v1/drops", "/v1/openapi.json"] {
        get(path)?.json()?;
    }
    trio.daemon.stop().map(|_| ())
}
