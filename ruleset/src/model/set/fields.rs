//! Concatenations of ranges: a range for each of several fields, the first element that holds the key in order of insertion
//! (`nft_set_pipapo.c`).
//!
//! Elements are grouped by shape: for each field the bits that the range's ends have in common. Within a group those bits of a
//! key say where to look, so a lookup is a hash lookup for each shape that there is, and a comparison with what lies there.
//! Prefixes and single values, which is most of what there is, lie alone.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::element::{Element, Rest, is_over};
use super::sorted::Sorted;
use super::table::Table;
use super::{Inserted, Key};

/// See the module's overview.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    /// Bytes of each field. In the key each is padded to a multiple of four.
    lens: Arc<[u8]>,
    /// All, by the number that each was given when it came.
    all: Sorted<u64, Arc<Span>>,
    shapes: Arc<Vec<Shape>>,
    next: u64,
}

/// An element.
#[derive(Debug)]
struct Span {
    low: Key,
    high: Option<Key>,
    rest: Rest,
}

/// Elements with the same bits in common.
#[derive(Clone, Debug)]
struct Shape {
    /// Ones for these bits.
    mask: Key,
    /// By those bits of the key, in order of insertion.
    places: Table<Place>,
}

/// Elements that have these bits, by number.
type Place = Arc<Vec<(u64, Arc<Span>)>>;

/// A key of which only some bits are left.
type Masked = ArrayVec<u8, { crate::regs::MAX_DATA }>;

impl Shape {
    #[inline]
    fn place(&self, key: &[u8]) -> Masked {
        key.iter().zip(self.mask.bytes()).map(|(key, mask)| key & mask).collect()
    }
}

impl Fields {
    pub(super) fn new(lens: &[u8]) -> Self {
        Self { lens: lens.into(), all: Sorted::default(), shapes: Arc::default(), next: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The first element that holds this key and is not over, with its number.
    #[inline]
    fn first(&self, key: &[u8], now: u64) -> Option<(u64, &Arc<Span>)> {
        let mut best: Option<(u64, &Arc<Span>)> = None;
        for shape in self.shapes.iter() {
            let Some(place) = shape.places.get(shape.place(key).as_slice()) else { continue };
            let before = place.iter().take_while(|(at, _)| best.is_none_or(|(best, _)| *at < best));
            let mut live = before.filter(|(_, span)| !is_over(&span.rest, now));
            if let Some((at, span)) = live.find(|(_, span)| self.holds(span, key)) {
                best = Some((*at, span));
            }
        }
        best
    }

    /// The parts of a key, by field.
    fn parts<'k>(&self, key: &'k [u8]) -> impl Iterator<Item = &'k [u8]> {
        let mut rest = key;
        self.lens.iter().map(move |len| {
            let len = usize::from(*len);
            let part = rest.get(..len).unwrap_or_default();
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
            part
        })
    }

    fn holds(&self, span: &Span, key: &[u8]) -> bool {
        let low = self.parts(span.low.bytes());
        let high = self.parts(span.high().bytes());
        self.parts(key).zip(low.zip(high)).all(|(key, (low, high))| low <= key && key <= high)
    }

    /// The bits that a span's ends have in common.
    fn mask(&self, span: &Span) -> Key {
        let mut mask = Masked::new();
        for (low, high) in self.parts(span.low.bytes()).zip(self.parts(span.high().bytes())) {
            let start = mask.len();
            let differ = low.iter().zip(high).position(|(low, high)| low != high);
            for (at, (low, high)) in low.iter().zip(high).enumerate() {
                let ones = match differ {
                    Some(first) if at == first => {
                        !(u8::MAX.checked_shr((low ^ high).leading_zeros()).unwrap_or(0))
                    }
                    Some(first) if at > first => 0,
                    _ => u8::MAX,
                };
                let _ = mask.try_push(ones);
            }
            while (mask.len() - start) % 4 != 0 && mask.try_push(0).is_ok() {}
        }
        Key::new(&mask)
    }

    #[inline]
    pub(super) fn find(&self, key: &[u8], now: u64) -> Option<&Rest> {
        self.first(key, now).map(|(_, span)| &span.rest)
    }

    /// The element that holds this key.
    pub(super) fn get(&self, key: &[u8], now: u64) -> Option<Element> {
        self.first(key, now).map(|(_, span)| element(span))
    }

    pub(super) fn insert(&mut self, low: Key, high: Option<Key>, rest: Rest, now: u64) -> Inserted {
        let span = Arc::new(Span { low, high, rest });
        // As the kernel does, only the two ends are looked up.
        if let Some((_, old)) = self.first(span.low.bytes(), now) {
            let same = old.low == span.low && old.high() == span.high();
            return if same { Inserted::Same(old.rest.clone()) } else { Inserted::Overlaps };
        }
        if self.first(span.high().bytes(), now).is_some() {
            return Inserted::Overlaps;
        }
        let mut parts = self.parts(span.low.bytes()).zip(self.parts(span.high().bytes()));
        if parts.any(|(low, high)| low > high) {
            return Inserted::Invalid;
        }
        drop(parts);
        let (mask, at) = (self.mask(&span), self.next);
        self.next += 1;
        self.all.insert(at, span.clone());
        let shapes = Arc::make_mut(&mut self.shapes);
        let n = shapes.iter().position(|shape| shape.mask == mask).unwrap_or_else(|| {
            shapes.push(Shape { mask, places: Table::default() });
            shapes.len() - 1
        });
        if let Some(shape) = shapes.get_mut(n) {
            let place = shape.place(span.low.bytes());
            match shape.places.get_mut(&place) {
                Some(spans) => Arc::make_mut(spans).push((at, span)),
                None => drop(shape.places.insert(Key::new(&place), Arc::new(vec![(at, span)]))),
            }
        }
        Inserted::New { replaced: Vec::new() }
    }

    /// Takes out the element that holds this key, whatever else it holds, as the kernel does.
    pub(super) fn remove(&mut self, key: &[u8], now: u64) -> Option<Element> {
        let (at, _) = self.first(key, now)?;
        self.take(at)
    }

    fn take(&mut self, at: u64) -> Option<Element> {
        let span = self.all.remove(&at)?;
        let mask = self.mask(&span);
        let shapes = Arc::make_mut(&mut self.shapes);
        if let Some(n) = shapes.iter().position(|shape| shape.mask == mask)
            && let Some(shape) = shapes.get_mut(n)
        {
            let place = shape.place(span.low.bytes());
            if let Some(spans) = shape.places.get_mut(place.as_slice()) {
                let spans = Arc::make_mut(spans);
                spans.retain(|(found, _)| *found != at);
                if spans.is_empty() {
                    shape.places.remove(place.as_slice());
                }
            }
            if shape.places.is_empty() {
                shapes.remove(n);
            }
        }
        Some(element(&span))
    }

    /// Takes out all that is over.
    pub(super) fn collect(&mut self, now: u64) -> Vec<Element> {
        let over = self.all.iter().filter(|(_, span)| is_over(&span.rest, now));
        let over: Vec<u64> = over.map(|(at, _)| *at).collect();
        over.into_iter().filter_map(|at| self.take(at)).collect()
    }

    /// What is kept for each.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Rest> {
        self.all.iter().map(|(_, span)| &span.rest)
    }

    /// All in order of insertion.
    pub(super) fn into_elements(self) -> impl Iterator<Item = Element> + Send {
        let mut last: Option<u64> = None;
        std::iter::from_fn(move || {
            let (at, span) = self.all.above(last.as_ref())?;
            last = Some(*at);
            Some(element(span))
        })
    }
}

impl Span {
    fn high(&self) -> &Key {
        self.high.as_ref().unwrap_or(&self.low)
    }
}

fn element(span: &Span) -> Element {
    Element {
        key: Some(span.low.clone()),
        end: span.high.clone(),
        closes: false,
        rest: span.rest.clone(),
    }
}
