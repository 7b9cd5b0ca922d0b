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
use benches::stats::Spread;
use nfnetlink::attr::Writer;
use nfnetlink::message::{
    BATCH_BEGIN, BATCH_END, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST,
};
use nfnetlink::server::Engine;
use nfnetlink::{Header, Messages, NfGen, Server, ServerConfig};
use ruleset::nft::{Host, NfTables, SUBSYSTEM, msg};

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
    let mut more = Batch::default();
    more.rule(chains / 2, 7);
    let more = more.end();
    let start = Instant::now();
    send(&mut engine, client, &more)?;
    let one_more = start.elapsed();
    let mut jump = Batch::default();
    jump.in_chain("c0", |out| verdict(out, -3, Some(&format!("c{}", chains - 1))));
    let jump = jump.end();
    let start = Instant::now();
    send(&mut engine, client, &jump)?;
    Ok(Run { engine: time, one_more, one_jump: start.elapsed(), memory })
}

/// Sends a batch whose end wants an acknowledgement.
fn send(engine: &mut Engine, client: u64, batch: &[u8]) -> anyhow::Result<()> {
    engine.datagram(client, batch);
    let mut codes = Vec::new();
    while let Some((from, answer)) = engine.front(client) {
        let message = Messages::new(&answer.bytes).next().context("an empty answer")?;
        codes.push(i32::from_ne_bytes(message.bytes[16..20].try_into()?));
        engine.sent(client, from);
    }
    match codes[..] {
        [0] => Ok(()),
        _ => bail!("refused: {codes:?}"),
    }
}

/// Resident bytes of this process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[derive(Default)]
struct Batch {
    out: Writer,
    seq: u32,
}

impl Batch {
    fn message(&mut self, command: u8, flags: u16, inside: impl FnOnce(&mut Writer)) {
        if self.seq == 0 {
            self.edge(BATCH_BEGIN, 0);
        }
        self.seq += 1;
        let kind = u16::from(SUBSYSTEM) << 8 | u16::from(command);
        let header =
            Header { kind, flags: NLM_F_REQUEST | flags, seq: self.seq, ..Header::default() };
        self.out.message(header, NfGen { family: 2, version: 0, res_id: 0 }, inside);
    }

    fn edge(&mut self, kind: u16, flags: u16) {
        let header =
            Header { kind, flags: NLM_F_REQUEST | flags, seq: self.seq, ..Header::default() };
        let nfgen = NfGen { family: 0, version: 0, res_id: u16::from(SUBSYSTEM) };
        self.out.message(header, nfgen, |_| {});
    }

    fn end(mut self) -> Vec<u8> {
        self.seq += 1;
        self.edge(BATCH_END, NLM_F_ACK);
        self.out.buf
    }

    fn chain(&mut self, name: &str) {
        self.message(msg::NEWCHAIN, NLM_F_CREATE, |out| {
            out.str(1, "bench");
            out.str(3, name);
            if name == "base" {
                out.nest(4, |out| {
                    out.u32(1, 2);
                    out.u32(2, 0);
                });
                out.str(7, "filter");
            }
        });
    }

    fn rule(&mut self, chain: usize, n: usize) {
        self.in_chain(&format!("c{chain}"), |out| {
            payload(out, 1, 12, 4);
            cmp(out, &(0x0a00_0000 + n as u32).to_be_bytes());
            expr(out, "meta", |out| {
                out.u32(1, 1);
                out.u32(2, 16);
            });
            cmp(out, &[6]);
            payload(out, 2, 2, 2);
            cmp(out, &(n as u16).to_be_bytes());
            expr(out, "counter", |out| {
                out.u64(1, 0);
                out.u64(2, 0);
            });
            verdict(out, 1, None);
        });
    }

    fn in_chain(&mut self, chain: &str, inside: impl FnOnce(&mut Writer)) {
        self.message(msg::NEWRULE, NLM_F_CREATE | NLM_F_APPEND, |out| {
            out.str(1, "bench");
            out.str(2, chain);
            out.nest(4, inside);
        });
    }
}

fn expr(out: &mut Writer, name: &str, inside: impl FnOnce(&mut Writer)) {
    out.nest(1, |out| {
        out.str(1, name);
        out.nest(2, inside);
    });
}

fn payload(out: &mut Writer, base: u32, offset: u32, len: u32) {
    expr(out, "payload", |out| {
        [1, base, offset, len].iter().zip(1..).for_each(|(value, kind)| out.u32(kind, *value));
    });
}

fn cmp(out: &mut Writer, value: &[u8]) {
    expr(out, "cmp", |out| {
        out.u32(1, 1);
        out.u32(2, 0);
        out.nest(3, |out| out.put(1, value));
    });
}

fn verdict(out: &mut Writer, code: i32, chain: Option<&str>) {
    expr(out, "immediate", |out| {
        out.u32(1, 0);
        out.nest(2, |out| {
            out.nest(2, |out| {
                out.u32(1, code.cast_unsigned());
                if let Some(chain) = chain {
                    out.str(2, chain);
                }
            });
        });
    });
}

fn batch(rules: usize, chains: usize) -> Vec<u8> {
    let mut batch = Batch::default();
    batch.message(msg::NEWTABLE, NLM_F_CREATE, |out| out.str(1, "bench"));
    batch.chain("base");
    (0..chains).for_each(|n| batch.chain(&format!("c{n}")));
    (0..chains)
        .for_each(|n| batch.in_chain("base", |out| verdict(out, -3, Some(&format!("c{n}")))));
    (0..rules).for_each(|n| batch.rule(n % chains, n));
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
