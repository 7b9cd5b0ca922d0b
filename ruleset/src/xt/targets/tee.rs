//! `TEE`: sends a copy to another host.

use super::*;
use crate::expr::SendTo;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "TEE",
    revision: 1,
    help: "Sends a copy to another host. By an interface that is named, none is sent.",
    size: 40,
    told: 32,
    make,
    ..Extension::TARGET
}];

const IFACE: usize = 16;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let (addr, family) = (of.info.bytes::<16>(0), of.family);
    let by_iface = of.info.is_set(IFACE);
    refuse_if(addr == [0; 16] || of.info.is_set(IFACE + 15))?;
    Ok(does(move |cx| {
        if !by_iface {
            // More copies than there is room for are not made.
            let _ = cx.effects.dups.try_push(SendTo { iface: None, addr: Some((family, addr)) });
        }
    }))
}
