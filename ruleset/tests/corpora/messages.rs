//! What no nft at hand sends or shows: messages by hand, and answers to the byte.

use std::path::Path;

use crate::lab::{Lab, Side};

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
