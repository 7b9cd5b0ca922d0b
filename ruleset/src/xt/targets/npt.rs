//! `SNPT`, `DNPT`: other prefixes for IPv6 addresses, without state (RFC 6296).

use super::*;

const BASE: Extension =
    Extension { families: IPV6, size: 36, told: 34, table: Some("mangle"), ..Extension::TARGET };

pub(super) static ALL: &[Extension] = &[
    Extension {
        name: "SNPT",
        help: "Gives source addresses another prefix, without state.",
        hooks: Hooks::of([Hook::Input, Hook::Postrouting]),
        make: |of| make(of, 8),
        ..BASE
    },
    Extension {
        name: "DNPT",
        help: "Gives destination addresses another prefix, without state.",
        hooks: Hooks::of([Hook::Prerouting, Hook::Output]),
        make: |of| make(of, 24),
        ..BASE
    },
];

/// Prefixes up to here leave the subnet's word to make the checksum come out the same.
const SUBNET: u8 = 48;
const LONGEST: u8 = 64;

/// The address stands `field` bytes behind the header's beginning.
fn make(of: &mut Use<'_>, field: usize) -> Result<Act> {
    let (from, to) = (number(of.info.bytes(0)), number(of.info.bytes(16)));
    let [from_len, to_len] = of.info.bytes(32);
    refuse_if(from_len > LONGEST || to_len > LONGEST)?;
    refuse_if(from & !prefix(from_len) != 0 || to & !prefix(to_len) != 0)?;
    let len = from_len.max(to_len);
    let adjustment = sum(from) + u32::from(!fold(sum(to)));
    Ok(Box::new(move |cx| {
        let at = cx.network() + field;
        let Some(old) = cx.peek(at).map(number) else { return Verdict::Drop };
        match translated(old, to, len, adjustment) {
            Some(new) if cx.store(at, &new.to_be_bytes()) => Verdict::Continue,
            _ => Verdict::Drop,
        }
    }))
}

const fn number(addr: [u8; 16]) -> u128 {
    u128::from_be_bytes(addr)
}

fn prefix(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

/// The words of an address added up.
fn sum(addr: u128) -> u32 {
    (0..8).map(|n| (addr >> (16 * n)) as u32 & 0xffff).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The address with the other prefix, and one word changed so that all words add up to the same; `None` where no word can be.
fn translated(old: u128, to: u128, len: u8, adjustment: u32) -> Option<u128> {
    let new = old & !prefix(len) | to & prefix(len);
    let word = |n: u32| (new >> (16 * (7 - n))) as u16;
    let changed = if len <= SUBNET { 3 } else { (4..8).find(|n| word(*n) != 0xffff)? };
    let adjusted = match fold(u32::from(word(changed)) + adjustment) {
        0xffff => 0,
        sum => sum,
    };
    let shift = 16 * (7 - changed);
    Some(new & !(0xffff << shift) | u128::from(adjusted) << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_comes_out() {
        let addr = |text: &str| u128::from(text.parse::<std::net::Ipv6Addr>().unwrap());
        let (inside, outside) = (addr("fd01:203:405::"), addr("2001:db8:1::"));
        let adjustment = sum(inside) + u32::from(!fold(sum(outside)));
        let new = translated(addr("fd01:203:405:1::1234"), outside, 48, adjustment);
        assert_eq!(new, Some(addr("2001:db8:1:d550::1234")));
        let back = sum(outside) + u32::from(!fold(sum(inside)));
        let old = new.and_then(|new| translated(new, inside, 48, back));
        assert_eq!(old, Some(addr("fd01:203:405:1::1234")));
    }
}
