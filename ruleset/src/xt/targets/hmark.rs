//! `HMARK`: a mark made of the packet's addresses and ports.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "HMARK",
    help: "Sets the packet's mark to a hash of its addresses and ports.",
    standing: Standing::Stored("leaves the mark as it is"),
    size: 60,
    make,
    ..Extension::TARGET
}];

/// Bits of what is said: the index of IPsec and its mask, ports and theirs, that only addresses count.
const SPI: u32 = 1 << 2;
const SPI_MASK: u32 = 1 << 3;
const PORTS: u32 = 3 << 4;
const PORT_MASKS: u32 = 3 << 6;
const ADDRESSES: u32 = 1 << 13;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let (flags, protocol, modulus) = (of.info.u32(40), of.info.u16(44), of.info.u32(52));
    let has = |bits| flags & bits != 0;
    refuse_if(modulus == 0 || protocol != 0 && has(ADDRESSES))?;
    refuse_if(has(SPI_MASK) && has(PORT_MASKS) || has(SPI) && has(PORTS))?;
    Ok(always(Verdict::Continue))
}
