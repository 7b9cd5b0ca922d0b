//! `make demo`: the usual laboratory, what a person would try first in it, and the results for people and programs.

mod failover;
mod flows;
mod rules;

use crate::{
    LabError, PortKind, Result, Settings, Trio,
    addresses::{LAN, LAN6, SERVER, SERVER6},
};
use serde_json::{Value, json};
use std::{
    io::{IsTerminal, Write as _},
    path::Path,
    time::Instant,
};

/// How many seconds each TCP transfer takes.
const TRANSFER_SECONDS: u32 = 3;
/// The size of the HTTP download.
const MEGABYTES: usize = 100;

/// What a check found: a line for people, fields for programs.
type Finding = Result<(String, Value)>;

/// A check's name and what it does.
type Check = (&'static str, fn(&Trio) -> Finding);

const CHECKS: &[Check] = &[
    ("ping IPv4", |lab| ping(lab, SERVER)),
    ("ping IPv6", |lab| ping(lab, SERVER6)),
    ("traceroute IPv4", |lab| traceroute(lab, [LAN, SERVER])),
    ("traceroute IPv6", |lab| traceroute(lab, [LAN6, SERVER6])),
    ("TCP upload IPv4", |lab| transfer(lab, SERVER, false)),
    ("TCP download IPv4", |lab| transfer(lab, SERVER, true)),
    ("TCP upload IPv6", |lab| transfer(lab, SERVER6, false)),
    ("TCP download IPv6", |lab| transfer(lab, SERVER6, true)),
    ("HTTP, 100 MB", http),
    ("rules: nft", rules::loaded),
    ("rules: refused", rules::refused),
    ("rules: counters", rules::counted),
    ("rules: limit", rules::limited),
    ("rules: changed", rules::changed),
    ("masquerade", flows::masqueraded),
    ("port forward", flows::forwarded),
    ("TCP through NAT", flows::transferred),
    ("conntrack -L", flows::listed),
    ("kernel bypassed", no_kernel),
];

/// Runs the demo, prints what it does, writes the results to `report`; says whether everything went well.
pub fn run(report: &Path) -> bool {
    let start = Instant::now();
    let mut log =
        Log { paint: Paint { colour: std::io::stdout().is_terminal() }, checks: Vec::new() };
    let paint = log.paint;
    println!();
    println!("  client {} twinwall {} server", paint.dim("───── lan │"), paint.dim("│ wan ─────"));
    println!("  {}", paint.dim("192.0.2.2     192.0.2.1    198.51.100.1     198.51.100.2"));
    println!();

    let mut counters = Value::Null;
    let cores = cores();
    let settings = Settings { cores: cores.clone(), ..Settings::default() };
    let trio = log.check("start", || {
        let trio = Trio::new(PortKind::AfPacket, &settings)?;
        let text = format!(
            "`twinwall run` with {} worker(s); its ports have addresses set with `ip`",
            cores.len()
        );
        Ok((trio, text, json!({ "workers": cores.len() })))
    });
    if let Some(trio) = trio {
        for (name, work) in CHECKS {
            log.check(name, || work(&trio).map(|(text, fields)| ((), text, fields)));
        }
        let screens = log.check("counters", || {
            let (screens, machine) = screens(&trio, paint)?;
            Ok((
                (screens, machine),
                "status, ports, workers, drops and flows answer (below)".into(),
                json!({}),
            ))
        });
        log.check("stop", || {
            let Trio { daemon, router, lab, .. } = trio;
            daemon.stop()?;
            let (links, _) = router.try_sh("ip -o link show type tun")?;
            if links.0.trim().is_empty() {
                drop(lab);
                Ok(((), "SIGTERM ended it; nothing is left behind".into(), json!({})))
            } else {
                Err(shape("what the daemon left behind", links.0))
            }
        });
        if let Some((screens, machine)) = screens {
            println!("{screens}");
            counters = machine;
        }
    }
    failover::tell(&mut log);

    let seconds = start.elapsed().as_secs_f64();
    let failed =
        log.checks.iter().filter(|check| check.get("ok") != Some(&Value::Bool(true))).count();
    let (version, count) = (env!("CARGO_PKG_VERSION"), log.checks.len());
    let result = json!({ "ok": failed == 0, "seconds": seconds, "version": version, "checks": log.checks, "counters": counters });
    let written = write(report, &result);
    if let Err(error) = &written {
        println!("{} {error}", paint.bad("FAILED"));
    }
    if failed == 0 {
        println!(
            "{} in {seconds:.0} s. Results: {}",
            paint.good(&format!("All {count} checks passed")),
            report.display()
        );
    } else {
        println!(
            "{} Results: {}",
            paint.bad(&format!("{failed} of {count} checks failed.")),
            report.display()
        );
    }
    failed == 0 && written.is_ok()
}

/// The checks so far, printed as they go.
struct Log {
    paint: Paint,
    checks: Vec<Value>,
}

impl Log {
    /// Does one check: its name at once, so that somebody sees what is going on, then what came out.
    fn check<T>(
        &mut self,
        name: &str,
        work: impl FnOnce() -> Result<(T, String, Value)>,
    ) -> Option<T> {
        print!("  {name:<18} ");
        // A terminal that is gone is no reason to stop.
        let _ = std::io::stdout().flush();
        let begin = Instant::now();
        let (value, ok, text, mut fields) = match work() {
            Ok((value, text, fields)) => (Some(value), true, text, fields),
            Err(error) => (None, false, error.to_string(), json!({})),
        };
        println!("{} {text}", if ok { self.paint.good("ok") } else { self.paint.bad("FAILED") });
        if let Some(fields) = fields.as_object_mut() {
            let common = json!({ "name": name, "ok": ok, "text": text, "seconds": begin.elapsed().as_secs_f64() });
            fields.extend(common.as_object().cloned().unwrap_or_default());
        }
        self.checks.push(fields);
        value
    }
}

/// What the operator's commands show, for people and for programs.
fn screens(trio: &Trio, paint: Paint) -> Result<(String, Value)> {
    let (mut text, mut machine) = (String::new(), serde_json::Map::new());
    for command in ["status", "ports", "workers", "drops", "flows"] {
        text.push_str(&format!("\n  {}\n", paint.bold(&format!("twinwall {command}"))));
        for line in trio.daemon.cli(&[command])?.0.lines() {
            text.push_str(&format!("  {line}\n"));
        }
        machine.insert(command.to_owned(), trio.daemon.json(command)?);
    }
    Ok((text, Value::Object(machine)))
}

fn ping(trio: &Trio, target: &str) -> Finding {
    let output =
        trio.client.run(&["ping", "-n", "-q", "-c", "20", "-i", "0.05", "-W", "2", target])?.0;
    let received = output
        .lines()
        .find_map(|line| line.split(", ").nth(1)?.split(' ').next()?.parse::<u32>().ok());
    let times = output
        .lines()
        .find_map(|line| line.strip_prefix("rtt")?.split(" = ").nth(1))
        .unwrap_or_default();
    let average = times.split('/').nth(1).and_then(|text| text.parse::<f64>().ok());
    match (received, average) {
        (Some(20), Some(average)) => Ok((
            format!("20 of 20 answers from {target}, {average:.2} ms on average"),
            json!({ "target": target, "answers": 20, "ms": average }),
        )),
        _ => Err(shape("ping's summary", output)),
    }
}

fn traceroute(trio: &Trio, expected: [&str; 2]) -> Finding {
    let [_, target] = expected;
    let hops = trio.traceroute(target)?;
    if hops == expected {
        Ok((format!("client → {}", hops.join(" → ")), json!({ "hops": hops })))
    } else {
        Err(shape("the way that traceroute sees", hops.join(" → ")))
    }
}

fn transfer(trio: &Trio, target: &str, reverse: bool) -> Finding {
    let rate = trio.iperf(target, TRANSFER_SECONDS, reverse)?;
    let text = format!("{:.2} Gb/s for {TRANSFER_SECONDS} s (iperf3)", rate / 1e9);
    Ok((text, json!({ "bits_per_second": rate, "target": target, "reverse": reverse })))
}

fn http(trio: &Trio) -> Finding {
    let (seconds, sum) = trio.download(MEGABYTES)?;
    let text =
        format!("{seconds:.1} s, SHA-256 equal at both ends ({}…)", sum.get(..12).unwrap_or(&sum));
    Ok((text, json!({ "megabytes": MEGABYTES, "download_seconds": seconds, "sha256": sum })))
}

fn no_kernel(trio: &Trio) -> Finding {
    let forwarded = trio.forwarded_by_kernel()?;
    let text = format!("the router's kernel forwarded {forwarded} packets");
    if forwarded == 0 {
        Ok((text, json!({ "kernel_forwarded": 0 })))
    } else {
        Err(shape("who forwarded", text))
    }
}

fn shape(what: &str, text: String) -> LabError {
    LabError::Shape { what: what.to_owned(), text }
}

/// The cores for the workers: two of those that this process may use, or the only one.
pub(crate) fn cores() -> Vec<u32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap_or("0")
        .trim()
        .to_owned();
    let number = |text: &str| text.parse::<u32>().ok();
    let range = |part: &str| match part.split_once('-') {
        Some((from, to)) => Some(number(from)?..=number(to)?),
        None => Some(number(part)?..=number(part)?),
    };
    list.split(',').filter_map(range).flatten().take(2).collect()
}

/// Writes the results as JSON.
fn write(path: &Path, result: &Value) -> Result<()> {
    let file = |source| LabError::File { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(file)?;
    }
    std::fs::write(path, format!("{result:#}\n")).map_err(file)
}

/// Colours, where the output is a terminal.
#[derive(Clone, Copy)]
struct Paint {
    colour: bool,
}

impl Paint {
    fn wrap(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
    fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }
    fn bad(self, text: &str) -> String {
        self.wrap("1;31", text)
    }
    fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }
    fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }
}
