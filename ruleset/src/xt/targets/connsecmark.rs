//! `CONNSECMARK`: moves security marks between packet and connection.

use super::*;

/// `CONNSECMARK_SAVE`, `CONNSECMARK_RESTORE`.
const SAVE: u8 = 1;
const RESTORE: u8 = 2;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "CONNSECMARK",
    constancy: Constancy::Flow,
    help: "Saves the packet's security mark in the connection, or restores it.",
    size: 1,
    make: |of| {
        refuse_if(!matches!(of.table, "mangle" | "security"))?;
        let mode = of.info.u8(0);
        refuse_if(!matches!(mode, SAVE | RESTORE))?;
        of.tracked()?;
        Ok(does(move |cx| {
            let mark = cx.meta.secmark;
            let Some(connection) = cx.connection_or_template() else { return };
            match (mode, mark, connection.secmark()) {
                (SAVE, 1.., 0) => {
                    connection.set_secmark(mark);
                    cx.recorder.spoil();
                }
                (RESTORE, 0, of_connection @ 1..) => cx.meta.secmark = of_connection,
                _ => {}
            }
        }))
    },
    ..Extension::TARGET
}];
