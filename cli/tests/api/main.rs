//! The API over a real Unix socket, with a made-up daemon behind it; the commands as its clients.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod addresses;
mod commands;
mod made_up;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use cli::api::{self, Socket};
use cli::client::{Client, ClientError};
use made_up::MadeUp;

/// The API of a made-up daemon, running on a thread until dropped.
struct Running {
    folder: tempfile::TempDir,
    tcp: Option<SocketAddr>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(listen: Option<SocketAddr>) -> Self {
        Self::of(MadeUp::default(), listen)
    }

    fn of(made_up: MadeUp, listen: Option<SocketAddr>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = Socket::bind(&folder.path().join("api.sock")).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, bound) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
            let routers = api::routers(Arc::new(made_up), recorder.handle());
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            metrics::with_local_recorder(&recorder, || {
                api::metrics::describe();
                let stop = async {
                    stopped.await.ok();
                };
                runtime
                    .block_on(api::serve(
                        &socket,
                        listen,
                        routers,
                        |tcp| ready.send(tcp).unwrap(),
                        stop,
                    ))
                    .unwrap();
            });
        });
        let tcp = bound.recv().unwrap();
        Self { folder, tcp, stop: Some(stop), thread: Some(thread) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    fn get<T: serde::de::DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        runtime().block_on(Client::new(&self.path()).get(target))
    }

    fn text(&self, target: &str) -> String {
        let bytes = runtime().block_on(Client::new(&self.path()).get_bytes(target)).unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// Runs the binary against this daemon: exit code, stdout, stderr.
    fn twinwall(&self, args: &[&str]) -> (Option<i32>, String, String) {
        twinwall(&self.path(), args)
    }
}

impl std::ops::Drop for Running {
    fn drop(&mut self) {
        self.stop.take().unwrap().send(()).ok();
        self.thread.take().unwrap().join().unwrap();
        assert!(!self.path().exists(), "the socket is left behind");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn twinwall(socket: &std::path::Path, args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_twinwall"))
        .args(args)
        .env("TWINWALL_SOCKET", socket)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}
