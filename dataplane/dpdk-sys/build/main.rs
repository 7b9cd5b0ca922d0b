//! Finds libdpdk by pkg-config, compiles the committed C wrappers, links dynamically.
//!
//! Feature `regenerate` makes the bindings and wrappers anew from the installed headers (into `OUT_DIR`) and uses those.
//! Whatever is wrong with the installed DPDK, exactly one error says so and names the package to install.

#[cfg(feature = "regenerate")]
mod generate;

use std::{env, path::PathBuf, process::exit};

/// The committed bindings hold for this release series (one ABI, Debian 12's).
const FIRST: &str = "22.11";
const BEYOND: &str = "23";

/// pkg-config's crate keeps only -I, -D, -L and -l of the cflags: what it drops stands here again.
const CFLAGS: &[&str] = &["-D_GNU_SOURCE", "-DALLOW_EXPERIMENTAL_API", "-include", "rte_config.h"];

/// The instruction set that Debian's libdpdk is built for: its inline functions need as much.
fn march() -> Option<&'static str> {
    (env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64")).then_some("-march=corei7")
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(0) // cargo fails the build for the error above; another exit status would print a second report
}

fn probe() -> pkg_config::Library {
    let found = pkg_config::Config::new()
        .cargo_metadata(true)
        .env_metadata(true)
        .atleast_version(FIRST)
        .probe("libdpdk");
    match found {
        Ok(library) => library,
        Err(pkg_config::Error::ProbeFailure { .. } | pkg_config::Error::Failure { .. }) => {
            let old = pkg_config::Config::new()
                .cargo_metadata(false)
                .probe("libdpdk")
                .ok()
                .map(|old| old.version);
            match old {
                Some(version) => fail(&format!(
                    "DPDK {version} is too old: {FIRST} or later is needed. Install Debian's package libdpdk-dev \
                     (apt-get install libdpdk-dev, Debian 12 or later), or set PKG_CONFIG_PATH to a newer libdpdk.pc"
                )),
                None => fail(&format!(
                    "DPDK is not installed: {FIRST} or later is needed. Install Debian's package libdpdk-dev \
                     (apt-get install libdpdk-dev), or set PKG_CONFIG_PATH to the folder of libdpdk.pc"
                )),
            }
        }
        Err(_) => fail(
            "pkg-config is not there, so DPDK cannot be found. Install Debian's packages pkg-config and libdpdk-dev \
             (apt-get install pkg-config libdpdk-dev)",
        ),
    }
}

fn main() {
    for path in ["build", "csrc", "src/generated"] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rustc-check-cfg=cfg(dpdk_sys_regenerated)");
    // tests/absent.rs runs this program again, with a DPDK that is not there.
    let script = env::current_exe().unwrap_or_default();
    println!("cargo::rustc-env=DPDK_SYS_BUILD_SCRIPT={}", script.display());
    let library = probe();
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());

    let mut generated = here.join("src/generated");
    let regenerated = regenerate(&here, &library);
    if let Some(out) = &regenerated {
        generated = out.clone();
        println!("cargo::rustc-cfg=dpdk_sys_regenerated");
    } else if version_key(&library.version) >= version_key(BEYOND) {
        fail(&format!(
            "DPDK {} is newer than the committed bindings ({FIRST}). Install libclang (apt-get install libclang-dev) and \
             build with --features dpdk-sys/regenerate, or set PKG_CONFIG_PATH to a libdpdk.pc of {FIRST}",
            library.version
        ));
    }
    println!("cargo::rustc-env=DPDK_SYS_GENERATED={}", generated.display());

    let mut build = cc::Build::new();
    build.include(here.join("csrc")).includes(&library.include_paths).warnings(false).opt_level(2);
    for flag in CFLAGS.iter().copied().chain(march()).chain(["-include", "wrapper.h"]) {
        build.flag(flag);
    }
    if regenerated.is_some() && version_key(&library.version) >= version_key(BEYOND) {
        build.define("DPDK_SYS_REGENERATED", None);
    }
    build.file(generated.join("wrappers.c")).file(here.join("csrc/shims.c"));
    if let Err(error) = build.try_compile("dpdk_sys_shims") {
        fail(&format!(
            "the C wrappers do not compile against DPDK {} (is a C compiler there?): {error}",
            library.version
        ));
    }
}

/// `22.11.11` as numbers, for comparing.
fn version_key(version: &str) -> Vec<u32> {
    version.split(['.', '-', '~']).map_while(|part| part.parse().ok()).collect()
}

#[cfg(not(feature = "regenerate"))]
fn regenerate(_: &std::path::Path, _: &pkg_config::Library) -> Option<PathBuf> {
    None
}

#[cfg(feature = "regenerate")]
fn regenerate(here: &std::path::Path, library: &pkg_config::Library) -> Option<PathBuf> {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    // What an earlier run left here must not pass for this one's.
    for file in ["bindings.rs", "wrappers.c"] {
        let _none_yet = std::fs::remove_file(out.join(file));
    }
    if let Err(error) = generate::libclang() {
        println!(
            "cargo::warning=SKIPPED regenerating the DPDK bindings, libclang is absent (apt-get install libclang-dev): {error}"
        );
        return None;
    }
    let cflags: Vec<&str> = CFLAGS.iter().copied().chain(march()).collect();
    match generate::generate(&here.join("csrc"), &library.include_paths, &cflags, &out) {
        Ok(()) => Some(out),
        Err(error) => {
            fail(&format!("generating the bindings for DPDK {} failed: {error}", library.version))
        }
    }
}
