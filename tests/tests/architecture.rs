//! docs/architecture.md tells the truth: every crate, file, function, type and make target that it names exists.
//!
//! A name is what stands in backticks, and in a drawing every word that holds `::` or a slash. A command (`ip`, `ping`, or
//! several words) is no name, but `make TARGET` and `twinwall COMMAND` are checked.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Programs that are not ours; in backticks, alone or with arguments, they are no names.
const FOREIGN: &[&str] = &[
    "ip",
    "ping",
    "cargo",
    "nft",
    "conntrack",
    "testpmd",
    "iperf3",
    "traceroute",
    "curl",
    "systemctl",
];

/// The workspace as the checker sees it: its folder, its crates and where they lie.
struct Tree {
    root: PathBuf,
    crates: Vec<(String, PathBuf)>,
}

impl Tree {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
        let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
        let members = manifest.split("members = [").nth(1).unwrap().split(']').next().unwrap();
        let crates = members
            .split(',')
            .map(|member| member.trim().trim_matches('"'))
            .filter(|member| !member.is_empty())
            .map(|member| {
                let folder = root.join(member);
                let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
                let name = manifest.lines().find_map(|line| line.strip_prefix("name = ")).unwrap();
                (name.trim_matches('"').to_owned(), folder)
            })
            .collect();
        Self { root, crates }
    }

    fn folder(&self, name: &str) -> Option<&Path> {
        let name = name.replace('_', "-");
        self.crates
            .iter()
            .find(|(other, _)| other.replace('_', "-") == name)
            .map(|(_, folder)| folder.as_path())
    }

    /// Every Rust file of a crate's own source folder.
    fn sources(folder: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![folder.join("src")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    files.push(path);
                }
            }
        }
        files
    }

    /// Why a name is untrue; none when it is true.
    fn fault(&self, name: &str) -> Option<String> {
        let mut words = name.split_whitespace();
        let first = words.next()?;
        match (first, words.next()) {
            ("make", Some(target)) => {
                let makefile = fs::read_to_string(self.root.join("Makefile")).unwrap();
                let found = makefile.lines().any(|line| {
                    line.strip_prefix(target).is_some_and(|rest| rest.starts_with(':'))
                });
                return (!found).then(|| format!("`{name}`: the Makefile has no target {target}"));
            }
            ("twinwall", Some(command)) => {
                let variant: String = command
                    .chars()
                    .take(1)
                    .flat_map(char::to_uppercase)
                    .chain(command.chars().skip(1))
                    .collect();
                let files = Self::sources(self.folder("cli")?);
                return (!files.iter().any(|file| has_word(file, &variant)))
                    .then(|| format!("`{name}`: no such command"));
            }
            (program, _) if FOREIGN.contains(&program) => return None,
            _ => {}
        }
        if name == "twinwall" {
            return None;
        }
        let name = name.trim_end_matches("()");
        if name.contains('/') || [".rs", ".toml", ".md"].iter().any(|end| name.ends_with(end)) {
            return (!self.root.join(name).exists())
                .then(|| format!("`{name}`: no such file or folder"));
        }
        if !name.contains("::") {
            let known = self.folder(name).is_some()
                || self
                    .crates
                    .iter()
                    .flat_map(|(_, folder)| Self::sources(folder))
                    .any(|file| defines(&file, name));
            return (!known).then(|| {
                format!("`{name}`: no crate of this name, and nothing so called is defined")
            });
        }
        self.path_fault(name)
    }

    /// The same for `crate::module::item`, `module::item` or `Type::function`.
    fn path_fault(&self, name: &str) -> Option<String> {
        let segments: Vec<&str> = name.split("::").collect();
        let (mut files, rest) = match self.folder(segments[0]) {
            Some(folder) => (Self::sources(folder), &segments[1..]),
            None => (
                self.crates.iter().flat_map(|(_, folder)| Self::sources(folder)).collect(),
                &segments[..],
            ),
        };
        for segment in rest {
            let module: Vec<PathBuf> =
                files.iter().filter(|file| in_module(file, segment)).cloned().collect();
            if !module.is_empty() {
                files = module;
            } else if !files.iter().any(|file| defines(file, segment)) {
                return Some(format!("`{name}`: {segment} is not there"));
            } else if segment.chars().next().is_some_and(char::is_uppercase) {
                // A type's functions may stand in any file of its module's folder.
                let folders: Vec<PathBuf> = files
                    .iter()
                    .filter(|file| defines(file, segment))
                    .filter_map(|file| Some(file.parent()?.to_owned()))
                    .collect();
                files.retain(|file| folders.iter().any(|folder| file.starts_with(folder)));
            }
        }
        None
    }
}

/// Whether a file is the module `name` or lies in its folder.
fn in_module(file: &Path, name: &str) -> bool {
    file.file_stem().is_some_and(|stem| stem == name)
        || file.parent().is_some_and(|folder| folder.ends_with(name))
}

/// The identifiers of a text.
fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
}

fn has_word(file: &Path, word: &str) -> bool {
    identifiers(&fs::read_to_string(file).unwrap()).any(|other| other == word)
}

/// Whether a file defines an item `name` outside its comments.
fn defines(file: &Path, name: &str) -> bool {
    const KEYWORDS: [&str; 9] =
        ["fn", "struct", "enum", "trait", "mod", "const", "static", "type", "macro_rules"];
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).any(|line| {
        let words: Vec<&str> = identifiers(line).collect();
        words.windows(2).any(|pair| KEYWORDS.contains(&pair[0]) && pair[1] == name)
    })
}

/// The names in a Markdown text.
fn names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut drawing = false;
    for line in text.lines() {
        if line.starts_with("```") {
            drawing = !drawing;
        } else if drawing {
            let words =
                line.split(|letter: char| !(letter.is_alphanumeric() || "_:/.-".contains(letter)));
            let words = words.map(|word| word.trim_matches([':', '.', '-']));
            names.extend(
                words
                    .filter(|word| word.contains("::") || word.trim_matches('/').contains('/'))
                    .map(str::to_owned),
            );
        } else {
            names.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    names
}

#[test]
fn every_name_in_architecture_md_exists() {
    let tree = Tree::read();
    let text = fs::read_to_string(tree.root.join("docs/architecture.md")).unwrap();
    let names = names(&text);
    assert!(names.len() > 40, "only {} names were found in docs/architecture.md", names.len());
    let faults: Vec<String> = names.iter().filter_map(|name| tree.fault(name)).collect();
    assert!(faults.is_empty(), "docs/architecture.md is not true:\n{}", faults.join("\n"));
}

#[test]
fn every_crate_is_in_architecture_md_and_has_a_readme() {
    let tree = Tree::read();
    let text = fs::read_to_string(tree.root.join("docs/architecture.md")).unwrap();
    let names = names(&text);
    for (name, folder) in &tree.crates {
        assert!(
            names.iter().any(|other| other == name),
            "docs/architecture.md does not name the crate {name}"
        );
        let readme = folder.join("README.md");
        assert!(readme.is_file(), "{} is missing", readme.display());
    }
}

#[test]
fn the_checker_sees_what_is_not_there() {
    let tree = Tree::read();
    for wrong in [
        "no_such_crate",
        "dataplane/src/no_such_file.rs",
        "packet::no_such_item",
        "packet::drop::NoSuchReason",
        "packet::DropReason::no_such_function",
        "NoSuchType::name",
        "make no-such-target",
        "twinwall nosuchcommand",
    ] {
        assert!(tree.fault(wrong).is_some(), "{wrong} passes");
    }
    for right in [
        "packet",
        "dpdk-sys",
        "dataplane/packet/src/drop.rs",
        "packet::drop::DropReason",
        "DropReason::name",
        "make test",
    ] {
        assert_eq!(tree.fault(right), None);
    }
    let text = "see `packet` and\n```\n rx -> pipeline::run -> dataplane/src ->\n```\n";
    assert_eq!(names(text), ["packet", "pipeline::run", "dataplane/src"]);
}
