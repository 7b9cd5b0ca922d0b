//! `u32`: words of the packet, found by way of others.

use super::*;

pub(super) static ALL: &[Extension] = &[Extension {
    name: "u32",
    help: "Matches by words of the packet, which may be found by way of others.",
    families: ANY,
    size: 1984,
    make,
    ..Extension::MATCH
}];

/// Tests, steps of one, and its ranges (`XT_U32_MAXSIZE` and one).
const MOST: usize = 11;
const TEST: usize = 180;

/// What to do with the word found so far, and a number.
#[derive(Clone, Copy)]
enum Step {
    And(u32),
    Left(u32),
    Right(u32),
    /// The word moves the place where offsets count from; the next is read.
    At(u32),
}

/// One word, and what it may be.
struct Test {
    start: u32,
    steps: Box<[Step]>,
    values: Box<[std::ops::RangeInclusive<u32>]>,
}

fn make(of: &mut Use<'_>) -> Result<Act> {
    let info = of.info;
    let (count, not) = (usize::from(info.u8(11 * TEST)), info.is_set(11 * TEST + 1));
    refuse_if(count > MOST)?;
    let tests = (0..count).map(|n| Test::new(info, n * TEST)).collect::<Result<Box<[_]>>>()?;
    Ok(matches(move |cx| tests.iter().all(|test| test.is_so(cx)) != not))
}

impl Test {
    fn new(info: Info<'_>, at: usize) -> Result<Self> {
        let (steps, values) = (usize::from(info.u8(at + 176)), usize::from(info.u8(at + 177)));
        refuse_if(steps > MOST || values > MOST)?;
        let step = |n: usize| {
            let number = info.u32(at + 8 * n);
            match info.u8(at + 8 * n + 4) {
                0 => Some(Step::And(number)),
                1 => Some(Step::Left(number)),
                2 => Some(Step::Right(number)),
                3 => Some(Step::At(number)),
                _ => None,
            }
        };
        Ok(Self {
            start: info.u32(at),
            steps: (1..steps).filter_map(step).collect(),
            values: (0..values).map(|n| info.range32(at + 88 + 8 * n)).collect(),
        })
    }

    fn is_so(&self, cx: &Cx<'_>) -> bool {
        self.word(cx).is_some_and(|word| self.values.iter().any(|range| range.contains(&word)))
    }

    fn word(&self, cx: &Cx<'_>) -> Option<u32> {
        let read = |from: u32, offset: u32| {
            let at = usize::try_from(u64::from(from) + u64::from(offset)).ok()?;
            cx.peek(cx.data().checked_add(at)?).map(u32::from_be_bytes)
        };
        let mut from = 0u32;
        let mut word = read(from, self.start)?;
        for step in &self.steps {
            word = match *step {
                Step::And(mask) => word & mask,
                // As the processor does it.
                Step::Left(bits) => word.wrapping_shl(bits),
                Step::Right(bits) => word.wrapping_shr(bits),
                Step::At(offset) => {
                    from = from.checked_add(word)?;
                    read(from, offset)?
                }
            };
        }
        Some(word)
    }
}
