//! Ranges of one field: points in order, each of which opens a range or closes the one before (`nft_set_rbtree.c`).

use super::element::{Element, Rest, is_over};
use super::sorted::Sorted;
use super::{Ask, Inserted, Key};

/// Bytes of a point: the largest key, and what it does.
const POINT: usize = crate::regs::MAX_DATA + 1;
/// Closes the range before it. Of two points at one key, that which closes comes first.
const CLOSES: u8 = 0;
/// Opens a range.
const OPENS: u8 = 1;

/// What a batch did to a set of ranges last: it named the start of a range that is there, so an end that comes next must be
/// that range's.
#[derive(Clone, Debug, Default)]
pub struct Course {
    start: Option<Key>,
}

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

    /// Whether the lowest point closes what nothing opened: programs say so that nothing begins at zero. The kernel's test for
    /// that point is whether no byte of it is one (`nft_rbtree_adjust_maxsize`).
    pub(super) fn starts_closed(&self) -> bool {
        let lowest = self.points.above::<[u8]>(None).map(|(point, _)| point);
        lowest.is_some_and(|point| closes(point) && !key_of(point).bytes().contains(&1))
    }

    #[inline]
    pub(super) fn find(&self, key: &[u8], now: u64) -> Option<&Rest> {
        let (point, rest) = self.points.floor(Point::new(key, OPENS).bytes())?;
        (!closes(point) && !is_over(rest, now)).then_some(rest)
    }

    /// The range of this key, or the range that ends just before it: the point that opens it, or the one that closes it.
    /// `Some(None)` for the closing one of the last range
    /// where nothing closes it; before another range that one's start closes it.
    pub(super) fn get(&self, key: &[u8], end: bool, now: u64) -> Option<Option<Element>> {
        // Where one range follows another, a key is the start of the latter and the end of the former.
        let from = if end { CLOSES } else { OPENS };
        let before = self.points.floor(Point::new(key, from).bytes());
        let before = match before {
            Some((point, _)) if end && closes(point) && key_of(point).bytes() == key => {
                self.points.below(Some(point))
            }
            before => before,
        };
        let opening = before.filter(|(point, _)| !closes(point));
        let (point, rest) =
            opening.or_else(|| self.points.floor(Point::new(key, OPENS).bytes()))?;
        if closes(point) || is_over(rest, now) {
            return None;
        }
        if !end {
            return Some(Some(element(point, rest.clone())));
        }
        let next = self.points.above(Some(point));
        Some(next.map(|(point, rest)| element(point, rest.clone())))
    }

    /// Puts a point in.
    pub(super) fn insert(
        &mut self,
        key: &Key,
        end: bool,
        rest: Rest,
        ask: &mut Ask<'_>,
    ) -> Inserted {
        let point = Point::new(key.bytes(), if end { CLOSES } else { OPENS });
        let mut replaced = Vec::new();
        loop {
            let before = self.points.floor(point.bytes());
            let after = self.points.above(Some(point.bytes()));
            // What is over must not be in the way.
            let over = before.or(after).filter(|(_, rest)| is_over(rest, ask.now));
            let over = over.or(after.filter(|(_, rest)| is_over(rest, ask.now)));
            if let Some(over) = over.map(|(point, _)| point.clone()) {
                replaced.extend(self.take(&over));
                continue;
            }
            if let Some(refused) = self.check(key, &point, end, ask, before, after) {
                return refused;
            }
            self.points.insert(Key::new(point.bytes()), rest);
            return Inserted::New { replaced };
        }
    }

    /// Whether a point may not be put in, and why (`__nft_rbtree_insert`).
    fn check(
        &self,
        key: &Key,
        point: &Point,
        end: bool,
        ask: &mut Ask<'_>,
        before: Option<(&Key, &Rest)>,
        after: Option<(&Key, &Rest)>,
    ) -> Option<Inserted> {
        let null = end && key.bytes().iter().all(|byte| *byte == 0);
        let course = &mut ask.course.start;
        if null || !end {
            *course = None;
        }
        if let Some((same, old)) = before.filter(|(before, _)| before.bytes() == point.bytes()) {
            if null {
                return Some(Inserted::Nothing);
            }
            if !end {
                *course = Some(same.clone());
            } else if let Some(start) = course.take()
                && self.points.below(Some(same)).is_none_or(|(below, _)| *below != start)
            {
                return Some(Inserted::Overlaps);
            }
            return Some(Inserted::Same(old.clone()));
        }
        let before_closes = before.is_some_and(|(before, _)| closes(before));
        let after_closes = after.is_some_and(|(after, _)| closes(after));
        let overlaps = if end {
            before_closes || after_closes
        } else {
            before.is_some() && !before_closes && (!ask.loose || after_closes)
        };
        overlaps.then_some(Inserted::Overlaps)
    }

    /// Takes out a point that opens a range, with the one that closes it.
    fn take(&mut self, point: &Key) -> Vec<Element> {
        let close = self.points.above(Some(point)).map(|(close, _)| close.clone());
        let both = [Some(point.clone()), close.filter(|close| !closes(point) && closes(close))];
        let all = both.into_iter().flatten();
        all.filter_map(|point| Some(element(&point, self.points.remove(&point)?))).collect()
    }

    /// Takes a point out where it is not over, and where it is an end only with the start that was taken out before
    /// (`nft_rbtree_deactivate`).
    pub(super) fn remove(&mut self, key: &[u8], end: bool, ask: &mut Ask<'_>) -> Option<Element> {
        let point = Key::new(Point::new(key, if end { CLOSES } else { OPENS }).bytes());
        if !end || key.iter().all(|byte| *byte == 0) {
            ask.course.start = None;
        }
        self.points.get(&point).filter(|rest| !is_over(rest, ask.now))?;
        if !end {
            ask.course.start = Some(point.clone());
        } else if let Some(start) = ask.course.start.take() {
            let below = self.points.below(Some(&point)).map(|(below, _)| below);
            if start > point || below.is_some_and(|below| *below > start) {
                return None;
            }
        }
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
