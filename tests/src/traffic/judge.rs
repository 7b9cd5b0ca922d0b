//! Which flows a cut cost: what their beginner and their far end wrote, compared.

use super::flows::{ANSWERED, ESTABLISHED, tuple};
use std::{fs, io, net::SocketAddrV4, path::Path};

/// Age in milliseconds up to which a flow counts as young at a cut.
pub const YOUNG_MS: f64 = 5.0;

/// How many examples of lost flows are told.
const EXAMPLES: usize = 8;

/// What became of the flows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judgement {
    /// Flows that were answered before the cut.
    pub established: u64,
    /// Those of them that were not answered after it.
    pub established_lost: u64,
    /// Other flows that began before the cut and reached the far end.
    pub fresh: u64,
    /// Those that were sent before the cut and never reached the far end.
    pub unseen: u64,
    /// Those that had been sent less than 5 ms before the cut and were not answered after it.
    pub young_lost: u64,
    /// Those that were older and were not answered: what must not be.
    pub old_lost: u64,
    /// The age of the oldest fresh one lost, in milliseconds.
    pub oldest_lost_ms: f64,
    /// Flows that began after the cut and reached the far end.
    pub later: u64,
    /// Those that were not answered.
    pub later_lost: u64,
    /// Some of those that were lost, for a failed test's message: from where they came.
    pub examples: Vec<SocketAddrV4>,
}

/// A flow, told by both ends.
#[derive(Debug, Clone, Copy)]
struct Flow {
    flags: u8,
    sent: u64,
    seen: bool,
}

/// Compares the reports of a `begin` and a `far` for a cut at a time of [`super::now`]. A flow's age counts from when its first
/// packet was sent, so it is never taken for younger than it was.
pub fn judge(begin: &Path, far: &Path, cut: u64) -> io::Result<Judgement> {
    let mut flows: Vec<Flow> = fs::read(begin)?
        .chunks_exact(9)
        .filter_map(|entry| {
            let (flags, sent) = entry.split_first()?;
            Some(Flow {
                flags: *flags,
                sent: u64::from_le_bytes(sent.try_into().ok()?),
                seen: false,
            })
        })
        .collect();
    for entry in fs::read(far)?.chunks_exact(12) {
        let id = entry.first_chunk::<4>().map(|id| u32::from_le_bytes(*id));
        if let Some(flow) = id.and_then(|id| flows.get_mut(id as usize)) {
            flow.seen = true;
        }
    }
    Ok(compare(&flows, cut))
}

/// How long after the time that a test takes for the cut something may still get through: the kill has to be delivered, or a
/// command to be started. No takeover is that quick.
const LATE: u64 = 40_000_000;

fn compare(flows: &[Flow], cut: u64) -> Judgement {
    // The cut was when the last packet got through.
    let through = flows.iter().filter(|flow| flow.seen && (cut..cut + LATE).contains(&flow.sent));
    let cut = through.map(|flow| flow.sent).max().unwrap_or(cut);
    let mut found = Judgement::default();
    for (id, flow) in (0..).zip(flows) {
        if !flow.seen {
            found.unseen += u64::from(flow.sent <= cut);
            continue;
        }
        let lost = u64::from(flow.flags & ANSWERED == 0);
        if lost > 0 && found.examples.len() < EXAMPLES {
            found.examples.push(tuple(id).0);
        }
        if flow.flags & ESTABLISHED != 0 {
            found.established += 1;
            found.established_lost += lost;
        } else if flow.sent > cut {
            found.later += 1;
            found.later_lost += lost;
        } else {
            found.fresh += 1;
            let age = (cut - flow.sent) as f64 / 1e6;
            if lost > 0 {
                found.oldest_lost_ms = found.oldest_lost_ms.max(age);
            }
            if age < YOUNG_MS {
                found.young_lost += lost;
            } else {
                found.old_lost += lost;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_flows_are_told_by_kind_and_age() {
        let flow = |flags, sent, seen| Flow { flags, sent, seen };
        let cut = 100_000_000;
        let flows = [
            flow(ESTABLISHED | ANSWERED, 1, true),
            flow(ESTABLISHED, 1, true),
            // Never reached the far end: nobody had it.
            flow(0, 10_000_000, false),
            flow(0, 10_000_000, true),
            flow(0, 97_000_000, true),
            flow(ANSWERED, 97_000_000, true),
            flow(0, 101_000_000, false),
            flow(0, 191_000_000, true),
            flow(ANSWERED, 192_000_000, true),
        ];
        let found = compare(&flows, cut);
        let expected = Judgement {
            established: 2,
            established_lost: 1,
            fresh: 3,
            unseen: 1,
            young_lost: 1,
            old_lost: 1,
            oldest_lost_ms: 90.0,
            later: 2,
            later_lost: 1,
            examples: [1, 3, 4, 7].map(|id| tuple(id).0).to_vec(),
        };
        assert_eq!(found, expected);
    }
}
