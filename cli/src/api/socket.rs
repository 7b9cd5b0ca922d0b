//! The API's Unix socket, and serving on it.
//!
//! # Life cycle
//!
//! [`Socket::bind`] refuses when a daemon answers on the path, replaces a socket that nobody answers on, and leaves alone
//! whatever is no socket. Dropping it removes the file, unless another has taken its place.

use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::Routers;

/// Who may connect: the owner and the group.
const MODE: u32 = 0o660;

/// How long open connections may take to finish when the daemon stops.
const GRACE: Duration = Duration::from_millis(500);

/// Why the API cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon listens there.
    #[error(
        "a twinwall already answers on {0}; stop it first, or give this one another `socket` in [api]"
    )]
    Taken(PathBuf),
    /// Something that is no socket is there.
    #[error("{0} exists and is no socket; remove it, or choose another `socket` in [api]")]
    NotASocket(PathBuf),
    /// The system refused.
    #[error(
        "cannot {what} {path}: {error}; choose another `socket` in [api], or run with the right to write there"
    )]
    Refused {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The loopback address is not free.
    #[error("cannot listen on {address}: {error}; choose another `listen` in [api]")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
}

/// A bound Unix socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    listener: UnixListener,
    /// Device and inode of the file, to know it again.
    identity: (u64, u64),
}

impl Socket {
    /// Binds `path`, making its folder if it is missing.
    ///
    /// # Errors
    ///
    /// When a daemon listens there already, when something else is there, when the system refuses.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let refused =
            |what| move |error| SocketError::Refused { what, path: path.to_owned(), error };
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(|error| SocketError::Refused {
            what: "make the folder",
            path: folder.to_owned(),
            error,
        })?;
        // Two daemons that start at once take turns here, so that neither removes the other's fresh socket. The lock is
        // on the folder: nothing to leave behind.
        let lock = File::open(folder)
            .and_then(|folder| folder.lock().map(|()| folder))
            .map_err(refused("lock the folder of"))?;
        match fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(SocketError::NotASocket(path.to_owned()));
            }
            Ok(_) => match UnixStream::connect(path) {
                Ok(_) => return Err(SocketError::Taken(path.to_owned())),
                // Only a refused connection proves that nobody listens; a full backlog or a lack of rights does not.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    tracing::info!(path = %path.display(), "removing the socket of a daemon that is gone");
                    fs::remove_file(path).map_err(refused("remove the stale socket"))?;
                }
                Err(error) => return Err(refused("probe the socket")(error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(refused("look at")(error)),
        }
        let listener = UnixListener::bind(path).map_err(refused("listen on"))?;
        let finish = || -> io::Result<(u64, u64)> {
            fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
            listener.set_nonblocking(true)?;
            let there = fs::symlink_metadata(path)?;
            Ok((there.dev(), there.ino()))
        };
        let identity = finish().map_err(|error| {
            // Bound but unusable: do not leave it behind. That the removal fails as well adds nothing to the error.
            let _ = fs::remove_file(path);
            refused("set up")(error)
        })?;
        drop(lock);
        Ok(Self { path: path.to_owned(), listener, identity })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|there| (there.dev(), there.ino()) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "could not remove the API's socket");
        }
    }
}

/// Serves the API on the socket, and on `listen` where given, until `stop` completes; then lets open connections finish
/// for a moment. `ready` is called with the loopback address as bound, before the first connection.
///
/// # Errors
///
/// When an address cannot be listened on.
pub async fn serve(
    socket: &Socket,
    listen: Option<SocketAddr>,
    routers: Routers,
    ready: impl FnOnce(Option<SocketAddr>),
    stop: impl Future<Output = ()>,
) -> Result<(), SocketError> {
    let refused =
        |error| SocketError::Refused { what: "serve on", path: socket.path.clone(), error };
    let unix = tokio::net::UnixListener::from_std(socket.listener.try_clone().map_err(refused)?)
        .map_err(refused)?;
    let (stopping, stopped) = watch::channel(false);
    let until = |mut stopped: watch::Receiver<bool>| async move {
        // The sender going away means the same.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let mut tasks = tokio::task::JoinSet::new();
    let mut bound = None;
    if let Some(address) = listen {
        let failed = |error| SocketError::Listen { address, error };
        let tcp = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
        bound = Some(tcp.local_addr().map_err(failed)?);
        let server =
            axum::serve(tcp, routers.loopback).with_graceful_shutdown(until(stopped.clone()));
        tasks.spawn(async move { server.await });
    }
    let server = axum::serve(unix, routers.unix).with_graceful_shutdown(until(stopped));
    tasks.spawn(async move { server.await });
    ready(bound);
    stop.await;
    // Nobody waiting for it is no error.
    let _ = stopping.send(true);
    let finished = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, finished).await.is_err() {
        tracing::debug!("closing API connections that are still open");
    }
    Ok(())
}
