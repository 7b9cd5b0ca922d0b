//! `CONNMARK`: moves marks between packet and connection.

use super::*;
use crate::packet::set_mark;

const BASE: Extension = Extension {
    name: "CONNMARK",
    constancy: Constancy::Flow,
    help: "Sets the connection's mark, saves the packet's there, or restores it.",
    size: 16,
    make: |of| make(of, 0, Shift::Left(0)),
    ..Extension::TARGET
};

/// `XT_CONNMARK_SET`, `XT_CONNMARK_SAVE`, `XT_CONNMARK_RESTORE`.
const SET: u8 = 0;
const SAVE: u8 = 1;
const RESTORE: u8 = 2;

pub(super) static ALL: &[Extension] = &[
    Extension { revision: 1, ..BASE },
    Extension {
        revision: 2,
        make: |of| {
            let [right, bits] = of.info.bytes(12);
            refuse_if(right > 1 || bits >= 32)?;
            let bits = u32::from(bits);
            make(of, 2, if right == 1 { Shift::Right(bits) } else { Shift::Left(bits) })
        },
        ..BASE
    },
];

/// By how many bits marks are moved, which are fewer than 32.
#[derive(Clone, Copy)]
enum Shift {
    Left(u32),
    Right(u32),
}

impl Shift {
    const fn of(self, mark: u32) -> u32 {
        match self {
            Self::Left(bits) => mark << bits,
            Self::Right(bits) => mark >> bits,
        }
    }
}

/// `before` bytes stand before the mode, more than in the first revision.
fn make(of: &mut Use<'_>, before: usize, shift: Shift) -> Result<Act> {
    let [mark, mask, packet_mask] = [0, 4, 8].map(|at| of.info.u32(at));
    let mode = of.info.u8(12 + before);
    of.tracked()?;
    Ok(does(move |cx| {
        let of_packet = cx.meta.mark;
        let Some(connection) = cx.connection_or_template() else { return };
        let of_connection = connection.mark();
        let new = match mode {
            SET => shift.of(of_connection & !mask ^ mark),
            SAVE => of_connection & !mask ^ shift.of(of_packet & packet_mask),
            RESTORE => {
                let new = of_packet & !packet_mask ^ shift.of(of_connection & mask);
                cx.effects.rewritten |= new != of_packet;
                cx.meta.mark = new;
                return;
            }
            _ => return,
        };
        if set_mark(connection, new) {
            cx.recorder.spoil();
        }
    }))
}
