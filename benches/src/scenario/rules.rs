//! Scenario `rules`: the packets of [`route`](super::route) meet a chain of rules as people write them, `tcp dport N drop` and
//! `udp dport N drop`, none of which is about them: the interpreter looks at each.

use std::sync::Arc;

use anyhow::Result;
use ruleset::program::Program;

use super::{Options, Setup, route};
use crate::{
    batch::{Batch, FORWARD, INET, cmp, expr, payload, verdict},
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
    super::compile(batch)
}
