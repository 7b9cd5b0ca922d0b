//! `REJECT`: drops the packet and answers it.

use packet::wire::ip;

use super::*;
use crate::expr::RejectWith;

const BASE: Extension = Extension {
    name: "REJECT",
    help: "Drops the packet and answers it.",
    table: Some("filter"),
    hooks: Hooks::of([Hook::Input, Hook::Forward, Hook::Output]),
    size: 4,
    ..Extension::TARGET
};

pub(super) static ALL: &[Extension] = &[
    Extension { families: IPV4, make: |of| make(of, ICMP, 4, 7), ..BASE },
    Extension { families: IPV6, make: |of| make(of, ICMP6, 5, 6), ..BASE },
];

/// Codes by what is asked; those that are no message have none.
const ICMP: &[Option<u8>] =
    &[Some(0), Some(1), Some(2), Some(3), None, Some(9), Some(10), None, Some(13)];
const ICMP6: &[Option<u8>] =
    &[Some(0), Some(1), Some(2), Some(3), Some(4), None, None, Some(5), Some(6)];

fn make(of: &mut Use<'_>, codes: &'static [Option<u8>], echo: u32, reset: u32) -> Result<Act> {
    let with = of.info.u32(0);
    refuse_if(with == echo || with == reset && !of.is_protocol(ip::TCP))?;
    let code = codes.get(with as usize).copied().flatten();
    let answer = match code {
        Some(code) => Some(RejectWith::Unreachable(code)),
        None => (with == reset).then_some(RejectWith::TcpReset),
    };
    Ok(Box::new(move |cx| {
        cx.effects.reject = answer;
        Verdict::Drop
    }))
}
