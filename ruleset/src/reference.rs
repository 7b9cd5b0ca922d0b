//! The reference interpreter: rules one by one, expressions one by one, as plainly as possible.
//!
//! What is compiled later is held equal to this by a property test, and this to Linux by another.

use arrayvec::ArrayVec;
use packet::{FragmentPart, L3};

use crate::family::{Family, Hook};
use crate::model::{Chain, Cursor};
use crate::packet::Cx;
use crate::program::{Entry, Hooked};
use crate::regs::Regs;
use crate::trace::{Step, Teller};
use crate::verdict::{Queue, Verdict};

/// How deep jumps may go (`NFT_JUMP_STACK_SIZE`); a commit refuses what would go deeper.
pub const MAX_DEPTH: usize = 16;

/// What a hook says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// On with it.
    Accept,
    /// It ends.
    Drop,
    /// A program decides.
    Queue(Queue),
    /// A rule took it.
    Stolen,
}

/// Runs the base chains of the hook that the packet is at, in order of priority, those of type nat among them: what stands for
/// connections between them is the dataplane's, which calls [`chain`] itself.
pub fn run(cx: &mut Cx<'_>) -> Outcome {
    let program = cx.program;
    for entry in program.hooked(cx.place.family, cx.place.hook) {
        let chains = match entry {
            Entry::Chain(hooked) => std::slice::from_ref(hooked),
            Entry::Translate(_, chains) => chains,
            Entry::Track | Entry::Confirm => &[],
        };
        for hooked in chains {
            match chain(hooked, cx) {
                Outcome::Accept => {}
                other => return other,
            }
        }
    }
    Outcome::Accept
}

/// Runs one base chain, if it is on the packet's device.
pub fn chain(hooked: &Hooked, cx: &mut Cx<'_>) -> Outcome {
    if !concerns(hooked, cx) {
        return Outcome::Accept;
    }
    match base_chain(hooked, cx) {
        // Past a queue where nobody listens lies the next base chain.
        Outcome::Queue(queue) if queue.bypass && !cx.env.listens(queue.number) => Outcome::Accept,
        other => other,
    }
}

/// Whether a base chain on devices is on the packet's.
fn concerns(hooked: &Hooked, cx: &Cx<'_>) -> bool {
    let device = match cx.place.hook {
        Hook::Ingress => cx.place.iif,
        Hook::Egress => cx.place.oif,
        _ => return true,
    };
    device.is_some_and(|device| hooked.base.devices.iter().any(|hooked| hooked.is(device.name)))
}

/// Runs one base chain and what it jumps to. The inet family's chains on devices see IP alone, as such.
fn base_chain(hooked: &Hooked, cx: &mut Cx<'_>) -> Outcome {
    let family = cx.place.family;
    if hooked.family == Family::Inet && cx.place.hook == Hook::Ingress {
        cx.place.family = match cx.l3() {
            L3::Ipv4 => Family::Ipv4,
            L3::Ipv6 => Family::Ipv6,
            L3::Arp | L3::Other => return Outcome::Accept,
        };
    }
    cx.look();
    if cx.layers.options || cx.layers.fragment != FragmentPart::Whole {
        cx.recorder.spoil();
    }
    // What is no IP packet in good order does not pass them.
    let bad = cx.transport.is_none() && cx.place.family != family;
    let outcome = if bad { Outcome::Drop } else { chains(hooked, cx) };
    cx.place.family = family;
    outcome
}

fn chains(hooked: &Hooked, cx: &mut Cx<'_>) -> Outcome {
    let program = cx.program;
    let Some(mut chain) = program.chain(hooked.chain) else { return Outcome::Accept };
    let base = chain;
    let mut teller = Teller::new(base);
    let mut cursor = Cursor::default();
    let mut callers = ArrayVec::<(&Chain, Cursor), MAX_DEPTH>::new();
    loop {
        let verdict = rules(chain, &mut cursor, cx, &mut teller);
        match verdict {
            Verdict::Accept => return Outcome::Accept,
            Verdict::Drop => return Outcome::Drop,
            Verdict::Queue(queue) => return Outcome::Queue(queue),
            Verdict::Stolen => return Outcome::Stolen,
            Verdict::Jump(to) | Verdict::Goto(to) => {
                if matches!(verdict, Verdict::Jump(_)) && callers.try_push((chain, cursor)).is_err()
                {
                    return Outcome::Drop; // A commit refuses such depth.
                }
                let Some(target) = program.chain(to) else { return Outcome::Drop };
                (chain, cursor) = (target, Cursor::default());
            }
            Verdict::Return | Verdict::Continue | Verdict::Break => {
                let Some(caller) = callers.pop() else { break };
                (chain, cursor) = caller;
            }
        }
    }
    teller.tell(cx, base, Step::Policy, hooked.base.policy);
    if let Some(counter) = &hooked.base.counter {
        cx.count(counter);
    }
    match hooked.base.policy {
        Verdict::Drop => Outcome::Drop,
        _ => Outcome::Accept,
    }
}

/// The first verdict of the rules from `cursor` on, which moves behind that rule; [`Verdict::Continue`] at the end.
fn rules(chain: &Chain, cursor: &mut Cursor, cx: &mut Cx<'_>, teller: &mut Teller<'_>) -> Verdict {
    while let Some(rule) = chain.rules.next(cursor) {
        cx.regs = Regs::default();
        let mut verdict = Verdict::Continue;
        for expr in &rule.exprs {
            cx.record(expr.as_ref());
            verdict = expr.eval(cx);
            if verdict != Verdict::Continue {
                break;
            }
        }
        if verdict == Verdict::Break {
            continue;
        }
        let step = match verdict {
            Verdict::Return => Step::Return(Some(rule)),
            _ => Step::Rule(rule),
        };
        teller.tell(cx, chain, step, verdict);
        if verdict != Verdict::Continue {
            return verdict;
        }
    }
    teller.tell(cx, chain, Step::Return(None), Verdict::Continue);
    Verdict::Continue
}
