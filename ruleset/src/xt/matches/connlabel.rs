//! `connlabel`: a label of the connection.

use super::*;
use crate::packet::set_labels;

/// The last label (`XT_CONNLABEL_MAXBIT`).
const LAST: u16 = 127;
const INVERT: u16 = 1;
const SET: u16 = 2;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "connlabel",
    constancy: Constancy::Flow,
    help: "Matches by a label of the connection, or sets it.",
    families: ANY,
    size: 4,
    make: |of| {
        let (label, options) = (of.info.u16(0), of.info.u16(2));
        refuse_if(options & !(INVERT | SET) != 0)?;
        of.tracked()?;
        if label > LAST {
            return Err(Errno::ERANGE.into());
        }
        let mut wanted = [0; 16];
        if let Some(byte) = wanted.get_mut(usize::from(label / 8)) {
            *byte = 1 << (label % 8);
        }
        Ok(matches(move |cx| {
            let Some(connection) = cx.connection_or_template() else {
                return options & INVERT != 0;
            };
            let mut labels = connection.labels().into_iter().zip(wanted);
            let mut has = labels.any(|(has, wanted)| has & wanted != 0);
            if !has && options & SET != 0 {
                has = set_labels(connection, wanted);
                cx.recorder.spoil();
            }
            has != (options & INVERT != 0)
        }))
    },
    ..Extension::MATCH
}];
