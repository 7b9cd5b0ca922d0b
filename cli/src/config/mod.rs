//! The configuration file: reading, checking, explaining.
//!
//! # Overview
//!
//! [`load`] reads a file through three sieves, and reports what all of them catch at once: `model` (is each value what
//! its key wants?), `check` (does the file contradict itself?), `host` (can this machine give it?). What DPDK alone can
//! know, such as a device that a driver refuses, is found at start and reported in the same form by
//! [`Loaded::blame`].
//!
//! # Life cycle
//!
//! Loaded at start and again at each SIGHUP; a [`Loaded`] is plain data and does not follow the file.

pub mod conntrack;
pub mod device;
pub mod diagnostic;
pub mod ha;
pub mod host;
pub mod model;
pub mod rules;

mod check;
mod reader;

use std::path::Path;

pub use conntrack::{Conntrack, Tracking};
pub use device::{Device, DeviceKind};
pub use diagnostic::{Diagnostic, Report, Severity, Source, Span};
pub use ha::Ha;
pub use host::{Host, Resolved};
pub use model::{Api, Config, Dataplane, Hugepages, Idle, Log, LogFormat, Mode, Port};
pub use rules::{Nfnetlink, Rules};

/// A configuration that can be started, and what there is to say of it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the file says.
    pub config: Config,
    /// What the machine adds.
    pub resolved: Resolved,
    /// Warnings; no errors.
    pub report: Report,
}

impl Loaded {
    /// A report of one error found later than in the file, at `span`.
    pub fn blame(
        &self,
        span: Span,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Report {
        Report::new(self.report.source.clone(), vec![Diagnostic::error(span, message, remedy)])
    }
}

/// Reads and checks the file at `path` for `host`.
///
/// # Errors
///
/// All that was found, if any of it is an error.
pub fn load(path: &Path, host: &Host) -> Result<Loaded, Report> {
    let shown = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(Source { path: shown, text }, host),
        Err(error) => {
            let remedy = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    "name an existing file with --config; docs/config.md describes it"
                }
                std::io::ErrorKind::PermissionDenied => "make it readable for this user",
                std::io::ErrorKind::InvalidData => "save it as UTF-8 text",
                _ => "",
            };
            let finding =
                Diagnostic::whole_file(format!("the file cannot be read: {error}"), remedy);
            Err(Report::new(Source { path: shown, text: String::new() }, vec![finding]))
        }
    }
}

/// Reads and checks a configuration that is in memory.
///
/// # Errors
///
/// All that was found, if any of it is an error.
pub fn parse(source: Source, host: &Host) -> Result<Loaded, Report> {
    let findings = reader::Findings::default();
    let config = model::read(&source.text, &findings);
    let mut findings = findings.into_inner();
    let Some(config) = config else { return Err(Report::new(source, findings)) };
    check::check(&config, &mut findings);
    let resolved = host::check(&config, host, &mut findings);
    let report = Report::new(source, findings);
    if report.errors() > 0 { Err(report) } else { Ok(Loaded { config, resolved, report }) }
}
