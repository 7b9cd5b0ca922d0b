//! Logs: structured, to stderr, as text or JSON.
//!
//! # Life cycle
//!
//! Started once; the level can change later. `RUST_LOG`, where set, decides alone.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{Log, LogFormat};

/// The running log.
pub(super) struct Logging {
    /// `None` where something else, such as a test, has installed a log before.
    filter: Option<reload::Handle<EnvFilter, Registry>>,
}

/// The filter for a level: ours at that level, the HTTP machinery's only when it matters.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!(
        "{level},hyper=warn,hyper_util=warn,mio=warn,tokio=warn,neli=warn,netlink=warn"
    ))
}

/// The filter of `RUST_LOG`, if that is set and makes sense.
fn from_environment() -> Option<EnvFilter> {
    std::env::var_os("RUST_LOG")?;
    EnvFilter::try_from_default_env().ok()
}

impl Logging {
    /// Starts logging.
    pub(super) fn start(log: &Log) -> Self {
        let (filter, handle) =
            reload::Layer::new(from_environment().unwrap_or_else(|| filter(log.level)));
        let stderr = fmt::layer().with_writer(std::io::stderr);
        // journald stamps each line by itself.
        let journal = std::env::var_os("JOURNAL_STREAM").is_some();
        let lines: Box<dyn Layer<_> + Send + Sync> = match log.format {
            LogFormat::Json => stderr.json().flatten_event(true).boxed(),
            LogFormat::Text if journal => stderr.with_ansi(false).without_time().boxed(),
            LogFormat::Text => stderr.with_ansi(std::io::stderr().is_terminal()).boxed(),
        };
        let installed = tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok();
        Self { filter: installed.then_some(handle) }
    }

    /// Changes the level. False when `RUST_LOG` decides.
    pub(super) fn set_level(&self, level: &str) -> bool {
        if from_environment().is_some() {
            return false;
        }
        self.filter.as_ref().is_some_and(|handle| handle.reload(filter(level)).is_ok())
    }
}
