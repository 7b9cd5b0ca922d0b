//! The binary `traffic` in the failover laboratory's client and server.

use super::Pair;
use crate::{
    LabError, Netns, Process, Result,
    addresses::{SERVER, SERVER6},
    process::unique,
    traffic::{
        Report,
        judge::{Judgement, judge},
    },
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// The port of a `serve`, and of one for IPv6 beside it.
pub(super) const PORT: u16 = 7000;
const PORT6: u16 = 7006;
/// How long the traffic may take to begin or to end.
const LIMIT: Duration = Duration::from_secs(60);

/// Where the binary is: beside the test's own, or one folder up.
fn binary() -> Result<String> {
    let own = std::env::current_exe()
        .map_err(|source| LabError::File { path: "/proc/self/exe".into(), source })?;
    let found = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("traffic"))
        .find(|path| path.is_file());
    found.map(|path| path.display().to_string()).ok_or_else(|| LabError::InVain {
        what: format!("traffic beside {} (run `cargo build -p tests`)", own.display()),
        seconds: 0,
        detail: String::new(),
    })
}

fn start(netns: &Netns, words: &[&str], ready: &str) -> Result<Process> {
    let program = binary()?;
    let mut all = vec![program.as_str()];
    all.extend(words);
    let mut process = netns.start(&all)?;
    process.wait_for_output(ready, LIMIT)?;
    Ok(process)
}

fn file(folder: &Path, name: &str) -> PathBuf {
    unique(folder, name).with_extension("traffic")
}

fn touch(path: &Path) -> Result<()> {
    fs::write(path, "").map_err(|source| LabError::File { path: path.to_owned(), source })
}

/// Connections, datagrams and a probe from one namespace to another, until [`Talk::finish`].
#[derive(Debug)]
pub struct Talk {
    talk: Process,
    serve: Process,
    until: PathBuf,
}

impl Talk {
    /// Starts a `serve` on `port` and a `talk` with these options towards `target`; returns when every connection carries something.
    pub fn start(
        from: &Netns,
        (to, port): (&Netns, u16),
        target: &str,
        options: &str,
    ) -> Result<Self> {
        let serve = start(to, &["serve", "--port", &port.to_string()], "serving")?;
        let until = file(from.scratch(), "until");
        let until_text = until.display().to_string();
        let mut words = vec!["talk", "--to", target, "--seconds", "150", "--until", &until_text];
        words.extend(options.split_whitespace());
        let talk = start(from, &words, "ready")?;
        Ok(Self { talk, serve, until })
    }

    /// Ends it: each connection must carry one more message.
    pub fn finish(mut self) -> Result<Report> {
        touch(&self.until)?;
        let output = self.talk.finish(LIMIT)?.0;
        self.serve.kill();
        let line = output.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
        serde_json::from_str(line).map_err(|error| LabError::Shape {
            what: format!("the traffic's report ({error})"),
            text: output.clone(),
        })
    }
}

/// A flood of new flows from the client to the server; see [`crate::traffic::flows`].
#[derive(Debug)]
pub struct Flood {
    begin: Process,
    far: Process,
    until: PathBuf,
    done: PathBuf,
    answer: PathBuf,
    begun: PathBuf,
    seen: PathBuf,
}

impl Flood {
    /// Establishes so many flows, then begins so many a second, for at most `seconds`, until [`Flood::finish`].
    pub fn start(
        client: &Netns,
        server: &Netns,
        (established, rate, seconds): (u32, u32, u32),
    ) -> Result<Self> {
        let folder = client.scratch();
        let [until, done, answer, begun, seen] =
            ["until", "done", "answer", "begun", "seen"].map(|name| file(folder, name));
        let text = |path: &PathBuf| path.display().to_string();
        let far = start(
            server,
            &["far", "--answer", &text(&answer), "--report", &text(&seen), "--seconds", "300"],
            "hearing",
        )?;
        let numbers = [established, rate, seconds].map(|number| number.to_string());
        let [established_text, rate, seconds] = &numbers;
        let words = [
            "begin",
            "--established",
            established_text,
            "--rate",
            rate,
            "--seconds",
            seconds,
            "--until",
            &text(&until),
            "--done",
            &text(&done),
            "--report",
            &text(&begun),
        ];
        let begin = start(client, &words, "established")?;
        let output = begin.output();
        if !output.contains(&format!("established {established}\n")) {
            return Err(LabError::Shape { what: "the established flows".into(), text: output });
        }
        Ok(Self { begin, far, until, done, answer, begun, seen })
    }

    /// Stops beginning flows, answers each, and says what a cut at that time cost. Also what the beginner said: how many it began,
    /// and how many answers came to the wrong one (which must be none).
    pub fn finish(mut self, cut: u64) -> Result<(Judgement, String)> {
        touch(&self.until)?;
        self.begin.wait_for_output("begun", LIMIT)?;
        std::thread::sleep(Duration::from_millis(300));
        touch(&self.answer)?;
        self.far.finish(LIMIT * 4)?;
        std::thread::sleep(Duration::from_millis(300));
        touch(&self.done)?;
        let said = self.begin.finish(LIMIT)?.0;
        let judgement = judge(&self.begun, &self.seen, cut)
            .map_err(|source| LabError::File { path: self.seen.clone(), source })?;
        Ok((judgement, said))
    }
}

impl Pair {
    /// Traffic from the client to the server.
    pub fn talk(&self, options: &str) -> Result<Talk> {
        Talk::start(&self.client, (&self.server, PORT), &format!("{SERVER}:{PORT}"), options)
    }

    /// The same over IPv6, which nobody translates.
    pub fn talk6(&self, options: &str) -> Result<Talk> {
        Talk::start(&self.client, (&self.server, PORT6), &format!("[{SERVER6}]:{PORT6}"), options)
    }

    /// Traffic from the server by the port forward to the client.
    pub fn talk_inwards(&self, options: &str) -> Result<Talk> {
        let target = format!("{}:8080", crate::addresses::WAN);
        Talk::start(&self.server, (&self.client, PORT), &target, options)
    }

    /// A flood of new flows.
    pub fn flood(&self, established: u32, rate: u32, seconds: u32) -> Result<Flood> {
        Flood::start(&self.client, &self.server, (established, rate, seconds))
    }
}
