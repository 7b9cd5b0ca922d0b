//! `connlabel`: a label of the connection.

use super::*;

/// The last label (`XT_CONNLABEL_MAXBIT`).
const LAST: u16 = 127;
const INVERT: u16 = 1;
const SET: u16 = 2;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "connlabel",
    help: "Matches by a label of the connection, or sets it.",
    standing: Standing::Stored(NO_CONNECTION),
    families: ANY,
    size: 4,
    make: |of| {
        let (label, options) = (of.info.u16(0), of.info.u16(2));
        refuse_if(options & !(INVERT | SET) != 0)?;
        of.tracked()?;
        if label > LAST {
            return Err(Errno::ERANGE.into());
        }
        Ok(matches(move |_| options & INVERT != 0))
    },
    ..Extension::MATCH
}];
