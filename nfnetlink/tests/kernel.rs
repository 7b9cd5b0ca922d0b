//! Linux as the oracle: the same datagrams to the kernel, in a network namespace, and to the server get the same answers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod common;

use std::process::Command;

use common::running::{Running, available, scripts, succeed};

#[test]
fn the_kernel_answers_the_same() {
    if !available("python3") {
        return;
    }
    let script = scripts().join("oracle.py");
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED the_kernel_answers_the_same: a network namespace takes root");
        return;
    }
    let kernel = succeed(Command::new("unshare").args(["-n", "python3"]).arg(&script));
    let server = Running::start();
    let ours = succeed(server.command("python3").arg(&script));
    std::fs::write(server.folder.path().join("kernel"), &kernel).unwrap();
    std::fs::write(server.folder.path().join("ours"), &ours).unwrap();
    let diff = Command::new("diff")
        .args(["-U1", "kernel", "ours"])
        .current_dir(server.folder.path())
        .output()
        .unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
    assert!(kernel.lines().count() > 120, "{kernel}");
}
