//! For kernels that lack a device: the same test once more, in an emulated machine with Debian's kernel (tests/bin/in-vm).

use crate::{Lab, LabError, Result, process::Process, process::unique};
use std::{path::Path, time::Duration};

/// An emulated machine boots and runs a laboratory in about a minute; two or three when the host is busy.
const LIMIT: Duration = Duration::from_secs(290);

/// Whether the kernel here can make VLAN devices (it was built with 802.1Q support).
pub fn kernel_has_vlan_devices() -> Result<bool> {
    let mut lab = Lab::new()?;
    let netns = lab.netns("vlan")?;
    netns.sh("ip link add eth0 type veth peer name eth1")?;
    let (output, ok) = netns.try_sh("ip link add link eth0 name eth0.1 type vlan id 1")?;
    if ok || output.has("Unknown device type") {
        Ok(ok)
    } else {
        Err(LabError::Shape { what: "whether there are VLAN devices".into(), text: output.0 })
    }
}

/// Runs one test of the calling test binary, by its full name, in an emulated machine.
pub fn run_in_vm(test: &str) -> Result<()> {
    if std::env::var_os("TWINWALL_IN_VM").is_some() {
        return Err(LabError::Shape {
            what: "the emulated machine's kernel".into(),
            text: "it has no VLAN devices".into(),
        });
    }
    let lab = Lab::new()?;
    let own = std::env::current_exe()
        .map_err(|source| LabError::File { path: "/proc/self/exe".into(), source })?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("bin/in-vm");
    let [script, own] = [script.display().to_string(), own.display().to_string()];
    let words = [script, own, "--exact".into(), test.into(), "--nocapture".into()];
    let output = Process::start(&words, unique(lab.scratch(), "vm"))?.finish(LIMIT)?;
    // A name that matches nothing would pass, too.
    if output.has("1 passed") {
        Ok(())
    } else {
        Err(LabError::Shape { what: "the test in the machine".into(), text: output.0 })
    }
}
