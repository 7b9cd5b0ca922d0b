//! `twinwall sysctl`: the settings of connection tracking, shown and set as sysctl(8) does.

use super::{CommandError, print_line};
use crate::api::flows::{Sysctl, Sysctls};
use crate::args::SysctlArgs;
use crate::client::{Client, ClientError};

/// What every name begins with.
const PREFIX: &str = conntrack::settings::PREFIX;
const TARGET: &str = "/v1/sysctl";

/// Shows or sets, in the order in which they were given.
///
/// # Errors
///
/// When there is no such setting, it cannot have that value, or the daemon does not answer.
pub async fn sysctl(args: &SysctlArgs) -> Result<(), CommandError> {
    let client = Client::new(&args.socket);
    let mut shown = Vec::new();
    if args.settings.is_empty() {
        shown = client.get::<Sysctls>(TARGET).await?.settings;
    }
    for word in &args.settings {
        let setting = match word.split_once('=') {
            Some((name, value)) => {
                let value = value.trim().parse().map_err(|_| CommandError::Value(word.clone()))?;
                let wanted = Sysctl { name: name.trim().to_owned(), value };
                client.put(TARGET, &wanted).await?
            }
            None => {
                let all: Sysctls = client.get(TARGET).await?;
                let is_it = |setting: &Sysctl| {
                    setting.name == *word || setting.name.strip_prefix(PREFIX) == Some(word)
                };
                let found = all.settings.into_iter().find(is_it);
                found.ok_or_else(|| CommandError::NoSetting(word.clone()))?
            }
        };
        shown.push(setting);
    }
    let text = if args.json {
        serde_json::to_string_pretty(&Sysctls { settings: shown }).map_err(ClientError::from)?
    } else {
        let lines = shown.iter().map(|setting| format!("{} = {}", setting.name, setting.value));
        lines.collect::<Vec<_>>().join("\n")
    };
    print_line(&text)
}
