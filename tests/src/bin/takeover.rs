//! `takeover [FLOWS...]`: how long a node takes to get so many flows from the owner while traffic goes on, and to take over with
//! them; see `benches/README.md`. Takes root.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    process::ExitCode,
    time::{Duration, Instant},
};
use tests::{LabError, Pair, Setup, pair::Node, wait_until};

/// New flows a second all the while.
const RATE: u32 = 5_000;
/// How long that goes on at most.
const SECONDS: u32 = 60;
const SOON: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let counts: Vec<u32> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![1_000, 1_000_000] } else { counts };
    let mut good = true;
    for flows in counts {
        match measure(flows) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                println!("{flows} flows: {error}");
                good = false;
            }
        }
    }
    tests::sweep();
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(established: u32) -> tests::Result<String> {
    let mut settings = tests::Settings::default();
    settings.more.push_str("[conntrack]\nmax = 2097152\n");
    let mut pair = Pair::new(&Setup { keepalived: false, settings, ..Setup::default() })?;
    let flood = pair.flood(established, RATE, SECONDS)?;
    let [first, second] = &mut pair.nodes[..] else {
        return Err(LabError::Shape {
            what: "the nodes".into(),
            text: "two were asked for".into(),
        });
    };
    // The standby begins anew: all flows come by the bulk.
    second.daemon.kill();
    second.daemon.restart()?;
    let begin = Instant::now();
    wait_until("the bulk", SOON, || Ok(second.ha_field("/synchronised")? == true))?;
    let bulk = begin.elapsed();
    let [here, there] = [first.flows()?, second.flows()?];
    first.daemon.kill();
    let takeover = promote(second)?;
    let after = second.flows()?;
    drop(flood);
    Ok(format!(
        "{established} flows: {there} of {here} by a bulk in {:.2} s; active {:.2} ms after the command, with {after}",
        bulk.as_secs_f64(),
        takeover.as_secs_f64() * 1e3,
    ))
}

/// From the command until the answer that the node is active.
fn promote(node: &Node) -> tests::Result<Duration> {
    let body = r#"{"force":true}"#;
    let request = format!(
        "POST /v1/ha/promote HTTP/1.1\r\nHost: twinwall\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let path = node.daemon.socket().to_owned();
    let file = |source| LabError::File { path: path.clone(), source };
    let mut stream = UnixStream::connect(&path).map_err(file)?;
    let begin = Instant::now();
    stream.write_all(request.as_bytes()).map_err(file)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(file)?;
    let took = begin.elapsed();
    if answer.starts_with("HTTP/1.1 200") && node.role()? == "active" {
        Ok(took)
    } else {
        Err(LabError::Shape { what: "the promotion".into(), text: answer })
    }
}
