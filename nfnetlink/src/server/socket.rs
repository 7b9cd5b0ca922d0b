//! The server's Unix socket: made, guarded against a second server, and removed again.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// How many clients may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another server listens there.
    #[error("a server already answers on {0}; stop it first, or choose another path")]
    Taken(PathBuf),
    /// Something that is no socket is there.
    #[error("{0} exists and is no socket; remove it, or choose another path")]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot {what} {path}: {error}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// A listening socket of type `SOCK_SEQPACKET`; its file goes when this is dropped, unless another has taken its place.
#[derive(Debug)]
pub(super) struct Listener {
    path: PathBuf,
    fd: OwnedFd,
    /// Device and inode of the file, to know it again.
    identity: (u64, u64),
}

impl Listener {
    /// Listens on `path`, making its folder if it is missing. A socket on which nobody answers is replaced.
    pub(super) fn bind(path: &Path, mode: u32, group: Option<u32>) -> Result<Self, BindError> {
        let refused = |what| move |error| BindError::Refused { what, path: path.to_owned(), error };
        let refused_by = |what| move |error: rustix::io::Errno| refused(what)(error.into());
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(refused("make the folder of"))?;
        // Two servers that start at once take turns here, so that neither removes the other's fresh socket. The lock is
        // on the folder: nothing to leave behind.
        let lock = File::open(folder)
            .and_then(|folder| folder.lock().map(|()| folder))
            .map_err(refused("lock the folder of"))?;
        let address = SocketAddrUnix::new(path).map_err(refused_by("name a socket"))?;
        match fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(BindError::NotASocket(path.to_owned()));
            }
            Ok(_) => {
                let probe = seqpacket().map_err(refused_by("make a socket for"))?;
                match rustix::net::connect(&probe, &address) {
                    // A full backlog is a server's, too.
                    Ok(()) | Err(rustix::io::Errno::AGAIN) => {
                        return Err(BindError::Taken(path.to_owned()));
                    }
                    // Only a refused connection proves that nobody listens; a lack of rights does not.
                    Err(rustix::io::Errno::CONNREFUSED) => {
                        fs::remove_file(path).map_err(refused("remove the stale socket"))?;
                    }
                    Err(error) => return Err(refused_by("probe the socket")(error)),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refused("look at")(error)),
        }
        let fd = seqpacket().map_err(refused_by("make a socket for"))?;
        rustix::net::bind(&fd, &address).map_err(refused_by("bind"))?;
        let finish = || -> io::Result<(u64, u64)> {
            if group.is_some() {
                std::os::unix::fs::lchown(path, None, group)?;
            }
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
            // Nobody can connect before the rights are as they should be.
            rustix::net::listen(&fd, BACKLOG)?;
            let there = fs::symlink_metadata(path)?;
            Ok((there.dev(), there.ino()))
        };
        let identity = finish().map_err(|error| {
            // Bound but unusable: do not leave it behind. That the removal fails as well adds nothing to the error.
            let _ = fs::remove_file(path);
            refused("set up")(error)
        })?;
        drop(lock);
        Ok(Self { path: path.to_owned(), fd, identity })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|there| (there.dev(), there.ino()) == self.identity);
        if ours {
            // That it stays behind harms nobody: the next server replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn seqpacket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}
