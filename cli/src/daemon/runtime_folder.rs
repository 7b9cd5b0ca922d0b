//! The folder that DPDK makes for its run-time files, and does not remove.
//!
//! # Life cycle
//!
//! DPDK makes it at start under a prefix that is this process's own; dropping [`RuntimeFolder`] removes it, after DPDK has
//! ended. What a killed daemon left is removed at the next start.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// How the prefixes begin; the process id follows.
const PREFIX: &str = "twinwall-";

/// The folder of this process. Dropping it removes it.
pub(super) struct RuntimeFolder {
    parent: PathBuf,
    prefix: String,
}

impl RuntimeFolder {
    /// Where DPDK will make this process's folder; removes those of twinwalls that are gone.
    pub(super) fn new() -> Self {
        Self::under(parent())
    }

    fn under(parent: PathBuf) -> Self {
        for entry in fs::read_dir(&parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
            // A process of that id may be another's by now; then its folder stays until that is gone, too.
            if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
                remove(&entry.path());
            }
        }
        Self { parent, prefix: format!("{PREFIX}{}", std::process::id()) }
    }

    /// The prefix to give DPDK.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl Drop for RuntimeFolder {
    fn drop(&mut self) {
        remove(&self.parent.join(&self.prefix));
    }
}

fn remove(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), %error, "DPDK's run-time folder stays");
        }
        _ => {}
    }
}

/// Where DPDK makes its folders (lib/eal/linux/eal.c, `eal_create_runtime_dir`).
fn parent() -> PathBuf {
    let base = env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from).unwrap_or_else(|| {
        if rustix::process::getuid().is_root() {
            "/var/run".into()
        } else {
            env::var_os("XDG_RUNTIME_DIR").map_or_else(|| "/tmp".into(), PathBuf::from)
        }
    });
    base.join("dpdk")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_dead_and_our_own_go_others_stay() {
        let parent = tempfile::tempdir().unwrap();
        // Process 1 lives; no process has the highest number (PID_MAX_LIMIT is 2^22).
        let names = ["twinwall-4294967295", "twinwall-1", "capsule-4294967295", "rte"];
        for name in names {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        let folder = RuntimeFolder::under(parent.path().to_owned());
        fs::create_dir(parent.path().join(folder.prefix())).unwrap();
        fs::write(parent.path().join(folder.prefix()).join("config"), "").unwrap();
        drop(folder);
        let mut left: Vec<_> =
            fs::read_dir(parent.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, ["capsule-4294967295", "rte", "twinwall-1"]);
    }
}
