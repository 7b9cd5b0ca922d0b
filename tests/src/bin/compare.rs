//! `compare [alone] [RATE[:LOSS]...]`: an atomic cut under a flood of new flows, twinwall without and with strict defer beside Linux with
//! conntrackd, in one run; see `benches/README.md`. `alone`: without the latter. Takes root, keepalived and conntrackd.

use std::{process::ExitCode, time::Duration};
use tests::{
    LabError, Pair, Setup,
    pair::{self, Keepalived, KernelPair, Node},
    traffic::{Report, judge::Judgement},
    wait_until,
};

/// keepalived looks once a second whether a node is fit: until then node 1, which was not when it started, stands below node 2.
const FIT: Duration = Duration::from_secs(3);
/// Flows that are established before.
const ESTABLISHED: u32 = 100_000;
/// How long new flows come before the cut. Linux has room for 262,144 flows here.
const BEFORE: Duration = Duration::from_millis(1500);
const PERCENT: [u32; 3] = [0, 5, 20];
/// Under the table.
const NOTE: &str = "\
began: flows whose first packet got through to the far end before the cut. With strict defer it gets through when the standby has
the flow, or not at all: what waited for 5 ms is dropped, and so is what finds 4,096 others waiting. Nobody sends it again here, so
such flows count under \"not begun\" and not as lost; a host would try again. With strict defer packets between the nodes are lost only
from when the established flows are there.";

/// What one cut showed.
struct Row {
    flows: Judgement,
    probe: Report,
    said: String,
    /// Processor time per new flow of what replicates, in microseconds: sender, receiver.
    cpu: [f64; 2],
    note: String,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let is_alone = words.iter().any(|word| word == "alone");
    let mut cuts: Vec<(u32, u32)> = words.iter().flat_map(|word| asked(word)).collect();
    if cuts.is_empty() {
        cuts = ["10000", "20000", "50000"].into_iter().flat_map(asked).collect();
    }
    println!(
        "{:<22} {:>7} {:>5} | {:>6} {:>6} {:>6} {:>7} {:>7} | {:>8} | {:>6} {:>6} | note",
        "system",
        "flows/s",
        "loss%",
        "began",
        "estab.",
        "young",
        "older",
        "oldest",
        "silence",
        "CPU tx",
        "CPU rx"
    );
    println!(
        "{:<22} {:>7} {:>5} | {:>6} {:>6} {:>6} {:>7} {:>7} | {:>8} | {:>6} {:>6} |",
        "", "asked", "", "", "lost", "lost", "lost", "ms", "ms", "us", "us"
    );
    let mut good = true;
    for (rate, percent) in cuts {
        for (system, strict) in [("twinwall", false), ("twinwall, strict defer", true)] {
            good &= show(system, rate, percent, twice(|| twinwall(rate, percent, strict)));
        }
        if !is_alone {
            good &= show("conntrackd", rate, percent, twice(|| kernel(rate, percent)));
        }
    }
    println!("{NOTE}");
    tests::sweep();
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a word of the command line asks for: a rate with a loss, or with each.
fn asked(word: &str) -> Vec<(u32, u32)> {
    let (rate, loss) = word.split_once(':').map_or((word, None), |(rate, loss)| (rate, Some(loss)));
    let Ok(rate) = rate.parse() else { return Vec::new() };
    match loss.map(str::parse) {
        None => PERCENT.map(|percent| (rate, percent)).to_vec(),
        Some(percent) => percent.into_iter().map(|percent| (rate, percent)).collect(),
    }
}

fn show(system: &str, rate: u32, percent: u32, row: tests::Result<Row>) -> bool {
    match row {
        Ok(Row { flows, probe, said, cpu: [sender, receiver], mut note }) => {
            if flows.unseen > 0 {
                note.push_str(&format!(", {} not begun", flows.unseen));
            }
            let misled = if said.contains("misled 0") { "" } else { " ANSWERS WENT ASTRAY" };
            println!(
                "{system:<22} {rate:>7} {percent:>5} | {:>6} {:>6} {:>6} {:>7} {:>7.1} | {:>8.1} | {sender:>6.2} {receiver:>6.2} | {note}{misled}",
                flows.fresh,
                flows.established_lost,
                flows.young_lost,
                flows.old_lost,
                flows.oldest_lost_ms,
                probe.probe.longest_silence_ms,
            );
            true
        }
        Err(error) => {
            println!("{system:<22} {rate:>7} {percent:>5} | failed: {error}");
            false
        }
    }
}

/// Once more if it fails.
fn twice(run: impl Fn() -> tests::Result<Row>) -> tests::Result<Row> {
    run().or_else(|_| run())
}

/// Processor time of the thread that replicates.
fn sync_us(node: &mut Node) -> u64 {
    let pid = node.daemon.process().pid();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let named = tasks.filter(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "sync")
    });
    named.map(|task| pair::cpu_us(&task.path().display().to_string())).sum()
}

fn twinwall(rate: u32, percent: u32, strict: bool) -> tests::Result<Row> {
    let mut settings = tests::Settings::default();
    settings.more.push_str("[conntrack]\nmax = 1048576\n");
    let mut setup = Setup { advert: pair::FAST, settings, ..Setup::default() };
    if strict {
        setup = setup.deferring(true);
    }
    let mut pair = Pair::new(&setup)?;
    std::thread::sleep(FIT);
    if !strict {
        pair.lose(percent)?;
    }
    let talk = pair.talk("--probe 1000")?;
    let flood = pair.flood(ESTABLISHED, rate, 30)?;
    if strict {
        // To establish them under a loss would take so many tries that the first ones end meanwhile.
        pair.lose(percent)?;
    }
    let [first, second] = &mut pair.nodes[..] else { return Err(two()) };
    let before = [sync_us(first), sync_us(second)];
    std::thread::sleep(BEFORE);
    let after = [sync_us(first), sync_us(second)];
    if second.has_addresses()? {
        let logs = [&*first, &*second].map(|node| node.keepalived.as_ref().map(Keepalived::log));
        return Err(early(logs.map(Option::unwrap_or_default)));
    }
    let synchronised = second.ha_field("/synchronised")? == true;
    let lag = first.ha_field("/lag_us")?;
    let cut = first.cut();
    wait_until("node 2 to be active", Duration::from_secs(20), || {
        Ok(second.role()? == "active" && second.has_addresses()?)
    })?;
    let (flows, said) = flood.finish(cut)?;
    let cpu = per_flow(before, after, rate);
    let us = |name: &str| lag.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
    let mut note = format!("lag p50 {} us, p99 {} us", us("p50"), us("p99"));
    if !synchronised {
        note.push_str(", not synchronised at the cut");
    }
    if flows.established_lost > 0 {
        note.push_str(&format!(", lost {:?}\n{}", flows.examples, pair.explain()));
    }
    Ok(Row { flows, probe: talk.finish()?, said, cpu, note })
}

fn kernel(rate: u32, percent: u32) -> tests::Result<Row> {
    let pair = KernelPair::new()?;
    pair.lose(percent)?;
    let talk = pair.talk("--probe 1000")?;
    let flood = pair.flood(ESTABLISHED, rate, 30)?;
    let [first, second] = &pair.nodes[..] else { return Err(two()) };
    let before = [first.cpu_us(), second.cpu_us()];
    std::thread::sleep(BEFORE);
    let after = [first.cpu_us(), second.cpu_us()];
    if second.has_addresses()? {
        return Err(early([first.keepalived_log(), second.keepalived_log()]));
    }
    let cut = first.cut()?;
    wait_until("node 2 to have committed", Duration::from_secs(20), || {
        Ok(second.has_addresses()? && second.commit_ms().is_some())
    })?;
    let (flows, said) = flood.finish(cut)?;
    let commit = second.commit_ms().unwrap_or_default();
    let cpu = per_flow(before, after, rate);
    Ok(Row { flows, probe: talk.finish()?, said, cpu, note: format!("commit {commit:.0} ms") })
}

fn per_flow(before: [u64; 2], after: [u64; 2], rate: u32) -> [f64; 2] {
    let flows = f64::from(rate) * BEFORE.as_secs_f64();
    let one = |index: usize| match (before.get(index), after.get(index)) {
        (Some(before), Some(after)) => after.saturating_sub(*before) as f64 / flows,
        _ => 0.0,
    };
    [one(0), one(1)]
}

/// On a busy machine keepalived may take a node for dead by itself: such a run says nothing but what both keepalived said.
fn early(logs: [String; 2]) -> LabError {
    LabError::Shape { what: "the master, which changed before the cut".into(), text: logs.concat() }
}

fn two() -> LabError {
    LabError::Shape { what: "the nodes".into(), text: "two were asked for".into() }
}
