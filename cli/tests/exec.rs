//! `twinwall exec` as a program: what the tool gets, and what is said when it cannot be run.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::PathBuf;
use std::process::{Command, Output};

struct Exec {
    folder: tempfile::TempDir,
}

impl Exec {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("library.so"), "").unwrap();
        std::fs::write(folder.path().join("socket"), "").unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        std::fs::canonicalize(self.folder.path()).unwrap().join(name)
    }

    /// Runs `twinwall` with a library that is none: the dynamic linker complains of it and goes on.
    fn run(&self, arguments: &[&str]) -> (Output, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinwall"));
        command.args(arguments).env_remove("LD_PRELOAD");
        command.env("TWINWALL_PRELOAD", self.path("library.so"));
        command.env("TWINWALL_NFNL", self.path("socket"));
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        (output, out, err)
    }
}

#[test]
fn the_tool_gets_the_library_and_the_socket() {
    let exec = Exec::new();
    let (_, out, _) = exec.run(&["exec", "--", "env"]);
    let preload = format!("LD_PRELOAD={}", exec.path("library.so").display());
    let socket = format!("TWINWALL_NFNL={}", exec.path("socket").display());
    assert!(out.lines().any(|line| line == preload), "{out}");
    assert!(out.lines().any(|line| line == socket), "{out}");
    let (_, out, _) = exec.run(&["exec", "--socket", "/elsewhere", "env"]);
    assert!(out.lines().any(|line| line == "TWINWALL_NFNL=/elsewhere"), "{out}");
}

#[test]
fn the_tools_exit_code_is_ours() {
    let exec = Exec::new();
    let (output, out, _) = exec.run(&["exec", "--", "sh", "-c", "echo $0 $1; exit 7", "-x", "--y"]);
    assert_eq!((output.status.code(), out.as_str()), (Some(7), "-x --y\n"));
}

#[test]
fn a_tool_that_is_not_there_is_named() {
    let exec = Exec::new();
    let (output, _, err) = exec.run(&["exec", "--", "no-such-tool"]);
    assert_eq!(output.status.code(), Some(127));
    assert!(err.contains("no-such-tool"), "{err}");
    let file = exec.path("socket").display().to_string();
    let (output, _, err) = exec.run(&["exec", "--", &file]);
    assert_eq!(output.status.code(), Some(126), "{err}");
}

#[test]
fn what_is_missing_is_said() {
    let exec = Exec::new();
    std::fs::remove_file(exec.path("socket")).unwrap();
    let (output, _, err) = exec.run(&["exec", "--", "true"]);
    assert!(output.status.success() && err.contains("nobody serves"), "{err}");
    std::fs::remove_file(exec.path("library.so")).unwrap();
    let (output, _, err) = exec.run(&["nft", "list", "ruleset"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err.contains("cannot find libtwinwall_nfnl.so") && err.contains("TWINWALL_PRELOAD"));
}
