//! What stands at the other end of a virtio port: a testpmd that bridges it to a TAP, or a real Open vSwitch with DPDK.

use crate::{Lab, Netns, Process, Result, process::unique, wait_until};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

const START: Duration = Duration::from_secs(30);

/// `dpdk-testpmd` between two devices, without hugepages, on core 1; killed when dropped.
#[derive(Debug)]
pub struct Testpmd {
    process: Process,
    netns: Netns,
    devices: [String; 2],
}

impl Testpmd {
    /// Starts it in `netns` between two DPDK devices; its TAPs, if any, appear in that namespace.
    pub fn start(netns: &Netns, devices: [String; 2]) -> Result<Self> {
        let mut process = Self::spawn(netns, &devices)?;
        process.wait_for_output("nb forwarding cores", START)?;
        Ok(Self { process, netns: netns.clone(), devices })
    }

    /// The far end of the daemon's `net_vhost…,client=1`: a virtio_user server on `socket`, bridged to the TAP `tap`.
    ///
    /// It comes up, and its TAP with it, only when the daemon has connected: this waits for the socket alone.
    pub fn virtio_user(netns: &Netns, socket: &Path, tap: &str) -> Result<Self> {
        let devices = [
            format!("net_virtio_user0,server=1,path={}", socket.display()),
            format!("net_tap0,iface={tap}"),
        ];
        let process = Self::spawn(netns, &devices)?;
        wait_until("testpmd's socket", START, || Ok(socket.exists()))?;
        Ok(Self { process, netns: netns.clone(), devices })
    }

    fn spawn(netns: &Netns, devices: &[String; 2]) -> Result<Process> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("{}-{}", netns.name(), NEXT.fetch_add(1, Ordering::Relaxed));
        let [first, second] = devices;
        netns.start(&[
            "stdbuf",
            "-oL",
            "dpdk-testpmd",
            "--no-huge",
            "-m",
            "256",
            "--no-pci",
            "--lcores",
            "0@1,1@1",
            "--file-prefix",
            &prefix,
            "--vdev",
            first,
            "--vdev",
            second,
            "--",
            "--forward-mode=io",
            "--total-num-mbufs=8192",
            "--no-mlockall",
            "--stats-period=3600",
        ])
    }

    /// Kills it with SIGKILL, as a crash would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again as it was; its TAPs are new ones, without addresses.
    pub fn restart(&mut self) -> Result<()> {
        // A killed server leaves its socket's name, and testpmd does not remove it.
        for device in &self.devices {
            if let Some(path) = device.strip_prefix("net_virtio_user0,server=1,path=") {
                let _ = std::fs::remove_file(path);
            }
        }
        self.process = Self::spawn(&self.netns, &self.devices)?;
        Ok(())
    }

    /// What it printed.
    pub fn output(&self) -> String {
        self.process.output()
    }
}

/// An Open vSwitch with DPDK in a namespace, its database and sockets in the lab's folder; killed when dropped.
///
/// OVS has only the vhost side of virtio, so the daemon's port is a `net_virtio_user…,server=1`. Each bridge's own port is a
/// TAP in the namespace, named after the bridge: the host behind the switch.
#[derive(Debug)]
pub struct OpenVswitch {
    switch: Process,
    _database: Process,
    netns: Netns,
    folder: PathBuf,
}

impl OpenVswitch {
    /// Starts the database and the switch.
    pub fn start(lab: &Lab, netns: &Netns) -> Result<Self> {
        let folder = unique(lab.scratch(), "ovs").with_extension("d");
        std::fs::create_dir_all(&folder)
            .map_err(|source| crate::LabError::File { path: folder.clone(), source })?;
        let at = |name: &str| folder.join(name).display().to_string();
        netns.run(&[
            "ovsdb-tool",
            "create",
            &at("conf.db"),
            "/usr/share/openvswitch/vswitch.ovsschema",
        ])?;
        let database = netns.start(&[
            "ovsdb-server",
            &at("conf.db"),
            &format!("--remote=punix:{}", at("db.sock")),
            &format!("--unixctl={}", at("db.ctl")),
            &format!("--pidfile={}", at("db.pid")),
        ])?;
        wait_until("ovsdb-server's socket", START, || Ok(folder.join("db.sock").exists()))?;
        let control = |words: &[&str]| {
            let db = format!("--db=unix:{}", at("db.sock"));
            let mut all = vec!["ovs-vsctl", &db, "--no-wait", "--timeout=20"];
            all.extend(words);
            netns.run(&all)
        };
        control(&["init"])?;
        let extra = format!(
            "other_config:dpdk-extra=--legacy-mem --no-huge -m 512 --no-pci --file-prefix={}",
            netns.name()
        );
        // The switch sleeps when idle: it shares two cores with the daemon.
        control(&[
            "set",
            "Open_vSwitch",
            ".",
            "other_config:dpdk-init=true",
            "other_config:pmd-cpu-mask=0x2",
            "other_config:dpdk-lcore-mask=0x2",
            "other_config:pmd-maxsleep=100",
            "other_config:userspace-tso-enable=false",
            &extra,
        ])?;
        let switch = Self::spawn(netns, &folder)?;
        Ok(Self { switch, _database: database, netns: netns.clone(), folder })
    }

    fn spawn(netns: &Netns, folder: &Path) -> Result<Process> {
        let at = |name: &str| folder.join(name).display().to_string();
        let mut switch = netns.start(&[
            "env",
            &format!("OVS_RUNDIR={}", folder.display()),
            &format!("OVS_LOGDIR={}", folder.display()),
            "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk",
            &format!("unix:{}", at("db.sock")),
            &format!("--unixctl={}", at("switch.ctl")),
            &format!("--pidfile={}", at("switch.pid")),
        ])?;
        switch.wait_for_output("DPDK Enabled - initialized", START)?;
        Ok(switch)
    }

    /// Adds a userspace bridge with a vhost client port for the socket that the daemon serves.
    pub fn bridge(&self, name: &str, socket: &Path) -> Result<()> {
        let port = format!("vh-{name}");
        let path = format!("options:vhost-server-path={}", socket.display());
        self.control(&[
            "--may-exist",
            "add-br",
            name,
            "--",
            "set",
            "bridge",
            name,
            "datapath_type=netdev",
        ])?;
        self.control(&[
            "--may-exist",
            "add-port",
            name,
            &port,
            "--",
            "set",
            "Interface",
            &port,
            "type=dpdkvhostuserclient",
            &path,
        ])?;
        wait_until(&format!("the bridge {name}"), START, || {
            self.netns.sh(&format!("ip link show {name}")).map(|_| true)
        })
    }

    /// Runs `ovs-vsctl`.
    pub fn control(&self, words: &[&str]) -> Result<crate::Output> {
        let db = format!("--db=unix:{}", self.folder.join("db.sock").display());
        let mut all = vec!["ovs-vsctl", &db, "--timeout=20"];
        all.extend(words);
        self.netns.run(&all)
    }

    /// Kills the switch with SIGKILL, as a crash would; its database lives on.
    pub fn kill(&mut self) {
        self.switch.kill();
    }

    /// Starts the switch again: it reads its bridges from the database.
    pub fn restart(&mut self) -> Result<()> {
        self.switch = Self::spawn(&self.netns, &self.folder)?;
        Ok(())
    }

    /// What the switch printed.
    pub fn output(&self) -> String {
        self.switch.output()
    }
}
