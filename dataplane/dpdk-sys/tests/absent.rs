//! An absent, old or too new DPDK gives exactly one build error, which names the package to install.
#![allow(clippy::expect_used)]

use std::{fs, path::Path, process::Command};

/// Runs the build script as cargo does, with `libdir` as the only place of .pc files; returns its error lines.
fn errors(libdir: &Path) -> Vec<String> {
    let out = tempdir("out");
    let run = Command::new(env!("DPDK_SYS_BUILD_SCRIPT"))
        .env("CARGO_MANIFEST_DIR", env!("CARGO_MANIFEST_DIR"))
        .env("PKG_CONFIG_LIBDIR", libdir)
        .env_remove("PKG_CONFIG_PATH")
        .env("OUT_DIR", &out)
        .env("TARGET", "x86_64-unknown-linux-gnu")
        .env("HOST", "x86_64-unknown-linux-gnu")
        .env("CARGO_CFG_TARGET_ARCH", "x86_64")
        .env("OPT_LEVEL", "0")
        .output()
        .expect("the build script runs");
    fs::remove_dir_all(out).expect("a folder");
    assert!(run.stderr.is_empty(), "{}", String::from_utf8_lossy(&run.stderr));
    assert!(
        run.status.success(),
        "cargo reports the error line; an exit status would be a second report"
    );
    let stdout = String::from_utf8(run.stdout).expect("text");
    stdout
        .lines()
        .filter_map(|line| line.strip_prefix("cargo::error="))
        .map(str::to_owned)
        .collect()
}

fn tempdir(what: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!(
        "dpdk-sys-{what}-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    fs::create_dir_all(&path).expect("a folder");
    path
}

/// The errors with a libdpdk.pc of this version.
fn errors_with_version(version: &str) -> Vec<String> {
    let libdir = tempdir(version);
    fs::write(
        libdir.join("libdpdk.pc"),
        format!("Name: DPDK\nDescription: test\nVersion: {version}\nLibs:\nCflags:\n"),
    )
    .expect("a file");
    let errors = errors(&libdir);
    fs::remove_dir_all(libdir).expect("a folder");
    errors
}

#[test]
fn absent_dpdk_gives_one_error_naming_the_package() {
    let errors = errors(Path::new("/nonexistent"));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("DPDK is not installed")
            && errors[0].contains("apt-get install libdpdk-dev"),
        "{errors:?}"
    );
}

#[test]
fn old_dpdk_gives_one_error_naming_the_version_and_the_package() {
    let errors = errors_with_version("20.11.3");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("DPDK 20.11.3 is too old")
            && errors[0].contains("apt-get install libdpdk-dev"),
        "{errors:?}"
    );
}

#[test]
#[cfg(not(feature = "regenerate"))]
fn newer_dpdk_gives_one_error_that_tells_how_to_regenerate() {
    let errors = errors_with_version("24.11.1");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("DPDK 24.11.1") && errors[0].contains("--features dpdk-sys/regenerate"),
        "{errors:?}"
    );
}
