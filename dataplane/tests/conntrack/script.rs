//! Scripts of packets: what is done, a line each, and what must come of it.
//!
//! ```text
//! script NAME                     begins one; `# …` is a comment
//! rules … end                     nft text between, loaded on top of what is there
//! nft add rule …                  one command
//! sysctl NAME=VALUE               under net.netfilter; put back at the script's end
//! wait SECONDS
//! in PACKET => EXPECTED           a packet into tap0, where the hosts a, c and e are
//! out PACKET => EXPECTED          the same into tap1, where b, d, f and all others are
//! open SRC > DST WORDS            a TCP handshake from inside; WORDS are of both SYNs
//! entry …                         lines of the table; those in a row are the whole of it
//! empty                           the table has none
//! ```
//! `frames` says how packets are written, `table` how entries are. EXPECTED is `drop`, or the state that the packet has at the
//! end of its way (`new`, `est`, `reply`, `rel`, `rel-reply`, `invalid`, `untracked`, `none`), then, where they differ from
//! what was sent, its ends as it left (`m:1000 > b:80`). `back STATE …`: it left by the interface that it came by;
//! `local STATE …`: it was for the node itself. `$name` in the place of a port stands for whichever was chosen, and afterwards
//! for that one. `held` is a fragment that waits for others. In the place of ends, `reply=N`
//! stands for those of packet N as it left, turned, and `about=N` makes an error that quotes it. A packet that the router answers: `answer KIND ENDS`.
//! `EXPECTED || EXPECTED`: what Linux does, and what twinwall does, on purpose.

/// Which way something goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Tap {
    In,
    Out,
}

impl Tap {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }
}

/// A line.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    Rules(String),
    Nft(String),
    Sysctl(String, String),
    Wait(f64),
    Packet {
        at: Tap,
        words: Vec<String>,
        expected: Expected,
        ours: Option<Expected>,
    },
    Table(Vec<Vec<String>>),
    /// In the place of a packet that was taken out.
    Skip,
}

/// What must come of a packet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expected {
    /// Nothing leaves.
    Drop,
    /// It leaves.
    Pass { place: Place, state: String, ends: Option<[String; 2]> },
    /// The router's answer leaves by where it came from.
    Answer { kind: String, ends: [String; 2] },
    /// Not looked at, but for both sides to be the same.
    Any,
}

/// Where a packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Other,
    Back,
    Local,
}

/// One script.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) name: String,
    /// Each with its number in the file.
    pub(crate) lines: Vec<(usize, Line)>,
}

/// The scripts of a file.
pub(crate) fn parse(text: &str) -> Vec<Script> {
    let mut scripts: Vec<Script> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((n, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let fail = |why: &str| -> ! { panic!("line {}: {why}: {line}", n + 1) };
        if word == "script" {
            scripts.push(Script { name: rest.trim().into(), lines: Vec::new() });
            continue;
        }
        let Some(script) = scripts.last_mut() else { fail("no script") };
        let parsed = match word {
            "rules" => {
                let block = lines.by_ref().map(|(_, line)| line);
                let block: Vec<_> = block.take_while(|line| line.trim() != "end").collect();
                Line::Rules(block.join("\n") + "\n")
            }
            "nft" => Line::Nft(rest.into()),
            "sysctl" => {
                let Some((name, value)) = rest.split_once('=') else { fail("NAME=VALUE") };
                Line::Sysctl(name.trim().into(), value.trim().into())
            }
            "wait" => Line::Wait(rest.trim().parse().unwrap_or_else(|_| fail("seconds"))),
            "in" | "out" => {
                let Some((packet, expected)) = rest.split_once("=>") else { fail("no =>") };
                let (linux, ours) = expected.split_once("||").unwrap_or((expected, ""));
                let Some(expected) = expectation(linux) else { fail("what is expected") };
                let ours = expectation(ours);
                let at = if word == "in" { Tap::In } else { Tap::Out };
                Line::Packet { at, words: words(packet), expected, ours }
            }
            "open" => {
                let Some(lines) = open(rest) else { fail("SRC > DST") };
                script.lines.extend(lines.into_iter().map(|line| (n + 1, line)));
                continue;
            }
            "entry" => {
                let entry = words(rest);
                if let Some((_, Line::Table(entries))) = script.lines.last_mut()
                    && !entries.is_empty()
                {
                    entries.push(entry);
                    continue;
                }
                Line::Table(vec![entry])
            }
            "empty" => Line::Table(Vec::new()),
            _ => fail("unknown"),
        };
        script.lines.push((n + 1, parsed));
    }
    scripts
}

/// The words of a text; parentheses stand alone.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.replace('(', " ( ").replace(')', " ) ").split_whitespace().map(String::from).collect()
}

/// The packets of a handshake.
fn open(text: &str) -> Option<Vec<Line>> {
    let (src, rest) = text.split_once(" > ")?;
    let (dst, options) = rest.split_once(' ').unwrap_or((rest, ""));
    let packet = |at, packet: String, state: &str| Line::Packet {
        at,
        words: words(&packet),
        expected: Expected::Pass { place: Place::Other, state: state.into(), ends: None },
        ours: None,
    };
    Some(vec![
        packet(Tap::In, format!("tcp {src} > {dst} S {options}"), "new"),
        packet(Tap::Out, format!("tcp {dst} > {src} SA {options}"), "reply"),
        packet(Tap::In, format!("tcp {src} > {dst} A"), "est"),
    ])
}

fn expectation(text: &str) -> Option<Expected> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let ends = |words: &[&str]| match words {
        [src, ">", dst] => Some([(*src).to_owned(), (*dst).to_owned()]),
        _ => None,
    };
    Some(match words.as_slice() {
        ["drop" | "held"] => Expected::Drop,
        ["any"] => Expected::Any,
        ["answer", kind, rest @ ..] => Expected::Answer { kind: (*kind).into(), ends: ends(rest)? },
        [place @ ("back" | "local"), state, rest @ ..] => {
            let place = if *place == "back" { Place::Back } else { Place::Local };
            let ends = if rest.is_empty() { None } else { Some(ends(rest)?) };
            Expected::Pass { place, state: (*state).into(), ends }
        }
        [state, rest @ ..] => {
            let ends = if rest.is_empty() { None } else { Some(ends(rest)?) };
            Expected::Pass { place: Place::Other, state: (*state).into(), ends }
        }
        [] => return None,
    })
}
