//! What workers and the node say to each other, as words of a ring.
//!
//! # Overview
//!
//! The first word has the kind in its lowest byte, and beside it what is short: flags or a cause in the next byte, a length in the
//! next two, a number of 32 bits in the upper half. Then come words of 64 bits, and bytes as words, the last one filled up with
//! zeros. Both ends are in one process, so words are numbers and bytes keep their order.

use arrayvec::ArrayVec;
use zerocopy::IntoBytes;

use crate::hands::{Cause, Inbound, Outbound, SLOTS};
use crate::ids::FlowId;
use crate::ring::LONGEST;

/// Words of a message, to be filled or read.
pub type Words = [u64; LONGEST];

/// Bytes that a record may have.
pub const RECORD: usize = (LONGEST - 2) * 8;

/// Kinds of [`Outbound`].
mod out {
    pub(super) const RECORD: u8 = 1;
    pub(super) const MARK: u8 = 2;
    pub(super) const APPLIED: u8 = 3;
    pub(super) const REFUSED: u8 = 4;
}

/// Kinds of [`Inbound`].
mod into {
    pub(super) const APPLY: u8 = 1;
    pub(super) const DELETE: u8 = 2;
    pub(super) const EXPORT: u8 = 3;
    pub(super) const BULK: u8 = 4;
    pub(super) const FLUSH: u8 = 5;
    pub(super) const SWEEP: u8 = 6;
    pub(super) const RELEASE: u8 = 7;
}

/// The first word.
fn first(kind: u8, byte: u8, length: usize, number: u32) -> u64 {
    u64::from(kind)
        | u64::from(byte) << 8
        | (length as u64 & 0xffff) << 16
        | u64::from(number) << 32
}

fn cause(byte: u8) -> Option<Cause> {
    Some(match byte {
        0 => Cause::New,
        1 => Cause::Change,
        2 => Cause::End,
        3 => Cause::Refresh,
        4 => Cause::Repair,
        5 => Cause::Bulk,
        6 => Cause::Deferred,
        _ => return None,
    })
}

/// Writes bytes behind two words; all words. `None`: they are too many.
fn with_bytes(words: &mut Words, first: u64, second: u64, bytes: &[u8]) -> Option<usize> {
    let [head, next, body @ ..] = words;
    (*head, *next) = (first, second);
    let length = bytes.len().div_ceil(8);
    let body = body.get_mut(..length)?;
    if let Some(last) = body.last_mut() {
        *last = 0;
    }
    body.as_mut_bytes().get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(2 + length)
}

/// The bytes behind two words, as many as the first says.
fn bytes(first: u64, rest: &[u64]) -> Option<&[u8]> {
    rest.get(1..)?.as_bytes().get(..(first >> 16) as usize & 0xffff)
}

/// A record that is written in place: where its bytes go.
pub(super) fn room_for_record(words: &mut Words) -> &mut [u8] {
    match words {
        [_, _, body @ ..] => body.as_mut_bytes(),
    }
}

/// The rest of that record's message, whose first `length` bytes were written; all words.
pub(super) fn seal_record(words: &mut Words, why: Cause, slot: u32, length: usize) -> usize {
    let [head, second, ..] = words;
    (*head, *second) = (first(out::RECORD, why as u8, length, 0), u64::from(slot));
    2 + length.div_ceil(8)
}

/// Writes a message; how many words it has. `None`: it is too long.
pub fn write_outbound(message: &Outbound<'_>, words: &mut Words) -> Option<usize> {
    let [head, second, ..] = words;
    match *message {
        Outbound::Record { cause, slot, bytes } => {
            let first = first(out::RECORD, cause as u8, bytes.len(), 0);
            return with_bytes(words, first, u64::from(slot), bytes);
        }
        Outbound::Mark { token, next } => {
            (*head, *second) = (first(out::MARK, 0, 0, next), token);
        }
        Outbound::Applied { id, version } => {
            (*head, *second) = (first(out::APPLIED, 0, 0, version), id.to_bits());
        }
        Outbound::Refused { id } => (*head, *second) = (first(out::REFUSED, 0, 0, 0), id.to_bits()),
    }
    Some(2)
}

/// Reads a message. `None`: it is none.
pub fn read_outbound(words: &[u64]) -> Option<Outbound<'_>> {
    let (&head, rest) = words.split_first()?;
    let number = (head >> 32) as u32;
    let second = rest.first().copied();
    Some(match head as u8 {
        out::RECORD => Outbound::Record {
            cause: cause((head >> 8) as u8)?,
            slot: second? as u32,
            bytes: bytes(head, rest)?,
        },
        out::MARK => Outbound::Mark { token: second?, next: number },
        out::APPLIED => Outbound::Applied { id: FlowId::from_bits(second?), version: number },
        out::REFUSED => Outbound::Refused { id: FlowId::from_bits(second?) },
        _ => return None,
    })
}

/// Writes a message; how many words it has. `None`: it is too long.
pub fn write_inbound(message: &Inbound<'_>, words: &mut Words) -> Option<usize> {
    let [head, second, third, ..] = words;
    match message {
        Inbound::Apply { stamp, order, acknowledge, bytes } => {
            let first = first(into::APPLY, u8::from(*acknowledge), bytes.len(), *stamp);
            return with_bytes(words, first, u64::from(*order), bytes);
        }
        Inbound::Delete(id) => (*head, *second) = (first(into::DELETE, 0, 0, 0), id.to_bits()),
        Inbound::Release { id } => (*head, *second) = (first(into::RELEASE, 0, 0, 0), id.to_bits()),
        Inbound::Flush { token } => (*head, *second) = (first(into::FLUSH, 0, 0, 0), *token),
        Inbound::Sweep { stamp } => {
            *head = first(into::SWEEP, 0, 0, *stamp);
            return Some(1);
        }
        Inbound::Bulk { token, from, count } => {
            *head = first(into::BULK, 0, 0, *from);
            (*second, *third) = (*token, u64::from(*count));
            return Some(3);
        }
        Inbound::Export { token, slots } => {
            *head = first(into::EXPORT, 0, slots.len(), 0);
            *second = *token;
            let [_, _, rest @ ..] = words;
            for (word, pair) in rest.iter_mut().zip(slots.chunks(2)) {
                *word = pair.iter().rev().fold(0, |word, slot| word << 32 | u64::from(*slot));
            }
            return Some(2 + slots.len().div_ceil(2));
        }
    }
    Some(2)
}

/// Reads a message. `None`: it is none.
pub fn read_inbound(words: &[u64]) -> Option<Inbound<'_>> {
    let (&head, rest) = words.split_first()?;
    let number = (head >> 32) as u32;
    let second = rest.first().copied();
    Some(match head as u8 {
        into::APPLY => Inbound::Apply {
            stamp: number,
            order: second? as u32,
            acknowledge: head >> 8 & 1 == 1,
            bytes: bytes(head, rest)?,
        },
        into::DELETE => Inbound::Delete(FlowId::from_bits(second?)),
        into::RELEASE => Inbound::Release { id: FlowId::from_bits(second?) },
        into::FLUSH => Inbound::Flush { token: second? },
        into::SWEEP => Inbound::Sweep { stamp: number },
        into::BULK => Inbound::Bulk { token: second?, from: number, count: *rest.get(1)? as u32 },
        into::EXPORT => {
            let many = (head >> 16) as usize & 0xffff;
            let mut slots = ArrayVec::<u32, SLOTS>::new();
            for n in 0..many {
                let word = *rest.get(1 + n / 2)?;
                slots.try_push((word >> (32 * (n % 2))) as u32).ok()?;
            }
            Inbound::Export { token: second?, slots }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flow() -> impl Strategy<Value = FlowId> {
        any::<u64>().prop_map(FlowId::from_bits)
    }

    proptest! {
        #[test]
        fn what_workers_say_is_heard(
            (kind, slot, token) in (0_u8..7, any::<u32>(), any::<u64>()),
            bytes in proptest::collection::vec(any::<u8>(), 0..=RECORD),
            id in flow(),
        ) {
            let mut words = [u64::MAX; LONGEST];
            let messages = [
                Outbound::Record { cause: cause(kind).unwrap(), slot, bytes: &bytes },
                Outbound::Mark { token, next: slot },
                Outbound::Applied { id, version: slot },
                Outbound::Refused { id },
            ];
            for message in messages {
                let many = write_outbound(&message, &mut words).unwrap();
                prop_assert_eq!(read_outbound(&words[..many]), Some(message));
            }
        }

        #[test]
        fn what_the_node_says_is_heard(
            (flag, number, token) in (any::<bool>(), any::<u32>(), any::<u64>()),
            bytes in proptest::collection::vec(any::<u8>(), 0..=RECORD),
            slots in proptest::collection::vec(any::<u32>(), 0..=SLOTS),
            id in flow(),
        ) {
            let mut words = [u64::MAX; LONGEST];
            let messages = [
                Inbound::Apply { stamp: number, order: !number, acknowledge: flag, bytes: &bytes },
                Inbound::Delete(id),
                Inbound::Export { token, slots: slots.into_iter().collect() },
                Inbound::Bulk { token, from: number, count: !number },
                Inbound::Flush { token },
                Inbound::Sweep { stamp: number },
                Inbound::Release { id },
            ];
            for message in messages {
                let many = write_inbound(&message, &mut words).unwrap();
                prop_assert_eq!(read_inbound(&words[..many]), Some(message));
            }
        }

        /// Whatever is in a ring, reading it does not panic.
        #[test]
        fn what_is_no_message_is_none(words in proptest::collection::vec(any::<u64>(), 0..40)) {
            let _ = read_outbound(&words);
            let _ = read_inbound(&words);
        }
    }

    #[test]
    fn what_is_too_long_is_not_written() {
        let bytes = [0; RECORD + 1];
        let mut words = [0; LONGEST];
        let record = Outbound::Record { cause: Cause::New, slot: 0, bytes: &bytes };
        assert_eq!(write_outbound(&record, &mut words), None);
        let apply = Inbound::Apply { stamp: 0, order: 0, acknowledge: false, bytes: &bytes };
        assert_eq!(write_inbound(&apply, &mut words), None);
    }
}
