//! The usual laboratory: client - twinwall - server, both families, every part in a namespace of its own.
//!
//! ```text
//! client  192.0.2.2 ----- lan 192.0.2.1 | twinwall | wan 198.51.100.1 ----- 198.51.100.2  server
//!     2001:db8:1::2           2001:db8:1::1             2001:db8:2::1       2001:db8:2::2
//! ```

use crate::{Daemon, Ends, Lab, Netns, PortKind, Result, Settings, Wire, wait_until};
use std::time::Duration;

/// The addresses of the usual laboratory, from the ranges kept for documentation (RFC 5737, RFC 3849).
pub mod addresses {
    /// The client.
    pub const CLIENT: &str = "192.0.2.2";
    /// The client.
    pub const CLIENT6: &str = "2001:db8:1::2";
    /// The twin on the client's side.
    pub const LAN: &str = "192.0.2.1";
    /// The twin on the client's side.
    pub const LAN6: &str = "2001:db8:1::1";
    /// The twin on the server's side.
    pub const WAN: &str = "198.51.100.1";
    /// The twin on the server's side.
    pub const WAN6: &str = "2001:db8:2::1";
    /// The server.
    pub const SERVER: &str = "198.51.100.2";
    /// The server.
    pub const SERVER6: &str = "2001:db8:2::2";
}
use addresses::{CLIENT, CLIENT6, LAN, LAN6, SERVER, SERVER6, WAN, WAN6};

/// A client, a router and a server; dropping it stops the daemon first and deletes the namespaces last.
#[derive(Debug)]
pub struct Trio {
    /// The daemon under test.
    pub daemon: Daemon,
    /// Its device is `eth0`.
    pub client: Netns,
    /// Where the daemon and its twins `lan` and `wan` are.
    pub router: Netns,
    /// Its device is `eth0`.
    pub server: Netns,
    /// The lab of all this.
    pub lab: Lab,
}

impl Trio {
    /// Both ports of one kind on veth pairs, the daemon running, addresses and default routes set, both ways tried by ping.
    pub fn new(kind: PortKind, settings: &Settings) -> Result<Self> {
        let mut lab = Lab::new()?;
        let [client, router, server] = Self::namespaces(&mut lab)?;
        let lan =
            Wire::veth(&lab, "lan", kind, Ends { router: &router, host: &client, dev: "eth0" })?;
        let wan =
            Wire::veth(&lab, "wan", kind, Ends { router: &router, host: &server, dev: "eth0" })?;
        Self::with(lab, [client, router, server], settings, &[&lan, &wan])
    }

    /// The three namespaces, client, router, server.
    pub fn namespaces(lab: &mut Lab) -> Result<[Netns; 3]> {
        Ok([lab.netns("client")?, lab.netns("router")?, lab.netns("server")?])
    }

    /// The same with ports that the test made, the first two named `lan` and `wan`; both hosts have an `eth0` already.
    pub fn with(
        lab: Lab,
        namespaces: [Netns; 3],
        settings: &Settings,
        ports: &[&Wire],
    ) -> Result<Self> {
        let [client, router, server] = namespaces;
        let daemon = Daemon::start(&lab, &router, settings, ports)?;
        Self::address_twins(&router)?;
        Self::address_client(&client)?;
        Self::address_server(&server)?;
        let trio = Self { daemon, client, router, server, lab };
        trio.wait_for_paths()?;
        Ok(trio)
    }

    /// Gives the twins their addresses, as an operator does.
    pub fn address_twins(router: &Netns) -> Result<()> {
        for (twin, address, address6) in [("lan", LAN, LAN6), ("wan", WAN, WAN6)] {
            router.script(&format!(
                "ip link set {twin} up
                 ip address replace {address}/24 dev {twin}
                 ip address replace {address6}/64 dev {twin} nodad"
            ))?;
        }
        Ok(())
    }

    /// Gives the client its addresses and routes; also after its device came anew.
    pub fn address_client(client: &Netns) -> Result<()> {
        Self::address_host(client, [CLIENT, CLIENT6, LAN, LAN6])
    }

    /// Gives the server its addresses and routes; also after its device came anew.
    pub fn address_server(server: &Netns) -> Result<()> {
        Self::address_host(server, [SERVER, SERVER6, WAN, WAN6])
    }

    fn address_host(host: &Netns, [address, address6, via, via6]: [&str; 4]) -> Result<()> {
        // A virtio endpoint's TAP comes up only after the daemon has connected.
        wait_until("the host's eth0", Duration::from_secs(30), || {
            host.sh("ip link show eth0").map(|_| true)
        })?;
        host.script(&format!(
            "ip link set eth0 up
             ip address replace {address}/24 dev eth0
             ip address replace {address6}/64 dev eth0 nodad
             ip route replace default via {via}
             ip -6 route replace default via {via6}"
        ))
    }

    /// Waits until the server answers the client in both families.
    pub fn wait_for_paths(&self) -> Result<()> {
        for target in [SERVER, SERVER6] {
            wait_until(&format!("{target} to answer the client"), Duration::from_secs(20), || {
                self.client.sh(&format!("ping -n -c 1 -W 1 {target}")).map(|_| true)
            })
            .map_err(|error| self.explain(error))?;
        }
        Ok(())
    }

    /// An error with what the daemon, its kernel and the hosts know at this moment.
    fn explain(&self, error: crate::LabError) -> crate::LabError {
        let mut text = format!("{error}\n");
        let mut add = |output: Result<crate::Output>| match output {
            Ok(output) => text.push_str(&output.0),
            Err(error) => text.push_str(&error.to_string()),
        };
        for command in ["ports", "drops"] {
            add(self.daemon.cli(&[command]));
        }
        for netns in [&self.client, &self.router, &self.server] {
            add(netns.sh("ip address show"));
            add(netns.sh("ip neigh show"));
        }
        text.push_str(&crate::process::tail(&self.daemon.log(), 3000));
        crate::LabError::Shape { what: "the laboratory".into(), text }
    }

    /// How many datagrams the router's kernel forwarded, both families: none, ever; that is the daemon's work.
    pub fn forwarded_by_kernel(&self) -> Result<u64> {
        let v4 = self.router.sh("cat /proc/net/snmp")?.0;
        let v6 = self.router.sh("cat /proc/net/snmp6")?.0;
        let mut lines = v4.lines().filter(|line| line.starts_with("Ip:"));
        let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let v4 = names
            .split_whitespace()
            .zip(values.split_whitespace())
            .find(|(name, _)| *name == "ForwDatagrams");
        let v6 = v6
            .lines()
            .filter_map(|line| line.split_once(char::is_whitespace))
            .find(|(name, _)| *name == "Ip6OutForwDatagrams");
        let number = |text: Option<&str>| {
            text.and_then(|text| text.trim().parse::<u64>().ok()).ok_or_else(|| {
                crate::LabError::Shape {
                    what: "/proc/net/snmp".into(),
                    text: format!("{names}\n{values}"),
                }
            })
        };
        Ok(number(v4.map(|(_, value)| value))? + number(v6.map(|(_, value)| value))?)
    }

    /// A TCP transfer by iperf3 from the client (`reverse`: to it), bits per second as received.
    pub fn iperf(&self, target: &str, seconds: u32, reverse: bool) -> Result<f64> {
        let mut server = self.server.start(&["iperf3", "-s", "-1", "--forceflush"])?;
        server.wait_for_output("Server listening", Duration::from_secs(10))?;
        let seconds_text = seconds.to_string();
        let mut words =
            vec!["iperf3", "-c", target, "-t", &seconds_text, "-J", "--connect-timeout", "5000"];
        if reverse {
            words.push("-R");
        }
        let report =
            self.client.run_for(&words, Duration::from_secs(u64::from(seconds) + 20))?.json()?;
        let _ = server.wait(Duration::from_secs(5));
        report
            .pointer("/end/sum_received/bits_per_second")
            .and_then(serde_json::Value::as_f64)
            .ok_or_else(|| crate::LabError::Shape {
                what: "iperf3's report".into(),
                text: report.to_string(),
            })
    }

    /// Downloads `megabytes` by HTTP from the server and compares the SHA-256 of both ends; returns the seconds it took.
    pub fn download(&self, megabytes: usize) -> Result<(f64, String)> {
        let folder = self.lab.scratch().join("www");
        std::fs::create_dir_all(&folder)
            .map_err(|source| crate::LabError::File { path: folder.clone(), source })?;
        let (from, to) = (folder.join("noise"), self.lab.scratch().join("download"));
        crate::frames::noise(&from, megabytes * 1_000_000)?;
        let folder = folder.display().to_string();
        let mut server = self.server.start(&[
            "python3",
            "-u",
            "-m",
            "http.server",
            "8000",
            "--bind",
            SERVER,
            "--directory",
            &folder,
        ])?;
        server.wait_for_output("Serving HTTP", Duration::from_secs(10))?;
        let (from, to) = (from.display().to_string(), to.display().to_string());
        let url = format!("http://{SERVER}:8000/noise");
        let words = ["curl", "-sS", "--fail", "-m", "120", "-o", &to, "-w", "%{time_total}", &url];
        let took = self.client.run_for(&words, Duration::from_secs(130))?.0;
        let sum = |path: &str| {
            let output = self.client.run_for(&["sha256sum", path], Duration::from_secs(60))?.0;
            Ok::<_, crate::LabError>(
                output.split_whitespace().next().unwrap_or_default().to_owned(),
            )
        };
        let (sent, received) = (sum(&from)?, sum(&to)?);
        if sent != received {
            return Err(crate::LabError::Shape {
                what: "the download's SHA-256".into(),
                text: format!("{received}, not {sent}"),
            });
        }
        let _ = std::fs::remove_file(&to);
        let seconds = took
            .trim()
            .parse()
            .map_err(|_| crate::LabError::Shape { what: "curl's time".into(), text: took })?;
        Ok((seconds, received))
    }

    /// What a person tries first, in both families: ping, traceroute, TCP both ways, a download. Any failure is an error.
    pub fn tour(&self) -> Result<()> {
        for (target, via) in [(SERVER, LAN), (SERVER6, LAN6)] {
            self.client.sh(&format!("ping -n -q -c 5 -i 0.05 -W 2 {target}"))?;
            let hops = self.traceroute(target)?;
            if hops != [via, target] {
                return Err(crate::LabError::Shape {
                    what: format!("the way to {target}"),
                    text: hops.join(" "),
                });
            }
            for reverse in [false, true] {
                let rate = self.iperf(target, 1, reverse)?;
                // No claim about speed: a transfer that stalls moves less than this in a second.
                if rate < 10e6 {
                    return Err(crate::LabError::Shape {
                        what: format!("TCP with {target}"),
                        text: format!("{rate} bit/s"),
                    });
                }
            }
        }
        self.download(10)?;
        match self.forwarded_by_kernel()? {
            0 => Ok(()),
            packets => Err(crate::LabError::Shape {
                what: "the router's kernel".into(),
                text: format!("forwarded {packets}"),
            }),
        }
    }

    /// The routers on the way to `target` as traceroute names them, the target last; `*` for one that is silent.
    pub fn traceroute(&self, target: &str) -> Result<Vec<String>> {
        let family = if target.contains(':') { "-6" } else { "-4" };
        let output = self
            .client
            .run(&["traceroute", family, "-n", "-q", "1", "-w", "2", "-m", "8", target])?
            .0;
        let hop = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
        Ok(output.lines().skip(1).filter_map(hop).collect())
    }
}
