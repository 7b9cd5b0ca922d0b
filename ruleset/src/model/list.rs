//! A list that is cheap to clone and to change: the rules of a chain, and slots.
//!
//! Chunks behind `Arc`s: a clone shares all of them, a change copies the one chunk that it touches and the list of chunks.
//! So a snapshot for the workers costs nothing, and one more rule among 100,000 costs microseconds. Reading takes no
//! reference counts, so that workers do not write to what they share.

use std::sync::Arc;

/// Items that a chunk holds at most.
const CHUNK: usize = 128;

/// A list of chunks. See the module's overview.
#[derive(Debug)]
pub struct List<T> {
    chunks: Arc<Vec<Arc<Vec<T>>>>,
    len: usize,
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone(), len: self.len }
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { chunks: Arc::default(), len: 0 }
    }
}

/// A place in a list; stays true until the list is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    chunk: u32,
    at: u32,
}

impl<T: Clone> List<T> {
    /// How many items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The item at `cursor`, which moves on; `None` at the end.
    #[inline]
    pub fn next(&self, cursor: &mut Cursor) -> Option<&T> {
        loop {
            let chunk = self.chunks.get(cursor.chunk as usize)?;
            if let Some(item) = chunk.get(cursor.at as usize) {
                cursor.at += 1;
                return Some(item);
            }
            *cursor = Cursor { chunk: cursor.chunk + 1, at: 0 };
        }
    }

    /// Where the first item is for which `test` holds.
    pub fn find(&self, mut test: impl FnMut(&T) -> bool) -> Option<Cursor> {
        self.chunks.iter().zip(0..).find_map(|(chunk, n)| {
            let at = chunk.iter().position(&mut test)?;
            Some(Cursor { chunk: n, at: at as u32 })
        })
    }

    /// The item at a place.
    pub fn get(&self, place: Cursor) -> Option<&T> {
        self.chunks.get(place.chunk as usize)?.get(place.at as usize)
    }

    /// The item in front of a place.
    pub fn before(&self, place: Cursor) -> Option<&T> {
        match place.at.checked_sub(1) {
            Some(at) => self.get(Cursor { at, ..place }),
            None => self.chunks.get(place.chunk.checked_sub(1)? as usize)?.last(),
        }
    }

    /// The item at a place, to change.
    pub fn get_mut(&mut self, place: Cursor) -> Option<&mut T> {
        let chunk = Arc::make_mut(&mut self.chunks).get_mut(place.chunk as usize)?;
        Arc::make_mut(chunk).get_mut(place.at as usize)
    }

    /// Appends.
    pub fn push(&mut self, item: T) {
        let chunks = Arc::make_mut(&mut self.chunks);
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => Arc::make_mut(chunk).push(item),
            _ => chunks.push(Arc::new(vec![item])),
        }
        self.len += 1;
    }

    /// Puts an item in front of all.
    pub fn push_front(&mut self, item: T) {
        self.insert(Cursor::default(), item);
    }

    /// Puts an item in front of the one at `place`.
    pub fn insert(&mut self, place: Cursor, item: T) {
        let chunks = Arc::make_mut(&mut self.chunks);
        let (n, at) = (place.chunk as usize, place.at as usize);
        let Some(chunk) = chunks.get_mut(n) else {
            return self.push(item);
        };
        let chunk = Arc::make_mut(chunk);
        chunk.insert(at.min(chunk.len()), item);
        if chunk.len() > CHUNK {
            let rest = chunk.split_off(CHUNK / 2);
            chunks.insert(n + 1, Arc::new(rest));
        }
        self.len += 1;
    }

    /// Puts an item behind the one at `place`.
    pub fn insert_behind(&mut self, place: Cursor, item: T) {
        self.insert(Cursor { at: place.at + 1, ..place }, item);
    }

    /// Takes an item out.
    pub fn remove(&mut self, place: Cursor) -> Option<T> {
        let chunks = Arc::make_mut(&mut self.chunks);
        let (n, at) = (place.chunk as usize, place.at as usize);
        let chunk = Arc::make_mut(chunks.get_mut(n)?);
        if at >= chunk.len() {
            return None;
        }
        let item = chunk.remove(at);
        if chunk.is_empty() {
            chunks.remove(n);
        }
        self.len -= 1;
        Some(item)
    }
}

impl<T: Clone> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut list = Self::default();
        items.into_iter().for_each(|item| list.push(item));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_a_vec(ops in prop::collection::vec((0u8..5, any::<prop::sample::Index>(), any::<u32>()), 0..900)) {
            let (mut list, mut vec) = (List::default(), Vec::new());
            let mut snapshots = Vec::new();
            for (op, index, value) in ops {
                let at = if vec.is_empty() { 0 } else { index.index(vec.len()) };
                let place = vec.get(at).and_then(|wanted| list.find(|item: &(usize, u32)| item == wanted));
                let item = (vec.len() + snapshots.len() * 10_000, value);
                match (op, place) {
                    (0 | 1, Some(place)) => { list.insert(place, item); vec.insert(at, item); }
                    (2, Some(place)) => { list.insert_behind(place, item); vec.insert(at + 1, item); }
                    (3, Some(place)) => { prop_assert_eq!(list.remove(place), Some(vec.remove(at))); }
                    _ => { list.push(item); vec.push(item); }
                }
                if value % 64 == 0 { snapshots.push((list.clone(), vec.clone())); }
            }
            snapshots.push((list, vec));
            for (list, vec) in snapshots {
                prop_assert_eq!(list.len(), vec.len());
                prop_assert!(list.iter().eq(&vec));
                let mut cursor = Cursor::default();
                for item in &vec { prop_assert_eq!(list.next(&mut cursor), Some(item)); }
                prop_assert_eq!(list.next(&mut cursor), None);
            }
        }
    }
}
