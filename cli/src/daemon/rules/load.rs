//! Loading a ruleset file: nft does it, on this daemon.
//!
//! The file is nft's, so nft reads it, through the preload library. Should that library not load, nft would change the kernel's
//! rules instead of ours: therefore it first has to list tables, and the server must have heard it.

use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nfnetlink::server::Stats;

use crate::commands::exec::{self, ExecError};

/// How long nft may take: a million rules take less.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why a ruleset was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The preload library is not there.
    #[error("nft cannot be led here: {0}")]
    Exec(#[from] ExecError),
    /// nft cannot be run.
    #[error("cannot run nft: {0}; install the package nftables")]
    Run(io::Error),
    /// nft ran without the preload library.
    #[error(
        "nft does not load the preload library, so it would change the kernel's rules: is it linked statically?"
    )]
    Bypassed,
    /// nft refused the file.
    #[error("nft refuses {}:\n{text}", file.display())]
    Refused {
        /// The ruleset.
        file: PathBuf,
        /// What nft said.
        text: String,
    },
    /// nft did not end.
    #[error("nft did not end within {} s", PATIENCE.as_secs())]
    Endless,
}

/// Has nft load `file` through `socket`, as a transaction.
pub(super) fn load(file: &Path, socket: &Path, stats: &Stats) -> Result<(), LoadError> {
    let heard = stats.requests.get();
    run(exec::tool("nft".as_ref(), socket)?.args(["list", "tables"]))?;
    if stats.requests.get() == heard {
        return Err(LoadError::Bypassed);
    }
    let (status, text) = run(exec::tool("nft".as_ref(), socket)?.arg("-f").arg(file))?;
    if !status.success() {
        return Err(LoadError::Refused { file: file.to_owned(), text: text.trim_end().to_owned() });
    }
    if !text.trim().is_empty() {
        tracing::warn!(file = %file.display(), "nft says: {}", text.trim_end());
    }
    Ok(())
}

/// Runs a command to its end; what it said on stderr.
fn run(command: &mut Command) -> Result<(ExitStatus, String), LoadError> {
    // A file, for a full pipe would block it.
    let mut said = rustix::fs::memfd_create("nft", rustix::fs::MemfdFlags::CLOEXEC)
        .map(std::fs::File::from)
        .map_err(|error| LoadError::Run(error.into()))?;
    let stderr = said.try_clone().map_err(LoadError::Run)?;
    let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn();
    let mut child = started.map_err(LoadError::Run)?;
    let begun = Instant::now();
    let mut nap = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait().map_err(LoadError::Run)? {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            // What it has sent is a whole batch or none.
            let _ = child.kill();
            let _ = child.wait();
            return Err(LoadError::Endless);
        }
        std::thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(20));
    };
    let mut bytes = Vec::new();
    said.rewind().and_then(|()| said.read_to_end(&mut bytes)).map_err(LoadError::Run)?;
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}
