//! The daemon: from a configuration to running workers, and back to nothing.
//!
//! # Overview
//!
//! ```text
//! main thread      API, signals                     reads what the others count
//! control thread   links, tables, neighbours        `control`: Rib → workers; workers → resolver
//! nfnetlink        rules, flows                     `rules`: tools → programs → workers; saver and teller beside it
//! sync             other nodes                      `ha`: workers' flows ↔ sockets; `ha-state` saves terms beside it
//! flows            events, counts                   `flows`: what workers tell of flows
//! mirror, resolver rtnetlink                        `crate::mirror`
//! twin thread      kernel ↔ workers                 `crate::twin`
//! worker-N         packets                          `dataplane::worker`, on a pinned thread of `capsule`
//! ```
//!
//! # Life cycle
//!
//! [`run`]: configuration → API socket and netlink socket (a second daemon ends here) → `Engine::start` (DPDK, pool, ports,
//! twins, rules, workers, mirror) → serve until SIGTERM or SIGINT → stop serving → `Engine::stop` (drain, close, count) → the socket goes last.
//! SIGHUP reads the configuration again (`reload`).
//!
//! # Who may touch what
//!
//! The main thread owns everything that is started and stops it in the opposite order.

mod below;
mod control;
mod engine;
mod error;
mod flows;
mod ha;
mod logging;
mod ports;
mod reload;
mod rules;
mod snapshots;

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusBuilder;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::api::{self, Socket};
use crate::commands::explain;
use crate::config::{self, Host, Loaded};

use engine::Engine;
pub use error::DaemonError;
use logging::Logging;
use reload::Running;
use snapshots::Live;

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// When it cannot start, or a worker failed. What is wrong with the configuration is in the error.
pub fn run(path: &Path) -> Result<(), DaemonError> {
    let loaded = config::load(path, &Host::probe())?;
    let logging = Logging::start(&loaded.config.log);
    if std::io::stderr().is_terminal() {
        explain(&loaded.report);
    } else {
        loaded.report.lines().for_each(|line| tracing::warn!("{line}"));
    }
    // Signals first: from here on each is kept until it is asked for, also while DPDK starts.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(DaemonError::Runtime)?;
    let signals = runtime.block_on(async { Signals::new() }).map_err(DaemonError::Runtime)?;
    let socket = Socket::bind(&loaded.config.api.socket)?;
    let (failed, failures) = mpsc::unbounded_channel();
    let rules = rules::Socket::bind(&loaded)?;
    let engine = Engine::start(&loaded, rules, failed)?;
    let served =
        runtime.block_on(serve(path, &loaded, logging, &engine, &socket, signals, failures));
    notify(&[NotifyState::Stopping]);
    // Connections that are still open go now, and with them the last views of the engine.
    drop(runtime);
    let stopped = engine.stop();
    tracing::info!("stopped");
    served.and(stopped)
}

/// Serves the API and obeys signals until it is time to stop.
async fn serve(
    path: &Path,
    loaded: &Loaded,
    logging: Logging,
    engine: &Engine,
    socket: &Socket,
    mut signals: Signals,
    mut failures: mpsc::UnboundedReceiver<DaemonError>,
) -> Result<(), DaemonError> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    if metrics::set_global_recorder(recorder).is_ok() {
        api::metrics::describe();
    }
    let live = Live::new(path, loaded, engine);
    let routers = api::routers(live.clone(), metrics);
    let ready = |tcp: Option<std::net::SocketAddr>| {
        let listen = tcp.map_or_else(String::new, |address| format!(" and {address}"));
        tracing::info!("ready: the API is on {}{listen}", socket.path().display());
        notify(&[NotifyState::Ready]);
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let until = async move {
        // A sender that is gone means the same.
        let _ = stopped.await;
    };
    let api = api::serve(socket, loaded.config.api.listen, routers, ready, until);
    let obey = async {
        let mut running = Running::new(path, loaded, logging);
        let result = loop {
            tokio::select! {
                _ = signals.terminate.recv() => {
                    tracing::info!("SIGTERM: draining");
                    break Ok(());
                }
                _ = signals.interrupt.recv() => {
                    tracing::info!("SIGINT: draining");
                    break Ok(());
                }
                _ = signals.hangup.recv() => reload(&mut running, engine, &live),
                failure = failures.recv() => break failure.map_or(Ok(()), Err),
            }
        };
        // Nobody to tell: the API has ended by itself, and says so.
        let _ = stop.send(());
        result
    };
    tokio::pin!(api);
    tokio::pin!(obey);
    // The API ends by itself only when it cannot listen.
    tokio::select! {
        listening = &mut api => listening.map_err(DaemonError::from),
        obeyed = &mut obey => {
            api.await?;
            obeyed
        }
    }
}

/// Reads the configuration again.
fn reload(running: &mut Running, engine: &Engine, live: &Arc<Live>) {
    notify(&[NotifyState::Reloading, monotonic()]);
    running.reload(engine, live);
    notify(&[NotifyState::Ready]);
}

/// The time that systemd wants beside RELOADING=1 (sd_notify(3)).
fn monotonic() -> NotifyState<'static> {
    NotifyState::monotonic_usec_now().unwrap_or(NotifyState::MonotonicUsec(0))
}

/// Tells systemd, where there is one.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not notified");
    }
}

/// The signals that the daemon obeys.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}
