//! `twinwall exec` and `twinwall nft`: runs an unmodified tool whose netfilter netlink goes to the daemon.
//!
//! # Overview
//!
//! The tool gets the preload library (`nfnetlink/preload`) by `LD_PRELOAD` and the daemon's socket by `TWINWALL_NFNL`, and takes
//! this process's place. A program that the dynamic linker does not load, or not with foreign libraries, would silently talk
//! to the kernel instead, so that is said.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The preload library's file.
const LIBRARY: &str = "libtwinwall_nfnl.so";
/// Names another one.
const LIBRARY_VARIABLE: &str = "TWINWALL_PRELOAD";
/// Tells the library where the daemon is.
const SOCKET_VARIABLE: &str = "TWINWALL_NFNL";

/// Exit codes as a shell gives them.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Why a tool cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The preload library is in none of its places.
    #[error(
        "cannot find {LIBRARY}; looked for {}\nname it with {LIBRARY_VARIABLE}, or build it with `cargo build -p twinwall_nfnl`",
        .0.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NoLibrary(Vec<PathBuf>),
    /// The dynamic linker takes spaces and colons as separators.
    #[error("{0} cannot be preloaded: its path has a space or a colon in it")]
    Unpreloadable(PathBuf),
}

/// Runs `command` in this process's place. Comes back only when that fails, with the exit code for it.
///
/// # Errors
///
/// When the preload library is missing.
pub fn exec(socket: &Path, command: &[OsString]) -> Result<ExitCode, ExecError> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(ExitCode::from(NOT_FOUND));
    };
    let mut tool = tool(program, socket)?;
    if let Some(path) = find(program, env::var_os("PATH").as_deref())
        && let Some(why) = bypasses(&path)
    {
        eprintln!(
            "twinwall: {} {why}, so what it does itself reaches the kernel, not twinwall",
            path.display()
        );
    }
    if !socket.exists() {
        eprintln!(
            "twinwall: nobody serves {}; start twinwall, or name its socket with --socket or {SOCKET_VARIABLE}",
            socket.display()
        );
    }
    let error = tool.args(arguments).exec();
    eprintln!("twinwall: {}: {error}", Path::new(program).display());
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
    Ok(ExitCode::from(code))
}

/// A command that runs `program` with its netfilter netlink led to `socket`.
///
/// # Errors
///
/// When the preload library is missing.
pub(crate) fn tool(program: &OsStr, socket: &Path) -> Result<Command, ExecError> {
    let library = library(env::var_os(LIBRARY_VARIABLE), env::current_exe().ok())?;
    let mut command = Command::new(program);
    command
        .env("LD_PRELOAD", preload(&library, env::var_os("LD_PRELOAD").as_deref()))
        .env(SOCKET_VARIABLE, socket);
    Ok(command)
}

/// Where the library is: where the environment says, beside this program, or where it is installed.
fn library(named: Option<OsString>, own: Option<PathBuf>) -> Result<PathBuf, ExecError> {
    let mut places = Vec::new();
    if let Some(named) = named {
        places.push(PathBuf::from(named));
    } else {
        if let Some(folder) = own.as_deref().and_then(Path::parent) {
            places.push(folder.join(LIBRARY));
            places.push(folder.join("../lib/twinwall").join(LIBRARY));
        }
        places.push(Path::new("/usr/lib/twinwall").join(LIBRARY));
    }
    let Some(found) = places.iter().find(|path| path.is_file()) else {
        return Err(ExecError::NoLibrary(places));
    };
    // The tool may run elsewhere.
    let found = fs::canonicalize(found).unwrap_or_else(|_| found.clone());
    if found.as_os_str().as_bytes().iter().any(|byte| b" :\n\t".contains(byte)) {
        return Err(ExecError::Unpreloadable(found));
    }
    Ok(found)
}

/// What `LD_PRELOAD` becomes: ours first, then what was there.
fn preload(library: &Path, before: Option<&OsStr>) -> OsString {
    let mut value = library.as_os_str().to_owned();
    if let Some(before) = before.filter(|before| !before.is_empty())
        && !before.as_bytes().split(|byte| b" :".contains(byte)).any(|one| one == value.as_bytes())
    {
        value.push(":");
        value.push(before);
    }
    value
}

/// The file that a command's name means.
pub(crate) fn find(program: &OsStr, path: Option<&OsStr>) -> Option<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Some(program.into());
    }
    env::split_paths(path?).map(|folder| folder.join(program)).find(|file| {
        fs::metadata(file)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}

/// Why a program will not load the library, where that can be seen.
fn bypasses(path: &Path) -> Option<&'static str> {
    let file = fs::metadata(path).ok()?;
    let mode = file.permissions().mode();
    let own = rustix::process::geteuid().as_raw();
    if mode & 0o4000 != 0 && file.uid() != own
        || mode & 0o2000 != 0
            && mode & 0o010 != 0
            && file.gid() != rustix::process::getegid().as_raw()
    {
        return Some("runs with other rights than yours (setuid or setgid)");
    }
    let mut start = Vec::new();
    File::open(path).ok()?.take(64 * 1024).read_to_end(&mut start).ok()?;
    is_static(&start).unwrap_or(false).then_some("is linked statically")
}

/// Whether the start of a file is that of a 64-bit ELF program which asks for no dynamic linker (elf(5)). None where it is no
/// such file.
fn is_static(start: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    if start.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    let word = |at: usize, n: usize| {
        let bytes = start.get(at..at + n)?;
        // Little-endian; DPDK has no port of interest here that is not.
        Some(bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte)))
    };
    let (table, size, count) = (word(32, 8)?, word(54, 2)?, word(56, 2)?);
    for n in 0..count {
        let at = usize::try_from(table.checked_add(n * size)?).ok()?;
        if word(at, 4)? == u64::from(PT_INTERP) {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_beside_the_program_or_where_it_is_installed() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("bin/twinwall");
        fs::create_dir_all(folder.path().join("bin")).unwrap();
        fs::create_dir_all(folder.path().join("lib/twinwall")).unwrap();
        let error = library(None, Some(own.clone())).map_err(|error| error.to_string());
        if !Path::new("/usr/lib/twinwall").join(LIBRARY).exists() {
            assert!(error.unwrap_err().contains("lib/twinwall"));
        }
        let installed = folder.path().join("lib/twinwall").join(LIBRARY);
        fs::write(&installed, "").unwrap();
        assert_eq!(
            library(None, Some(own.clone())).unwrap(),
            fs::canonicalize(&installed).unwrap()
        );
        let beside = folder.path().join("bin").join(LIBRARY);
        fs::write(&beside, "").unwrap();
        assert_eq!(library(None, Some(own.clone())).unwrap(), fs::canonicalize(&beside).unwrap());
        let missing = library(Some("/nonexistent/x.so".into()), Some(own)).unwrap_err().to_string();
        assert!(
            missing.contains("/nonexistent/x.so") && missing.contains("TWINWALL_PRELOAD"),
            "{missing}"
        );
        let odd = folder.path().join("a b.so");
        fs::write(&odd, "").unwrap();
        assert!(matches!(library(Some(odd.into()), None), Err(ExecError::Unpreloadable(_))));
    }

    #[test]
    fn what_was_preloaded_stays() {
        let ours = Path::new("/x/ours.so");
        assert_eq!(preload(ours, None), "/x/ours.so");
        assert_eq!(preload(ours, Some(OsStr::new(""))), "/x/ours.so");
        assert_eq!(preload(ours, Some(OsStr::new("a.so:b.so"))), "/x/ours.so:a.so:b.so");
        assert_eq!(preload(ours, Some(OsStr::new("/x/ours.so"))), "/x/ours.so", "not twice");
    }

    #[test]
    fn a_static_program_is_seen() {
        let shell = find(OsStr::new("sh"), Some(OsStr::new("/bin:/usr/bin"))).unwrap();
        assert_eq!(bypasses(&shell), None);
        // A program header table with one entry, which is not PT_INTERP.
        let mut elf = vec![0u8; 64 + 56];
        elf[..5].copy_from_slice(b"\x7fELF\x02");
        (elf[32], elf[54], elf[56], elf[64]) = (64, 56, 1, 1);
        assert_eq!(is_static(&elf), Some(true));
        elf[64] = 3;
        assert_eq!(is_static(&elf), Some(false));
        assert_eq!(is_static(b"#!/bin/sh\n"), None);
        assert_eq!(is_static(&elf[..66]), None, "cut off");
    }
}
