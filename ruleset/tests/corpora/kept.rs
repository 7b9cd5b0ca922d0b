//! Whatever is loaded can be kept as bytes and had again: the listing is the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nfnetlink::{Client, Dump, Events, Message, Reply, Result, Subsystem};
use ruleset::model::State;
use ruleset::nft::{NfTables, image};

use crate::corpus;
use crate::lab::{Lab, Side};

/// The engine, whose state others see.
struct Tap(NfTables, Arc<Mutex<State>>);

impl Subsystem for Tap {
    fn id(&self) -> u8 {
        self.0.id()
    }
    fn generation(&self) -> u32 {
        self.0.generation()
    }
    fn is_dump(&self, message: &Message<'_>) -> bool {
        self.0.is_dump(message)
    }
    fn request(
        &mut self,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
        events: &mut Events,
    ) -> Result<()> {
        self.0.request(message, reply, events)
    }
    fn dump(&mut self, message: &Message<'_>, client: Client) -> Result<Box<dyn Dump>> {
        self.0.dump(message, client)
    }
    fn begin(&mut self, generation: Option<u32>, client: Client) -> Result<()> {
        self.0.begin(generation, client)
    }
    fn apply(&mut self, message: &Message<'_>, client: Client, events: &mut Events) -> Result<()> {
        self.0.apply(message, client, events)
    }
    fn commit(&mut self, client: Client, events: &mut Events) -> Result<()> {
        self.0.commit(client, events)?;
        *self.1.lock().unwrap() = self.0.state().clone();
        Ok(())
    }
    fn validate(&mut self, client: Client) -> Result<()> {
        self.0.validate(client)
    }
    fn abort(&mut self) {
        self.0.abort();
    }
}

/// Loads a file on an empty engine, keeps what came of it, restores that on another and lists both.
fn kept(lab: &Lab, tool: &str, arguments: &[&str], path: &Path) -> Option<[String; 2]> {
    let state = Arc::new(Mutex::new(State::default()));
    lab.restart_with(Box::new(Tap(Lab::engine(), state.clone())));
    let input = fs::read_to_string(path).unwrap_or_default();
    if !lab.tool(Side::Ours, tool, arguments, &input).ok() {
        return None;
    }
    let before = listing(lab);
    let bytes = image::write(&state.lock().unwrap(), Lab::now());
    let mut restored = Lab::engine();
    if let Err(error) = image::restore(&mut restored, &bytes) {
        return Some([before, error.to_string()]);
    }
    lab.restart_with(Box::new(restored));
    Some([before, listing(lab)])
}

/// The rules as nft lists them, but for what time brings: how long elements stay.
fn listing(lab: &Lab) -> String {
    let text = lab.nft(Side::Ours, &["list ruleset"]).out;
    let line = |line: &str| {
        let mut words: Vec<&str> = line.split(' ').collect();
        while let Some(at) = words.iter().position(|word| *word == "expires") {
            words.drain(at..words.len().min(at + 2));
        }
        words.join(" ") + "\n"
    };
    text.lines().map(line).collect()
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = corpus::folder().unwrap().join(folder);
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

#[test]
fn real_rulesets_survive_being_kept() {
    let Some(lab) = corpus::folder().and_then(|_| Lab::new(&corpus::devices())) else { return };
    let (mut same, mut differ) = (0, Vec::new());
    let mut check = |path: &Path, listings: Option<[String; 2]>| match listings {
        Some([before, after]) if before == after => same += 1,
        Some([before, after]) => {
            let line = before.lines().zip(after.lines()).find(|(before, after)| before != after);
            differ.push(format!("{}: {line:?}", path.display()));
        }
        None => {}
    };
    for path in files("real/nft", "nft") {
        let listings = kept(&lab, &corpus::nft(), &["-f", path.to_str().unwrap()], &path);
        check(&path, listings);
    }
    for (version, tool) in [("v4", "iptables-nft-restore"), ("v6", "ip6tables-nft-restore")] {
        for path in files("real/ipt", version) {
            check(&path, kept(&lab, tool, &[], &path));
        }
    }
    eprintln!(
        "{same} rulesets are the same after being kept, {} differ: {differ:#?}",
        differ.len()
    );
    assert!(same > 0 && differ.is_empty());
}
