//! `[conntrack]`: how many flows there may be, whether all traffic is tracked, and the kernel's settings of tracking.

use conntrack::Settings;
use conntrack::settings::{PREFIX, SettingError, names};
use toml::Spanned;

use super::diagnostic::Diagnostic;
use super::model::Config;
use super::reader::{Reader, nearest};

/// Flows when nobody says otherwise, of all workers together: what Linux allows on a machine of 4 GiB or more.
pub const DEFAULT_MAX: u32 = 262_144;

/// The setting that `max` of `[conntrack]` decides.
pub const MAX: &str = "net.netfilter.nf_conntrack_max";

/// When connections are tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// In the families in which a rule needs it, as Linux does.
    Auto,
    /// Always.
    Always,
}

impl Tracking {
    const WORDS: [(&'static str, Self); 2] = [("auto", Self::Auto), ("always", Self::Always)];

    /// Its word in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
        }
    }
}

/// `[conntrack]`.
#[derive(Clone, Debug)]
pub struct Conntrack {
    /// Flows that there may be, of all workers together.
    pub max: Spanned<u32>,
    /// When connections are tracked.
    pub tracking: Tracking,
    /// `[conntrack.sysctl]`: the kernel's settings, with its defaults for what is not there.
    pub settings: Settings,
}

/// Reads `[conntrack]`.
pub(super) fn read_conntrack(mut table: Reader<'_, '_>) -> Conntrack {
    let max = table.integer("max", 1024..=1 << 30);
    let tracking = table.choice("tracking", &Tracking::WORDS);
    let mut settings = Settings::default();
    if let Some(sysctl) = table.table("sysctl", "[conntrack.sysctl]") {
        read_sysctl(sysctl, &mut settings);
    }
    table.finish();
    Conntrack {
        max: max.unwrap_or_else(|| Spanned::new(0..0, DEFAULT_MAX)),
        tracking: tracking.map_or(Tracking::Auto, Spanned::into_inner),
        settings,
    }
}

/// Reads `[conntrack.sysctl]`: names as sysctl(8) has them, with or without `net.netfilter.`.
fn read_sysctl(mut table: Reader<'_, '_>, settings: &mut Settings) {
    for (name, number) in table.numbers() {
        let key = name.get_ref().as_str();
        let whole = if key.starts_with(PREFIX) { key.to_owned() } else { format!("{PREFIX}{key}") };
        if whole == MAX {
            table.report(Diagnostic::error(
                name.span(),
                format!("`{key}` in [conntrack.sysctl] is decided by `max` in [conntrack]"),
                "remove this line, and write max = NUMBER under [conntrack]",
            ));
            continue;
        }
        let finding = match settings.set(&whole, *number.get_ref()) {
            Ok(()) => continue,
            Err(SettingError::Range(least, most)) => Diagnostic::error(
                number.span(),
                format!(
                    "`{key}` in [conntrack.sysctl] is {}, which is out of range",
                    number.get_ref()
                ),
                format!("write a number from {least} to {most}"),
            ),
            Err(SettingError::Unknown) => {
                let short = whole.strip_prefix(PREFIX).unwrap_or(&whole);
                let known = names().filter_map(|name| name.strip_prefix(PREFIX));
                Diagnostic::error(
                    name.span(),
                    format!("unknown setting `{key}` in [conntrack.sysctl]"),
                    match nearest(short, known) {
                        Some(word) => format!("did you mean `{word}`? `twinwall sysctl` lists all"),
                        None => "remove it; `twinwall sysctl` lists all that there are".to_owned(),
                    },
                )
            }
        };
        table.report(finding);
    }
}

/// What contradicts itself.
pub(super) fn check(config: &Config, findings: &mut Vec<Diagnostic>) {
    let max = &config.conntrack.max;
    let workers = config.dataplane.cores.as_ref().map_or(1, Vec::len);
    if (*max.get_ref() as usize) < 1024 * workers {
        findings.push(Diagnostic::error(
            max.span(),
            format!("{} flows are too few for {workers} workers", max.get_ref()),
            format!("write at least max = {}: 1024 for each worker", 1024 * workers),
        ));
    }
}
