//! Scenarios with flows: the packets of [`route`](super::route) meet fifty rules, most of which ask for new connections to some
//! port, and the last of which takes them. Translated, they leave with the router's address.

use anyhow::Result;
use nfnetlink::attr::Writer;

use super::{Options, Setup, compile, route};
use crate::batch::{Batch, FORWARD, INET, POSTROUTING, cmp, counter, expr, payload, verdict};
use crate::random::Random;

/// Rules that each new packet meets.
const RULES: usize = 50;
/// `NF_ACCEPT`, `NF_DROP`.
const ACCEPT: i32 = 1;
const DROP: i32 = 0;
/// Bits of `ct state`.
const INVALID: u32 = 1;
const ESTABLISHED: u32 = 2;
const RELATED: u32 = 4;
const NEW: u32 = 8;

/// Which packets.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    answered: bool,
    translated: bool,
}

impl Kind {
    /// Of flows that are there.
    pub(super) const ESTABLISHED: Self = Self { answered: true, translated: false };
    /// Each begins one.
    pub(super) const NEW: Self = Self { answered: false, translated: false };

    /// With another source.
    pub(super) fn translated(self) -> Self {
        Self { translated: true, ..self }
    }
}

pub(super) fn build(options: &Options, kind: Kind, random: &mut Random) -> Result<Setup> {
    let setup = route::build(options, random)?;
    let flows = u32::try_from(options.flows)?;
    // New flows live on while the next ones come.
    let tracked = if kind.answered { flows } else { flows.saturating_mul(2) }.max(1 << 16);
    let pace = if kind.answered { 0 } else { 60 };
    let mut batch = Batch::new(INET);
    batch.table();
    batch.chain("forward", Some(FORWARD));
    batch.rule("forward", |out| {
        state(out, INVALID);
        verdict(out, DROP, None);
    });
    for port in 0..RULES as u16 - 2 {
        batch.rule("forward", |out| {
            expr(out, "meta", |out| {
                out.u32(1, 1);
                out.u32(2, 16); // l4proto
            });
            cmp(out, &[6]);
            payload(out, 2, 2, 2);
            cmp(out, &(port + 1).to_be_bytes());
            state(out, NEW);
            verdict(out, ACCEPT, None);
        });
    }
    batch.rule("forward", |out| {
        state(out, NEW | ESTABLISHED | RELATED);
        counter(out);
        verdict(out, ACCEPT, None);
    });
    if kind.translated {
        batch.nat_chain("leaving", POSTROUTING, 100);
        batch.rule("leaving", |out| expr(out, "masq", |_| {}));
    }
    let program = compile(batch)?;
    Ok(Setup { program, tracked, answered: kind.answered, pace, ..setup })
}

/// Flows that a mixed scenario has to begin.
const FRESH: usize = 1 << 19;

pub(super) fn build_mixed(options: &Options, random: &mut Random) -> Result<Setup> {
    let all = Options { flows: options.flows + FRESH, ..options.clone() };
    let mut setup = build(&all, Kind::ESTABLISHED, random)?;
    setup.images.only(options.flows);
    let mixed = Some((options.flows, options.new_every.max(1)));
    Ok(Setup { mixed, pace: 60, ..setup })
}

/// `ct state` is one of these.
fn state(out: &mut Writer, states: u32) {
    expr(out, "ct", |out| {
        out.u32(1, 1);
        out.u32(2, 0);
    });
    expr(out, "bitwise", |out| {
        out.u32(1, 1);
        out.u32(2, 1);
        out.u32(3, 4);
        out.nest(4, |out| out.put(1, &states.to_ne_bytes()));
        out.nest(5, |out| out.put(1, &[0; 4]));
    });
    expr(out, "cmp", |out| {
        out.u32(1, 1);
        out.u32(2, 1); // not
        out.nest(3, |out| out.put(1, &[0; 4]));
    });
}
