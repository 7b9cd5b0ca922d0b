//! `snat`, `dnat`, `redirect`, `arpreply`: other MAC addresses for a frame.

use super::*;

pub(super) static ALL: &[Extension] = &[
    Extension {
        name: "arpreply",
        help: "Answers questions of ARP.",
        standing: Standing::Stored("answers nothing; its verdict counts"),
        table: Some("nat"),
        hooks: Hooks(LAST_BIT | 1),
        size: 12,
        make: |of| {
            refuse_if(!is_ethertype(of, ARP))?;
            Ok(always(verdict(of.info.u32(8) as i32)?))
        },
        ..TARGET
    },
    Extension {
        name: "dnat",
        help: "Gives a frame another destination.",
        hooks: Hooks(LAST_BIT | BROUTING | 0b1001),
        size: 12,
        make: |of| {
            in_nat(of, Hook::Output)?;
            let (mac, then) = (of.info.bytes(0), verdict(of.info.u32(8) as i32)?);
            Ok(Box::new(move |cx| destination(cx, mac, then)))
        },
        ..TARGET
    },
    Extension {
        name: "redirect",
        help: "Gives a frame this host as its destination.",
        standing: Standing::Stored(
            "changes nothing: bridged ports are no host; its verdict counts",
        ),
        hooks: Hooks(LAST_BIT | BROUTING | 1),
        size: 4,
        make: |of| {
            in_nat(of, Hook::Prerouting)?;
            Ok(always(verdict(of.info.u32(0) as i32)?))
        },
        ..TARGET
    },
    Extension {
        name: "snat",
        help: "Gives a frame another source, and what ARP says of it.",
        table: Some("nat"),
        hooks: Hooks(LAST_BIT | 0b1_0000),
        size: 12,
        make: source,
        ..TARGET
    },
];

/// ebtables' own hook numbers, which no chain here has.
const BROUTING: u8 = 1 << 5;
const LAST_BIT: u8 = 1 << 6;
/// Beside the verdict: what ARP says stays as it is.
const NOT_IN_ARP: i32 = 0x10;
const ARP: u16 = 0x0806;
const BROADCAST: u8 = 1;
const MULTICAST: u8 = 2;
const OTHERHOST: u8 = 3;

/// Only in the table nat, at its first hook or another one.
fn in_nat(of: &Use<'_>, other: Hook) -> Result<()> {
    let brouting = of.table == "broute" && !of.is_outside(Hooks(BROUTING | LAST_BIT));
    let nat = of.table == "nat" && !of.is_outside(Hooks::of([Hook::Prerouting, other]));
    refuse_if(!brouting && !nat)
}

fn destination(cx: &mut Cx<'_>, mac: [u8; 6], then: Verdict) -> Verdict {
    if !cx.store(0, &mac) {
        return Verdict::Drop;
    }
    cx.meta.pkttype = Some(match mac {
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => BROADCAST,
        [first, ..] if first & 1 == 1 => MULTICAST,
        _ => OTHERHOST,
    });
    then
}

fn source(of: &mut Use<'_>) -> Result<Act> {
    let (mac, target) = (of.info.bytes::<6>(0), of.info.u32(8) as i32);
    let then = verdict(target | !VERDICT)?;
    refuse_if((target | VERDICT) & !NOT_IN_ARP != !NOT_IN_ARP)?;
    Ok(Box::new(move |cx| {
        if !cx.store(6, &mac) {
            return Verdict::Drop;
        }
        if target & NOT_IN_ARP == 0 && cx.layers.ethertype == ARP {
            let header = cx.data();
            let Some(fixed): Option<[u8; 8]> = cx.peek(header) else { return Verdict::Drop };
            let [_, _, _, _, len, _, _, _] = fixed;
            if usize::from(len) == mac.len() && !cx.store(header + 8, &mac) {
                return Verdict::Drop;
            }
        }
        then
    }))
}
