//! Ranges of one field: points in order, each of which opens a range or closes the one before (`nft_set_rbtree.c`).

use super::element::{Element, Rest, is_over};
use super::sorted::Sorted;
use super::{Inserted, Key};

/// Bytes of a point: the largest key, and what it does.
const POINT: usize = crate::regs::MAX_DATA + 1;
/// Closes the range before it. Of two points at one key, that which closes comes first.
const CLOSES: u8 = 0;
/// Opens a range.
const OPENS: u8 = 1;

/// See the module's overview. A point is a key with `CLOSES` or `OPENS` behind it, so that points compare as bytes do.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    points: Sorted<Key, Rest>,
}

/// A point, in place: to look one up allocates nothing.
struct Point {
    bytes: [u8; POINT],
    len: usize,
}

impl Point {
    #[inline]
    fn new(key: &[u8], side: u8) -> Self {
        let mut bytes = [side; POINT];
        if let Some(place) = bytes.get_mut(..key.len()) {
            place.copy_from_slice(key);
        }
        Self { bytes, len: key.len() + 1 }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

fn closes(point: &Key) -> bool {
    point.bytes().last() == Some(&CLOSES)
}

impl Ranges {
    /// Points, of both kinds.
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether the lowest point closes what nothing opened: programs say so that nothing begins at zero.
    pub(super) fn starts_closed(&self) -> bool {
        self.points.above::<[u8]>(None).is_some_and(|(point, _)| closes(point))
    }

    #[inline]
    pub(super) fn find(&self, key: &[u8], now: u64) -> Option<&Rest> {
        let (point, rest) = self.points.floor(Point::new(key, OPENS).bytes())?;
        (!closes(point) && !is_over(rest, now)).then_some(rest)
    }

    /// The point that opens the range of this key, or the one that closes it.
    pub(super) fn get(&self, key: &[u8], end: bool, now: u64) -> Option<Element> {
        let found = if end {
            let below = Point::new(key, CLOSES);
            let exact =
                self.points.floor(below.bytes()).filter(|(p, _)| p.bytes() == below.bytes());
            exact.or_else(|| self.points.above(Some(Point::new(key, OPENS).bytes())))
        } else {
            self.points.floor(Point::new(key, OPENS).bytes())
        };
        let (point, rest) = found?;
        (closes(point) == end && !is_over(rest, now)).then(|| element(point, rest.clone()))
    }

    /// Puts a point in. `loose`: ranges may follow one another with nothing to close the first, as in anonymous sets.
    pub(super) fn insert(
        &mut self,
        key: &Key,
        end: bool,
        rest: Rest,
        loose: bool,
        now: u64,
    ) -> Inserted {
        let point = Point::new(key.bytes(), if end { CLOSES } else { OPENS });
        let mut replaced = Vec::new();
        loop {
            let before = self.points.floor(point.bytes());
            let after = self.points.above(Some(point.bytes()));
            // What is over must not be in the way.
            let over = [before, after].into_iter().flatten().find(|(_, rest)| is_over(rest, now));
            if let Some((point, _)) = over {
                let point = point.clone();
                replaced.extend(self.take(&point));
                continue;
            }
            if let Some((before, old)) = before {
                if before.bytes() == point.bytes() {
                    return Inserted::Same(old.clone());
                }
                if closes(before) == end && (end || !loose) {
                    return Inserted::Overlaps;
                }
            }
            if end && after.is_some_and(|(after, _)| closes(after)) {
                return Inserted::Overlaps;
            }
            self.points.insert(Key::new(point.bytes()), rest);
            return Inserted::New { replaced };
        }
    }

    /// Takes out a point that opens a range, with the one that closes it.
    fn take(&mut self, point: &Key) -> Vec<Element> {
        let close = self.points.above(Some(point)).map(|(close, _)| close.clone());
        let both = [Some(point.clone()), close.filter(|close| !closes(point) && closes(close))];
        let all = both.into_iter().flatten();
        all.filter_map(|point| Some(element(&point, self.points.remove(&point)?))).collect()
    }

    /// Takes a point out where it is not over.
    pub(super) fn remove(&mut self, key: &[u8], end: bool, now: u64) -> Option<Element> {
        let point = Key::new(Point::new(key, if end { CLOSES } else { OPENS }).bytes());
        self.points.get(&point).filter(|rest| !is_over(rest, now))?;
        Some(element(&point, self.points.remove(&point)?))
    }

    /// Takes out an opening point, over or not, with its closing one.
    pub(super) fn collect(&mut self, key: &[u8]) -> Vec<Element> {
        self.take(&Key::new(Point::new(key, OPENS).bytes()))
    }

    /// All points with their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Rest)> {
        self.points.iter().map(|(point, rest)| (key_of(point), rest))
    }

    /// All points, the highest first, as the kernel walks its tree.
    pub(super) fn into_elements(self) -> impl Iterator<Item = Element> + Send {
        let mut last: Option<Key> = None;
        std::iter::from_fn(move || {
            let (point, rest) = self.points.below(last.as_ref())?;
            let element = element(point, rest.clone());
            last = Some(point.clone());
            Some(element)
        })
    }
}

fn key_of(point: &Key) -> Key {
    let bytes = point.bytes();
    Key::new(bytes.get(..bytes.len() - 1).unwrap_or_default())
}

fn element(point: &Key, rest: Rest) -> Element {
    Element { key: Some(key_of(point)), end: None, closes: closes(point), rest }
}
