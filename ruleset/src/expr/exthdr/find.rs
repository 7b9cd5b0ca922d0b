//! Where a part stands: IPv6 extension headers, IPv4 options, SCTP chunks, DCCP options. Offsets count in the frame.

use packet::L3;
use packet::wire::{ip, ipv4};

use super::Field;
use crate::packet::Cx;

/// DCCP (RFC 4340).
const DCCP: u8 = 33;

pub(super) fn ipv6(cx: &Cx<'_>, kind: u8) -> Option<usize> {
    let is_ipv6 = cx.l3() == L3::Ipv6;
    is_ipv6.then(|| cx.ext_header(Some(kind)).map(|found| found.offset)).flatten()
}

/// The options that Linux can be asked for.
pub(super) const fn is_known_option(kind: u8) -> bool {
    matches!(
        kind,
        ipv4::OPTION_SSRR
            | ipv4::OPTION_LSRR
            | ipv4::OPTION_RECORD_ROUTE
            | ipv4::OPTION_ROUTER_ALERT
    )
}

/// Finds an option as `__ip_options_compile` does, which finds none where any is malformed.
pub(super) fn ipv4(cx: &Cx<'_>, wanted: u8) -> Option<usize> {
    if cx.l3() != L3::Ipv4 {
        return None;
    }
    // On a device's way out Linux takes the Ethernet header for IPv4's, and so finds none.
    let start = cx.data();
    let [version_ihl] = cx.peek(start)?;
    let len = (usize::from(version_ihl & 0xf) * 4).checked_sub(ipv4::LEN)?;
    let mut buffer = [0; ipv4::MAX_LEN - ipv4::LEN];
    let options = buffer.get_mut(..len)?;
    let there = start + ipv4::LEN + len <= cx.end() && cx.bytes.read_at(start + ipv4::LEN, options);
    if !there {
        return None;
    }
    let options: &[u8] = options;
    let (mut at, mut found, mut seen) = (0, None, [0u8; 4]);
    while let Some(rest @ [kind, ..]) = options.get(at..) {
        let kind = *kind;
        let size = match kind {
            ipv4::OPTION_END => break,
            ipv4::OPTION_NOP => {
                at += 1;
                continue;
            }
            _ => usize::from(*rest.get(1)?),
        };
        let option = rest.get(..size).filter(|option| option.len() >= 2)?;
        let pointer = option.get(2).copied();
        // What may stand once only: a source route of either kind, a recorded route, a timestamp.
        let once = match kind {
            ipv4::OPTION_SSRR | ipv4::OPTION_LSRR => {
                let whole = size >= 7 && (size - 3).is_multiple_of(4) && pointer == Some(4);
                whole.then_some(1)?
            }
            ipv4::OPTION_RECORD_ROUTE => {
                let pointer = usize::from(pointer?);
                let room = pointer > size || pointer + 3 <= size;
                (pointer >= 4 && room).then_some(2)?
            }
            ipv4::OPTION_TIMESTAMP => {
                timestamp(option)?;
                3
            }
            ipv4::OPTION_ROUTER_ALERT if size < 4 => return None,
            _ => 0,
        };
        if once != 0 {
            if seen.contains(&once) {
                return None;
            }
            *seen.get_mut(usize::from(once))? = once;
        }
        let value = option.get(2..4).is_some_and(|value| value == [0, 0]);
        if kind == wanted && (kind != ipv4::OPTION_ROUTER_ALERT || value) {
            found = Some(start + ipv4::LEN + at);
        }
        at += size;
    }
    found
}

/// Whether a timestamp option is as RFC 781 has it.
fn timestamp(option: &[u8]) -> Option<()> {
    let [_, _, pointer, flags, ..] = option else { return None };
    let pointer = usize::from(*pointer);
    if pointer < 5 {
        return None;
    }
    if pointer > option.len() {
        // No room is left: it is counted how many could not write, in four bits.
        return (flags >> 4 != 15).then_some(());
    }
    let entry = if matches!(flags & 0xf, 1 | 3) { 8 } else { 4 };
    (pointer + 3 <= option.len() && pointer + entry - 1 <= option.len()).then_some(())
}

/// Finds a chunk; where its bytes are asked for, they must lie inside it.
pub(super) fn sctp(cx: &Cx<'_>, kind: u8, field: Field, present: bool) -> Option<usize> {
    // Linux looks into later fragments, too.
    let transport = cx.transport.filter(|transport| transport.protocol == ip::SCTP)?;
    let mut at = usize::from(transport.offset) + 12;
    loop {
        let [found, _, l0, l1]: [u8; 4] = cx.peek(at)?;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        if len == 0 {
            return None;
        }
        if found == kind {
            let inside = field.offset() + field.len() <= len && at + len <= cx.end();
            return (present || inside).then_some(at);
        }
        at += len.next_multiple_of(4);
    }
}

/// Finds an option.
pub(super) fn dccp(cx: &Cx<'_>, kind: u8) -> Option<usize> {
    /// The last of the options that are a single byte.
    const LAST_SINGLE: u8 = 31;
    let transport = cx.transport().filter(|transport| transport.protocol == DCCP)?;
    let start = usize::from(transport.offset);
    let header: [u8; 12] = cx.peek(start)?;
    let [_, _, _, _, data_offset, _, _, _, type_x, ..] = header;
    let extended = if type_x & 1 == 1 { 4 } else { 0 };
    let more = match type_x >> 1 & 0xf {
        2 => 0,
        3..=6 | 8 | 9 => 8,
        0 => 4,
        _ => 12,
    };
    let end = start + usize::from(data_offset) * 4;
    let mut at = start + 12 + extended + more;
    while at < end {
        let [found] = cx.peek(at)?;
        if found == kind {
            return Some(at);
        }
        at += match found {
            0..=LAST_SINGLE => 1,
            _ if at + 1 < end => {
                let [len] = cx.peek(at + 1)?;
                (len >= 2).then_some(usize::from(len))?
            }
            _ => return None,
        };
    }
    None
}
