//! What is taken: attributes as `conntrack` 1.4.7 sends them.

use nfnetlink::{Errno, Message};

use super::super::filter::Filter;
use super::super::tuple::{self, part};
use super::super::{Named, NamedBoth, Top, nat};
use super::*;
use crate::flow::Direction;

/// The attributes of a message with these bytes behind netfilter's header.
fn with<T>(attrs: &str, work: impl FnOnce(&Top<'_>) -> T) -> T {
    let bytes = message(attrs);
    let message = Message { header: Header::default(), bytes: &bytes };
    work(&Top::parse(&message).unwrap())
}

fn message(attrs: &str) -> Vec<u8> {
    let attrs = attrs.replace(' ', "");
    let byte = |at: usize| u8::from_str_radix(&attrs[at..at + 2], 16).unwrap();
    let mut bytes = vec![0; 20];
    bytes.extend((0..attrs.len()).step_by(2).map(byte));
    bytes
}

const TUPLES: &str = "3400018014000180080001000101010108000200020202021c000280050001000600000006000200000a00000600030000140000\
    3400028014000180080001000202020208000200010101011c0002800500010006100000060002000014000006000300000a0000";

fn errno<T>(result: nfnetlink::Result<T>) -> Option<Errno> {
    result.err().map(|error| error.errno)
}

#[test]
fn tuples_as_the_tool_sends_them() {
    let both = with(TUPLES, |attrs| NamedBoth::parse(2, attrs)).unwrap();
    let [original, reply] = keys(6, [10, 20], [20, 10]);
    let key = |named: Option<Named>, direction| named.map(|named| named.key_in(direction));
    assert_eq!(key(both.original, Direction::Original), Some(original));
    assert_eq!(key(both.reply, Direction::Reply), Some(reply));
    for family in [0, 7] {
        let refused = with(TUPLES, |attrs| errno(NamedBoth::parse(family, attrs)));
        assert_eq!(refused, Some(Errno::EOPNOTSUPP));
    }
}

#[test]
fn every_key_is_read_as_it_is_written() {
    let protocols =
        [(6, 0x1234), (17, 0x0102), (1, 0x0800), (58, 0x8000), (47, 7), (132, 9), (136, 9)];
    for (protocol, dport) in protocols {
        for family in [4, 6] {
            let [mut key, _] = keys(protocol, [0x5678, dport], [0; 2]);
            key.family = family;
            if family == 6 {
                key.src = [7; 16];
            }
            let mut out = Writer::default();
            tuple::put(&mut out, 1, &key, Some(3));
            let attr = nfnetlink::Attrs::new(&out.buf, 0).next().unwrap();
            let parsed = tuple::parse(&attr, tuple::family(&key)).unwrap();
            assert_eq!((parsed.key, parsed.zone), (key, Some(3)));
        }
    }
}

#[test]
fn a_zone_stands_once() {
    let with_zone = |zone: &str| format!("{TUPLES}{zone}");
    let zones = |attrs: &str| {
        with(attrs, |attrs| NamedBoth::parse(2, attrs)).map(|both| both.original.unwrap().zones)
    };
    assert_eq!(zones(TUPLES).unwrap(), [0, 0]);
    assert_eq!(zones(&with_zone("0600120000030000")).unwrap(), [3, 3]);
    let in_tuple = TUPLES.replacen("34000180", "3c000180", 1).replacen(
        "0600030000140000",
        "06000300001400000600030000040000",
        1,
    );
    assert_eq!(zones(&in_tuple).unwrap(), [4, 0]);
    assert_eq!(errno(zones(&format!("{in_tuple}0600120000030000"))), Some(Errno::EINVAL));
}

#[test]
fn attributes_that_are_short_are_refused() {
    for (attrs, errno) in [
        ("060007000000", Errno::ERANGE),
        ("0500120000000000", Errno::ERANGE),
        ("18001600000102030405060708090a0b0c0d0e0f10111213", Errno::ERANGE),
    ] {
        let bytes = message(attrs);
        let message = Message { header: Header::default(), bytes: &bytes };
        assert_eq!(Top::parse(&message).err().map(|error| error.errno), Some(errno), "{attrs}");
    }
}

#[test]
fn filters_mean_what_the_kernels_mean() {
    let flow = keys(6, [10, 20], [20, 10]);
    let matches = |family, attrs: &str, mark, status| {
        let filter = with(attrs, |attrs| Filter::parse(family, attrs)).map_err(|e| e.errno)?;
        Ok(filter.matches([&flow[0], &flow[1]], mark, status))
    };
    // -m 7/7 -u ASSURED, as captured.
    let captured = "0800080000000007 0800150000000007 0800030000000004 08001a0000000004";
    assert_eq!(matches(2, captured, 0xf7, 0xe), Ok(true));
    assert_eq!(matches(2, captured, 0xf6, 0xe), Ok(false));
    assert_eq!(matches(2, captured, 0xf7, 0xa), Ok(false));
    assert_eq!(matches(10, captured, 0xf7, 0xe), Ok(false));
    assert_eq!(matches(0, "", 1, 0), Ok(true));
    assert_eq!(matches(0, "0800150000000007", 1, 0), Ok(true), "a mask alone is no filter");
    assert_eq!(matches(2, "0800150000000007", 1, 0), Err(Errno::EINVAL));
    assert_eq!(matches(0, "0800030000000000", 1, 0), Err(Errno::EINVAL));
    assert_eq!(matches(0, "0600120000000000", 1, 0), Ok(true));
    assert_eq!(matches(0, "0600120000030000", 1, 0), Ok(false));

    let by_tuple = |parts: u32| {
        let parts = hex(&parts.to_ne_bytes());
        format!("{TUPLES} 0c001980 08000100{parts}")
    };
    let all = part::IP_SRC | part::PROTO_NUM | part::SRC_PORT;
    assert_eq!(matches(2, &by_tuple(all), 0, 0), Ok(true));
    let other = by_tuple(all).replacen("01010101", "01010109", 1);
    assert_eq!(matches(2, &other, 0, 0), Ok(false));
    let other =
        by_tuple(all).replacen("0600020000 0a".replace(' ', "").as_str(), "06000200000b", 1);
    assert_eq!(matches(2, &other, 0, 0), Ok(false));
    assert_eq!(matches(2, &by_tuple(part::SRC_PORT), 0, 0), Err(Errno::EINVAL));
    assert_eq!(matches(2, &by_tuple(1 << 12), 0, 0), Err(Errno::EINVAL));
    assert_eq!(matches(0, &by_tuple(all), 0, 0), Err(Errno::EOPNOTSUPP));
}

#[test]
fn nat_as_the_tool_sends_it() {
    // --src-nat 3.3.3.3:80, as captured.
    let attrs =
        "24000680 0800010003030303 0800020003030303 10000380 0600010000500000 0600020000500000";
    let choice = with(attrs, |attrs| nat::parse(&attrs.get(6).unwrap(), false)).unwrap();
    let mut address = [0; 16];
    address[..4].fill(3);
    assert_eq!(choice.addrs, Some((address, address)));
    assert_eq!(choice.ports, Some((80, 80)));
    let short =
        with("09000680 0500010003000000", |attrs| nat::parse(&attrs.get(6).unwrap(), false));
    assert_eq!(errno(short), Some(Errno::ERANGE));
}
