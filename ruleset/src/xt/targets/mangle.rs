//! `mangle`: changes the addresses in ARP.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "mangle",
    help: "Changes the addresses in ARP.",
    families: ARP,
    size: 48,
    make,
    ..Extension::TARGET
}];

/// An address that is written.
struct Field {
    is_set: bool,
    bytes: [u8; 16],
    /// The longest that may be written.
    most: usize,
}

/// Bytes of ARP's header before the addresses.
const HEADER: usize = 8;

fn make(of: &mut Use<'_>) -> Result<Act> {
    let info = of.info;
    let flags = info.u8(40);
    refuse_if(flags & !0xf != 0 || flags == 0)?;
    let then = match info.u32(44) {
        0 => Verdict::Drop,
        1 => Verdict::Accept,
        u32::MAX => Verdict::Continue,
        _ => return Err(Errno::EINVAL.into()),
    };
    let field = |bit, bytes, most| Field { is_set: flags & bit != 0, bytes, most };
    let wide = |[a, b, c, d]: [u8; 4]| [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // As the packet has them: the sender's hardware and protocol address, the target's.
    let fields = [
        field(1, info.bytes(0), 16),
        field(4, wide(info.bytes(32)), 4),
        field(2, info.bytes(16), 16),
        field(8, wide(info.bytes(36)), 4),
    ];
    Ok(Box::new(move |cx| {
        let header = cx.network();
        let Some([hardware, protocol]): Option<[u8; 2]> = cx.peek(header + 4) else {
            return Verdict::Drop;
        };
        let mut at = header + HEADER;
        for (field, len) in fields.iter().zip([hardware, protocol, hardware, protocol]) {
            let len = usize::from(len);
            let bytes = field.bytes.get(..len).filter(|_| len <= field.most);
            if field.is_set && !bytes.is_some_and(|bytes| cx.store(at, bytes)) {
                return Verdict::Drop;
            }
            at += len;
        }
        then
    }))
}
