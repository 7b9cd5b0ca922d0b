//! `nft monitor` beside the steps that it reports.

use std::fs::{self, File};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::corpus::{self, text};
use crate::lab::{Lab, Side};
use crate::tally::{Outcome, Tally, listing};

/// A table that comes and goes to see that the monitor listens and has printed all.
const MARK: &str = "twinwallmark";

/// A monitor that runs, and where it prints.
struct Monitor {
    child: Child,
    path: std::path::PathBuf,
}

impl Monitor {
    fn start(lab: &Lab, side: Side, args: &[&str]) -> Self {
        let path = lab.file(&format!("monitor-{side:?}"), b"");
        let mut command = lab.command(side, &corpus::nft());
        let out = File::create(&path).unwrap();
        command.args(args).stdin(Stdio::null()).stdout(out).stderr(Stdio::null());
        let mut monitor = Self { child: command.spawn().unwrap(), path };
        assert!(monitor.wait(lab, side), "{side:?}: nft {args:?} ends");
        monitor
    }

    /// Waits until what happened so far is printed. False if the monitor ended.
    fn wait(&mut self, lab: &Lab, side: Side) -> bool {
        let before = self.printed().len();
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(lab.nft(side, &[&format!("add table ip {MARK}; delete table ip {MARK}")]).ok());
            for _ in 0..10 {
                if self.printed()[before..].contains(MARK) {
                    return true;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        panic!("{side:?}: nft monitor prints nothing");
    }

    fn printed(&self) -> String {
        fs::read_to_string(&self.path).unwrap()
    }

    fn end(mut self) -> String {
        // `timeout` passes this on.
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
        self.printed()
    }
}

/// The events of a case, the marks and what says the process and generation left out.
fn events(lab: &Lab, side: Side, args: &[&str], row: &serde_json::Value) -> Outcome {
    lab.flush(side);
    let mut monitor = Monitor::start(lab, side, args);
    let mut codes = String::new();
    for step in row["steps"].as_array().unwrap() {
        let lines = step["I"].as_array().unwrap().iter().filter_map(|line| line.as_str());
        let script: String = lines.map(|line| format!("{line}\n")).collect();
        let file = lab.file(&format!("step-{side:?}"), script.as_bytes());
        codes += &format!("{}\n", lab.load(side, &file).code);
    }
    if !monitor.wait(lab, side) {
        return Outcome::Refused(format!("the monitor ended: {}", monitor.child.wait().unwrap()));
    }
    let printed = monitor.end();
    let lines =
        printed.lines().filter(|line| !line.contains(MARK) && !line.starts_with("# new gen"));
    let lines = lines.filter(|line| !line.contains("\"metainfo\""));
    let events: String = lines.map(|line| format!("{line}\n")).collect();
    let events =
        if args.contains(&"-j") { listing::json_events(&events) } else { listing::text(&events) };
    Outcome::Listed(vec![("exit statuses", codes), ("events", without_garbage(&events))])
}

/// Of a raw payload without a type nft prints bytes that it never set: endless digits.
fn without_garbage(events: &str) -> String {
    let words = |line: &str| {
        let words =
            line.split_inclusive(' ').map(|word| if word.len() > 60 { "(garbage) " } else { word });
        words.collect::<String>() + "\n"
    };
    events.lines().map(words).collect()
}

#[test]
fn events_are_printed_as_from_the_kernel() {
    let Some(lab) = Lab::new(&["eth1".to_owned()]) else { return };
    let missing = lab.missing();
    let mut tally = Tally::new("nft_monitor.jsonl");
    for row in corpus::rows("nft_monitor.jsonl") {
        for args in [&["monitor"][..], &["-a", "monitor"], &["-j", "monitor"]] {
            let (kernel, ours) = lab.both(|side| events(&lab, side, args, &row));
            assert!(lab.alive(), "the engine died of {}", text(&row, "id"));
            let name = format!("{} {}", text(&row, "id"), args.join(" "));
            match missing.iter().any(|word| row.to_string().contains(word)) {
                // What this kernel does not do, it does not tell.
                true => eprintln!("{name}: this kernel has no {missing:?}"),
                false => tally.add(&name, &kernel, &ours),
            }
        }
    }
    tally.finish(95);
}
