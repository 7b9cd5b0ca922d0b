//! `[nfnetlink]` and `[rules]`: where tools reach the rules, and where rules come from at a start.

use std::path::{Path, PathBuf};

use toml::Spanned;

use super::diagnostic::Diagnostic;
use super::model::{Config, SOCKET_PATH_MAX};
use super::reader::Reader;

/// Where the daemon's netlink socket is when nobody says otherwise.
pub const DEFAULT_NFNL: &str = "/run/twinwall/nfnl.sock";

/// Where the last committed ruleset is kept when nobody says otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/twinwall/ruleset.nfnl";

/// `[nfnetlink]`.
#[derive(Clone, Debug)]
pub struct Nfnetlink {
    /// The Unix socket's path.
    pub socket: Spanned<PathBuf>,
    /// The group whose members may use it beside root: a name or a number.
    pub group: Option<Spanned<String>>,
}

/// `[rules]`: where rules come from at a start.
#[derive(Clone, Debug)]
pub enum Rules {
    /// From nowhere: there are none.
    Empty,
    /// From a file that nft loads.
    File(Spanned<PathBuf>),
    /// From the last commit, which is kept in this file.
    Last(Spanned<PathBuf>),
}

/// Reads `[nfnetlink]`.
pub(super) fn read_nfnetlink(mut table: Reader<'_, '_>) -> Nfnetlink {
    let socket = table.string("socket").and_then(|path| {
        let text = path.get_ref();
        if is_file_path(text) && text.len() <= SOCKET_PATH_MAX {
            return Some(Spanned::new(path.span(), PathBuf::from(text)));
        }
        table.report(Diagnostic::error(
            path.span(),
            format!("`socket` in [nfnetlink] cannot be {text:?}"),
            format!("write an absolute path of a file, of at most {SOCKET_PATH_MAX} bytes, such as \"{DEFAULT_NFNL}\""),
        ));
        None
    });
    let group = table.string("group");
    table.finish();
    let default = || Spanned::new(0..0, PathBuf::from(DEFAULT_NFNL));
    Nfnetlink { socket: socket.unwrap_or_else(default), group }
}

/// Reads `[rules]`.
pub(super) fn read_rules(mut table: Reader<'_, '_>) -> Rules {
    let ruleset = path(&mut table, "ruleset", "/etc/twinwall/nftables.conf");
    let restore = table.choice("restore", &[("last", ())]);
    let state = path(&mut table, "state", DEFAULT_STATE);
    match (&ruleset, &restore, &state) {
        (Some(ruleset), Some(restore), _) => table.report(
            Diagnostic::error(
                restore.span(),
                "`restore` and `ruleset` in [rules] are two places that rules come from",
                "remove one: `ruleset` begins every start with the file, `restore` with the last commit",
            )
            .with_related(ruleset.span(), "the other one"),
        ),
        (_, None, Some(state)) => table.report(Diagnostic::error(
            state.span(),
            "`state` in [rules] has no meaning without `restore`",
            "add restore = \"last\", or remove this line",
        )),
        _ => {}
    }
    table.finish();
    match (ruleset, restore) {
        (Some(ruleset), _) => Rules::File(ruleset),
        (None, Some(restore)) => {
            let default = || Spanned::new(restore.span(), PathBuf::from(DEFAULT_STATE));
            Rules::Last(state.unwrap_or_else(default))
        }
        (None, None) => Rules::Empty,
    }
}

fn is_file_path(text: &str) -> bool {
    text.starts_with('/') && !text.ends_with('/') && !text.contains('\0')
}

fn path(table: &mut Reader<'_, '_>, key: &'static str, example: &str) -> Option<Spanned<PathBuf>> {
    let path = table.string(key)?;
    if is_file_path(path.get_ref()) {
        return Some(Spanned::new(path.span(), PathBuf::from(path.get_ref())));
    }
    table.report(Diagnostic::error(
        path.span(),
        format!("`{key}` in [rules] cannot be {:?}", path.get_ref()),
        format!("write an absolute path of a file, such as \"{example}\""),
    ));
    None
}

/// What contradicts itself.
pub(super) fn check(config: &Config, findings: &mut Vec<Diagnostic>) {
    let socket = &config.nfnetlink.socket;
    if socket.get_ref() == &config.api.socket {
        findings.push(Diagnostic::error(
            socket.span(),
            format!("the netlink socket is the API's: {}", socket.get_ref().display()),
            "give [nfnetlink] and [api] a `socket` each",
        ));
    }
}

/// What the machine has not got; the number of the socket's group.
pub(super) fn resolve(config: &Config, findings: &mut Vec<Diagnostic>) -> Option<u32> {
    if let Rules::File(path) = &config.rules
        && let Err(error) = std::fs::File::open(path.get_ref())
    {
        findings.push(Diagnostic::error(
            path.span(),
            format!("the ruleset {} cannot be read: {error}", path.get_ref().display()),
            "write the file (`flush ruleset`, then tables, as for nftables), or remove the line to begin without rules",
        ));
    }
    let group = config.nfnetlink.group.as_ref()?;
    let number = number_of(group.get_ref(), Path::new("/etc/group"));
    if number.is_none() {
        findings.push(Diagnostic::error(
            group.span(),
            format!("there is no group {:?}", group.get_ref()),
            format!(
                "make it with `groupadd --system {}`, or write another one's name or number",
                group.get_ref()
            ),
        ));
    }
    number
}

/// A group's number, by its name in a file as group(5) has it.
fn number_of(group: &str, file: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let named = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == group).then(|| fields.nth(1)?.parse().ok())?
    });
    named.or_else(|| group.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_go_by_name_or_number() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("group");
        std::fs::write(&file, "root:x:0:\nnetadmin:x:998:alice\n").unwrap();
        assert_eq!(number_of("netadmin", &file), Some(998));
        assert_eq!(number_of("1234", &file), Some(1234));
        assert_eq!(number_of("net", &file), None);
    }
}
