//! What no nft at hand sends or shows: messages by hand, and answers to the byte.

use std::path::Path;

use crate::lab::{Lab, Side};
use crate::tally::{Outcome, Tally};

fn script(lab: &Lab, side: Side, name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora/python");
    let done = lab.tool(side, "python3", &["-BISs", folder.join(name).to_str().unwrap()], "");
    assert!(done.ok(), "{side:?} {name}: {}", done.err);
    done.out
}

/// All there is, as it stands on the wire.
pub(crate) fn dump(lab: &Lab, side: Side) -> String {
    script(lab, side, "dump.py")
}

#[test]
fn messages_are_answered_as_by_the_kernel() {
    let Some(lab) = Lab::new(&[]) else { return };
    let (kernel, ours) = lab.both(|side| {
        let mut cases: Vec<(String, String)> = Vec::new();
        for line in script(&lab, side, "cases.py").lines() {
            match (line.starts_with(' '), cases.last_mut()) {
                (true, Some((_, answers))) => *answers += &format!("{line}\n"),
                _ => cases.push((line.to_owned(), String::new())),
            }
        }
        cases
    });
    assert!(lab.alive(), "the engine died");
    assert_eq!(kernel.len(), ours.len());
    let mut tally = Tally::new("messages by hand");
    for ((name, kernel), (_, ours)) in kernel.into_iter().zip(ours) {
        let [kernel, ours] =
            [kernel, ours].map(|answers| Outcome::Listed(vec![("answers", answers)]));
        tally.add(&name, &kernel, &ours);
    }
    tally.finish(95);
}
