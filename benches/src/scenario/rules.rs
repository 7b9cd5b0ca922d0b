//! Scenario `rules`: the packets of [`route`](super::route) meet a chain of rules as people write them, `tcp dport N drop` and
//! `udp dport N drop`, none of which is about them: the interpreter looks at each.

use std::sync::{Arc, Mutex};

use anyhow::{Result, anyhow};
use nfnetlink::server::Engine;
use ruleset::nft::{Host, NfTables};
use ruleset::program::Program;

use super::{Options, Setup, route};
use crate::{
    batch::{Batch, FORWARD, INET, cmp, expr, payload, send, verdict},
    random::Random,
};

pub(super) fn build(options: &Options, random: &mut Random) -> Result<Setup> {
    let setup = route::build(options, random)?;
    Ok(Setup { program: program(options.rules)?, ..setup })
}

/// So many rules behind each other: every second asks for TCP, which the packets are not, the others for a port of UDP.
fn program(rules: usize) -> Result<Arc<Program>> {
    let mut batch = Batch::new(INET);
    batch.table();
    batch.chain("forward", Some(FORWARD));
    for n in 0..rules {
        batch.rule("forward", |out| {
            expr(out, "meta", |out| {
                out.u32(1, 1);
                out.u32(2, 16); // l4proto
            });
            cmp(out, &[if n % 2 == 0 { 17 } else { 6 }]);
            payload(out, 2, 2, 2);
            // The packets' ports are not 0.
            cmp(out, &[0, 0]);
            verdict(out, 0, None);
        });
    }
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
