//! What is measured: a scenario brings a router's tables and the packets that go through it.
//!
//! To add one: a file in `scenario/` with a function from [`Options`] to [`Setup`], and a line in [`Name`] and [`build`].

mod flows;
mod route;
mod rules;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow};
use dataplane::rib::Rib;
use nfnetlink::server::Engine;
use packet::pcap;
use ruleset::nft::{Host, NfTables};
use ruleset::program::Program;

use crate::batch::{Batch, send};
use crate::{images::Images, node, random::Random};

/// The scenarios that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// Parse, route by longest prefix, rewrite; every neighbour is known.
    Route,
    /// The same with rules in the forward hook.
    Rules,
    /// The same through a stateful ruleset, of flows that are established.
    Stateful,
    /// The same with their source translated.
    Nat,
    /// Each packet begins a flow, and old flows expire.
    NewFlows,
    /// The same with their source translated.
    NewNat,
    /// Packets of flows that are established, and with each --new-every of them one that begins a flow. What began in one run ends in the
    /// next; the mean counts it all.
    Mixed,
}

/// What every scenario can be asked.
#[derive(Clone, Debug)]
pub struct Options {
    /// 4 or 6.
    pub family: u8,
    /// Distinct 5-tuples.
    pub flows: usize,
    /// Routes in the table, beside the router's own.
    pub routes: usize,
    /// Rules that each packet meets and none matches, where the scenario has rules.
    pub rules: usize,
    /// In scenario mixed, of so many packets one begins a flow.
    pub new_every: usize,
    /// Length of the packets.
    pub size: Size,
    /// Exponent of the Zipf distribution over flows; one after the other without.
    pub zipf: Option<f64>,
    /// Where randomness begins.
    pub seed: u64,
}

/// How long packets are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Size {
    /// As many bytes on the wire, with FCS.
    Bytes(usize),
    /// 7 of 64 bytes, 4 of 594, 1 of 1518.
    Imix,
    /// Those of a capture, in its order.
    Pcap(PathBuf),
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(n @ 64..=1518) => Ok(Self::Bytes(n)),
            Ok(n) => Err(format!("{n} is not between 64 and 1518 bytes")),
            Err(_) if text == "imix" => Ok(Self::Imix),
            Err(_) if text.ends_with("pcap") => Ok(Self::Pcap(text.into())),
            Err(_) => Err("neither a number of bytes, nor imix, nor a .pcap file".into()),
        }
    }
}

/// What a scenario brings.
pub struct Setup {
    /// The router's tables, to be published once.
    pub rib: Rib,
    /// The rules.
    pub program: Arc<Program>,
    /// The packets, which come by port 0.
    pub images: Images,
    /// Of a thousand packets, how many at least must leave; else the bench measures something else than it says.
    pub leaving: u64,
    /// The worker tracks connections, so many at most; 0 for none.
    pub tracked: u32,
    /// Before the clock runs each packet is answered, so that its flow is established.
    pub answered: bool,
    /// Time goes on by so many seconds with each run, for flows to expire.
    pub pace: u64,
    /// After the warm-up: so many packets are of flows that are there, and with each so many one of the others comes.
    pub mixed: Option<(usize, usize)>,
}

/// Makes a scenario.
pub fn build(name: Name, options: &Options) -> Result<Setup> {
    let mut random = Random::new(options.seed);
    let mut setup = match name {
        Name::Route => route::build(options, &mut random)?,
        Name::Rules => rules::build(options, &mut random)?,
        Name::Stateful => flows::build(options, flows::Kind::ESTABLISHED, &mut random)?,
        Name::Nat => flows::build(options, flows::Kind::ESTABLISHED.translated(), &mut random)?,
        Name::NewFlows => flows::build(options, flows::Kind::NEW, &mut random)?,
        Name::NewNat => flows::build(options, flows::Kind::NEW.translated(), &mut random)?,
        Name::Mixed => flows::build_mixed(options, &mut random)?,
    };
    if let Size::Pcap(file) = &options.size {
        setup.images = capture(file)?;
        setup.leaving = 1;
    }
    if let Some(exponent) = options.zipf {
        setup.images.draw_zipf(exponent, 4 << 20, &mut random);
    }
    Ok(setup)
}

/// The packets of a file, addressed to our port.
fn capture(file: &std::path::Path) -> Result<Images> {
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let mut images = Images::default();
    for packet in pcap::packets(&bytes).with_context(|| format!("reading {}", file.display()))? {
        let mut head = packet.bytes.to_vec();
        if let Some(to) = head.first_chunk_mut::<6>() {
            *to = node::RX_MAC;
        }
        images.push(&head, packet.len);
    }
    anyhow::ensure!(!images.is_empty(), "{} has no packets", file.display());
    Ok(images)
}

/// The program of a batch.
fn compile(batch: Batch) -> Result<Arc<Program>> {
    let published = Arc::new(Mutex::new(Arc::default()));
    let publish = {
        let published = published.clone();
        move |program| {
            if let Ok(mut place) = published.lock() {
                *place = program;
            }
        }
    };
    let mut engine = Engine::new(1 << 20, 1, Arc::default());
    engine.register(Box::new(NfTables::new(Host {
        workers: 1,
        now: Box::new(|| 0),
        publish: Box::new(publish),
    })));
    let client = engine.connect(0, std::process::id(), true);
    send(&mut engine, client, &batch.end())?;
    let program = published.lock().map_err(|_| anyhow!("nobody panics in there"))?;
    Ok(program.clone())
}
