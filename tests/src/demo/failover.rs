//! The failover story: two nodes, a thousand connections, and a SIGKILL.

use super::{Log, Paint};
use crate::{
    LabError, Pair, Process, Result, Setup,
    addresses::SERVER,
    pair::{self, Node, Talk},
    traffic::{self, Report},
    wait_until,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Connections that say nothing between their first message and their last.
const IDLE: u64 = 700;
/// Connections that send a message ten times a second and want it back.
const ECHO: u64 = 290;
/// Connections that download without end.
const DOWNLOADS: u64 = 10;
const CONNECTIONS: u64 = IDLE + ECHO + DOWNLOADS;
/// How long iperf3 runs: over all of the story.
const IPERF_SECONDS: u32 = 25;
/// A role's change takes a tenth of a second; a machine may be busy.
const SOON: Duration = Duration::from_secs(15);

/// What the story is told by.
struct Story {
    pair: Pair,
    talk: Talk,
    iperf: [Process; 2],
    /// Flows on the active and on the standby just before the cut.
    before: u64,
    standby: u64,
    /// Begin and end of the unplanned and of the planned change.
    cut: [u64; 2],
    planned: [u64; 2],
    /// What the new owner had when the change was over.
    after: u64,
}

type Step = Result<(String, Value)>;
type Act = fn(&mut Story) -> Step;
const STEPS: [(&str, Act); 3] =
    [("SIGKILL", cut), ("back again", restart), ("planned", switch_over)];

/// Tells it: each step is a check of the log.
pub(super) fn tell(log: &mut Log) {
    let paint = log.paint;
    println!();
    println!("  client {} node 1 {} server", paint.dim("─┬─ lan │"), paint.dim("│ wan ─┬─"));
    println!(
        "         {} node 2 {}",
        paint.dim(" └─ lan │"),
        paint.dim("│ wan ─┘   keepalived gives one of them the addresses")
    );
    println!();
    let pair = log.check("two nodes", || {
        let pair = Pair::new(&Setup { advert: pair::FAST, ..Setup::default() })?;
        expect_active(&pair, 0)?;
        let text = "node 1 is active by keepalived's word, node 2 has every flow";
        Ok((pair, text.into(), json!({})))
    });
    let Some(pair) = pair else { return };
    let story = log.check("1,000 connections", || begin(pair));
    let Some(mut story) = story else { return };
    for (name, step) in STEPS {
        let done = log.check(name, || step(&mut story).map(|(text, fields)| ((), text, fields)));
        if done.is_none() {
            println!("{}", story.pair.explain());
            return;
        }
    }
    let table = log.check("all alive", || finish(story, paint));
    if let Some(table) = table {
        println!("{table}");
    }
}

fn expect_active(pair: &Pair, index: usize) -> Result<()> {
    wait_until(&format!("node {} to be active", index + 1), SOON, || {
        let Some(node) = pair.nodes.get(index) else { return Ok(false) };
        Ok(node.has_addresses()? && node.role()? == "active")
    })
}

fn begin(pair: Pair) -> Result<(Story, String, Value)> {
    let options = format!(
        "--idle {IDLE} --echo {ECHO} --downloads {DOWNLOADS} --kbit 8000 --datagrams 20 --probe 1000"
    );
    let talk = pair.talk(&options)?;
    let mut server = pair.server.start(&["iperf3", "-s", "-1", "--forceflush"])?;
    server.wait_for_output("Server listening", SOON)?;
    let seconds = IPERF_SECONDS.to_string();
    let client = pair.client.start(&[
        "iperf3",
        "-c",
        SERVER,
        "-t",
        &seconds,
        "-b",
        "50M",
        "-J",
        "--connect-timeout",
        "5000",
    ])?;
    std::thread::sleep(Duration::from_secs(2));
    let story = Story {
        pair,
        talk,
        iperf: [client, server],
        before: 0,
        standby: 0,
        cut: [0; 2],
        planned: [0; 2],
        after: 0,
    };
    let text = format!(
        "through NAT: {IDLE} idle, {ECHO} like SSH, {DOWNLOADS} downloads; 20 UDP streams, iperf3, a probe of 1 kHz"
    );
    Ok((story, text, json!({ "connections": CONNECTIONS })))
}

/// How often these daemons have become the owner.
fn promotions(pair: &Pair) -> Result<u64> {
    let mut sum = 0;
    for node in &pair.nodes {
        sum += node.ha_field("/counters/promoted")?.as_u64().unwrap_or(0);
    }
    Ok(sum)
}

fn nodes(pair: &mut Pair) -> Result<[&mut Node; 2]> {
    match &mut pair.nodes[..] {
        [first, second] => Ok([first, second]),
        _ => Err(LabError::Shape { what: "the nodes".into(), text: "two were asked for".into() }),
    }
}

fn cut(story: &mut Story) -> Step {
    let [first, second] = nodes(&mut story.pair)?;
    (story.before, story.standby) = (first.flows()?, second.flows()?);
    let begin = first.cut();
    expect_active(&story.pair, 1)?;
    story.cut = [begin, traffic::now()];
    // What was on its way shows in the probe.
    std::thread::sleep(Duration::from_secs(2));
    let [_, second] = nodes(&mut story.pair)?;
    story.after = second.flows()?;
    let text = format!(
        "node 1 and its keepalived are killed; node 2 is active, with {} flows that it had already",
        story.standby
    );
    let fields = json!({
        "flows_before": story.before, "flows_on_standby": story.standby, "flows_after": story.after,
    });
    Ok((text, fields))
}

fn restart(story: &mut Story) -> Step {
    let [first, _] = nodes(&mut story.pair)?;
    first.daemon.restart()?;
    let begin = Instant::now();
    let mut seen = String::new();
    wait_until("node 1 to have every flow", SOON, || {
        let bulk = first.ha_field("/bulk")?;
        let number = |name: &str| bulk.get(name).and_then(Value::as_u64).unwrap_or(0);
        if bulk.get("running") == Some(&Value::Bool(true)) {
            seen = format!(" (seen at {} of {})", number("done"), number("of"));
        }
        Ok(first.ha_field("/synchronised")? == true)
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    first.finish_restart()?;
    story.pair.wait_synchronised()?;
    let [first, second] = nodes(&mut story.pair)?;
    let (one, two) = (first.flows()?, second.flows()?);
    if one.abs_diff(two) > two / 10 {
        return Err(LabError::Shape {
            what: "the flows after the bulk".into(),
            text: format!("{one} on node 1, {two} on node 2"),
        });
    }
    let text = format!(
        "node 1 is started, and {seconds:.2} s later a standby with {one} of {two} flows{seen}"
    );
    Ok((text, json!({ "bulk_seconds": seconds, "flows": one, "of": two })))
}

fn switch_over(story: &mut Story) -> Step {
    // What the unplanned change cost is told before this.
    std::thread::sleep(Duration::from_secs(1));
    let begin = traffic::now();
    let [_, second] = nodes(&mut story.pair)?;
    if let Some(keepalived) = &second.keepalived {
        keepalived.switch_over()?;
    }
    expect_active(&story.pair, 0)?;
    std::thread::sleep(Duration::from_secs(2));
    story.planned = [begin, traffic::now()];
    Ok(("`twinwall-switchover` on node 2: node 1 is active again".into(), json!({})))
}

fn finish(story: Story, paint: Paint) -> Result<(String, String, Value)> {
    let Story { pair, talk, iperf: [mut client, _server], before, standby, cut, planned, after } =
        story;
    // Node 2 by SIGKILL, node 1, which is another daemon since, as planned. On a machine that is busy with other things keepalived
    // may take a live node for dead: then what the connections noticed was more than this.
    let changes = promotions(&pair)?;
    let iperf = client.finish(Duration::from_secs(u64::from(IPERF_SECONDS) + 15))?.json()?;
    let Report { tcp, datagrams, probe } = talk.finish()?;
    let received =
        |name: &str| iperf.pointer(&format!("/end/sum_received/{name}")).and_then(Value::as_f64);
    let (seconds, rate) = (received("seconds"), received("bits_per_second").unwrap_or(0.0));
    let silence = probe.silence(cut[0], cut[1]);
    let lost = probe.lost_between(planned[0], planned[1]);
    let planned_silence = probe.silence(planned[0], planned[1]);
    let verified = tcp.bytes_verified as f64 / 1e6;
    let rows = [
        ("flows before, on the active", before.to_string()),
        ("flows on the standby at the cut", standby.to_string()),
        ("flows on it after the takeover", after.to_string()),
        ("TCP connections alive at the end", format!("{} of {CONNECTIONS}", tcp.alive)),
        ("bytes verified", format!("{verified:.1} MB, {} messages echoed", tcp.messages)),
        ("UDP with sequence numbers", format!("{} of {} lost", datagrams.lost, datagrams.sent)),
        ("iperf3", format!("{:.1} Mb/s for {:.0} s", rate / 1e6, seconds.unwrap_or(0.0))),
        ("longest silence of the 1 kHz probe", format!("{silence:.1} ms")),
        ("planned: packets of it lost", lost.to_string()),
        (
            "planned: longest silence",
            if planned_silence > 0.0 {
                format!("{planned_silence:.1} ms")
            } else {
                "under 10 ms".into()
            },
        ),
    ];
    let mut table = format!("\n  {}\n", paint.bold("what the connections noticed"));
    for (name, value) in &rows {
        table.push_str(&format!("  {name:<36} {value}\n"));
    }
    if changes > 2 {
        table.push_str(&format!(
            "  {}\n",
            paint.dim(&format!(
                "The machine is so busy that keepalived saw a live node dead {} times: figures say little.",
                changes - 2
            ))
        ));
    }
    let why = if changes > 2 { pair.explain() } else { String::new() };
    let fields = json!({
        "flows_before": before, "flows_on_standby": standby, "flows_after": after, "changes": changes, "why_more": why,
        "tcp": tcp, "datagrams": datagrams, "silence_ms": silence,
        "planned_lost": lost, "planned_silence_ms": planned_silence,
        "probe": {
            "sent": probe.sent, "received": probe.received, "longest_pause_ms": probe.longest_pause_ms,
        },
    });
    let garbled = tcp.garbled + datagrams.garbled + probe.garbled;
    if (tcp.opened, tcp.alive, garbled) != (CONNECTIONS, CONNECTIONS, 0)
        || seconds.is_none()
        || (lost > 0 && changes == 2)
    {
        let text = format!("{table}\n{fields:#}\n{}", pair.explain());
        return Err(LabError::Shape { what: "what the connections noticed".into(), text });
    }
    let text = format!(
        "{CONNECTIONS} of {CONNECTIONS} connections, {verified:.0} MB verified; planned change: {lost} packets of the probe lost"
    );
    Ok((table, text, fields))
}
