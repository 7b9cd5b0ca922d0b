//! Loading rules: what a batch costs in the daemon, how much memory a rule takes, and one rule more at the end.
//!
//! `cargo run --release -p benches --bin load -- [--runs N] [--nft] [RULES:CHAINS...]`
//!
//! A batch makes a table with a base chain that jumps to each of CHAINS chains, and RULES rules over these: source address,
//! protocol, port, counter, verdict, a comment. `engine` is the time from the batch's bytes to its acknowledgement, with
//! nobody to adopt the program; `one more` the same for a batch of one rule afterwards, `one jump more` for one whose jump has to
//! be checked for loops. `--nft` loads the same rules by the real
//! `nft -f`, into us through the preload library and into the kernel of an empty network namespace (root), in turns.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use benches::batch::{Batch, FORWARD, IPV4, cmp, counter, expr, payload, send, verdict};
use benches::stats::Spread;
use nfnetlink::server::Engine;
use nfnetlink::{Server, ServerConfig};
use ruleset::nft::{Host, NfTables};

fn main() -> anyhow::Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let nft = args.iter().position(|arg| arg == "--nft").map(|at| args.remove(at)).is_some();
    let mut runs = 5;
    if let Some(at) = args.iter().position(|arg| arg == "--runs") {
        args.remove(at);
        runs = args.remove(at).parse()?;
    }
    if args.is_empty() {
        args = ["10000:1000", "100000:1000", "1000000:1000"].map(String::from).to_vec();
    }
    println!(
        "| rules | chains | engine ms | one more µs | one jump more µs | bytes per rule |{}",
        if nft { " nft to us s | nft to the kernel s |" } else { "" }
    );
    println!("|---|---|---|---|---|---|{}", if nft { "---|---|" } else { "" });
    for arg in args {
        let (rules, chains) = arg.split_once(':').context("RULES:CHAINS")?;
        let (rules, chains) = (rules.parse()?, chains.parse()?);
        let batch = batch(rules, chains);
        let measured: Vec<Run> =
            (0..runs).map(|_| measure(&batch, chains)).collect::<Result<_, _>>()?;
        let ms = Spread::of(measured.iter().map(|run| run.engine.as_secs_f64() * 1e3));
        let more = Spread::of(measured.iter().map(|run| run.one_more.as_secs_f64() * 1e6));
        // The first run's: later ones find memory that the process has already.
        let bytes = measured[0].memory as f64 / rules as f64;
        let jump = Spread::of(measured.iter().map(|run| run.one_jump.as_secs_f64() * 1e6));
        print!(
            "| {rules} | {chains} | {} | {} | {} | {bytes:.0} |",
            spread(ms),
            spread(more),
            spread(jump)
        );
        if nft {
            let (us, kernel) = by_nft(rules, chains, runs.min(3))?;
            print!(" {} | {} |", spread(us), spread(kernel));
        }
        println!();
    }
    Ok(())
}

fn spread(spread: Spread) -> String {
    format!("{:.2} ({:.2}–{:.2})", spread.median, spread.min, spread.max)
}

struct Run {
    engine: Duration,
    one_more: Duration,
    one_jump: Duration,
    memory: usize,
}

fn tables() -> NfTables {
    NfTables::new(Host { workers: 2, now: Box::new(|| 0), publish: Box::new(drop) })
}

fn measure(batch: &[u8], chains: usize) -> anyhow::Result<Run> {
    let mut engine = Engine::new(1 << 20, 1, Arc::default());
    engine.register(Box::new(tables()));
    let client = engine.connect(0, std::process::id(), true);
    let before = resident();
    let start = Instant::now();
    send(&mut engine, client, batch)?;
    let time = start.elapsed();
    let memory = resident().saturating_sub(before);
    let mut more = Batch::new(IPV4);
    rule(&mut more, chains / 2, 7);
    let more = more.end();
    let start = Instant::now();
    send(&mut engine, client, &more)?;
    let one_more = start.elapsed();
    let mut jump = Batch::new(IPV4);
    jump.rule("c0", |out| verdict(out, -3, Some(&format!("c{}", chains - 1))));
    let jump = jump.end();
    let start = Instant::now();
    send(&mut engine, client, &jump)?;
    Ok(Run { engine: time, one_more, one_jump: start.elapsed(), memory })
}

/// Resident bytes of this process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// A rule of the `n`th address and port.
fn rule(batch: &mut Batch, chain: usize, n: usize) {
    batch.rule(&format!("c{chain}"), |out| {
        payload(out, 1, 12, 4);
        cmp(out, &(0x0a00_0000 + n as u32).to_be_bytes());
        expr(out, "meta", |out| {
            out.u32(1, 1);
            out.u32(2, 16);
        });
        cmp(out, &[6]);
        payload(out, 2, 2, 2);
        cmp(out, &(n as u16).to_be_bytes());
        counter(out);
        verdict(out, 1, None);
    });
}

fn batch(rules: usize, chains: usize) -> Vec<u8> {
    let mut batch = Batch::new(IPV4);
    batch.table();
    batch.chain("base", Some(FORWARD));
    (0..chains).for_each(|n| batch.chain(&format!("c{n}"), None));
    (0..chains).for_each(|n| batch.rule("base", |out| verdict(out, -3, Some(&format!("c{n}")))));
    (0..rules).for_each(|n| rule(&mut batch, n % chains, n));
    batch.end()
}

/// Seconds that `nft -f` takes, into us and into the kernel.
fn by_nft(rules: usize, chains: usize, runs: usize) -> anyhow::Result<(Spread, Spread)> {
    let folder = tempfile()?;
    let file = folder.join("rules.nft");
    std::fs::write(&file, text(rules, chains))?;
    let socket = folder.join("nfnl.sock");
    let stop = Arc::new(AtomicBool::new(false));
    let mut server = Server::bind(&socket, ServerConfig::default())?;
    server.register(Box::new(tables()));
    let publisher = server.publisher();
    let told = stop.clone();
    let thread = std::thread::spawn(move || server.run(&told));
    let library = std::env::current_exe()?.with_file_name("libtwinwall_nfnl.so");
    if !library.exists() {
        bail!("no {}: cargo build --release -p twinwall_nfnl", library.display());
    }
    let (mut us, mut kernel) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let envs = [("LD_PRELOAD", library.as_path()), ("TWINWALL_NFNL", socket.as_path())];
        us.push(nft(&file, &envs)?);
        kernel.push(nft(&file, &[])?);
    }
    stop.store(true, Ordering::Relaxed);
    publisher.waker().wake();
    thread.join().map_err(|_| anyhow::anyhow!("the server panicked"))??;
    std::fs::remove_dir_all(folder)?;
    Ok((Spread::of(us), Spread::of(kernel)))
}

/// Runs `nft -f` in an empty network namespace of its own.
fn nft(file: &Path, envs: &[(&str, &Path)]) -> anyhow::Result<f64> {
    let mut command = Command::new("unshare");
    command.args(["-n", "env"]);
    envs.iter().for_each(|(name, value)| {
        command.arg(format!("{name}={}", value.display()));
    });
    let start = Instant::now();
    let status = command.args(["nft", "-f"]).arg(file).status()?;
    if !status.success() {
        bail!("nft: {status}");
    }
    Ok(start.elapsed().as_secs_f64())
}

fn text(rules: usize, chains: usize) -> String {
    let mut text = String::from("flush ruleset\ntable ip bench {\n");
    for chain in 0..chains {
        let _ = writeln!(text, "chain c{chain} {{");
        for n in (chain..rules).step_by(chains) {
            let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n as u32);
            let port = n as u16;
            let _ = writeln!(text, "ip saddr {address} tcp dport {port} counter accept");
        }
        let _ = writeln!(text, "}}");
    }
    let _ = writeln!(text, "chain base {{ type filter hook forward priority 0;");
    (0..chains).for_each(|n| {
        let _ = writeln!(text, "jump c{n}");
    });
    text + "}\n}\n"
}

fn tempfile() -> anyhow::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("twinwall-load-{}", std::process::id()));
    std::fs::create_dir_all(&path)?;
    Ok(path)
}
