//! Things by a small number that never changes while they live; as cheap to clone and change as a [`List`](super::List).

use std::sync::Arc;

/// Slots of a chunk.
const CHUNK: usize = 64;

type Chunk<T> = [Option<Arc<T>>; CHUNK];

/// Things by slot.
#[derive(Debug)]
pub struct Slots<T> {
    chunks: Arc<Vec<Arc<Chunk<T>>>>,
    free: imbl::Vector<u32>,
    next: u32,
}

impl<T> Clone for Slots<T> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone(), free: self.free.clone(), next: self.next }
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { chunks: Arc::default(), free: imbl::Vector::new(), next: 0 }
    }
}

impl<T> Slots<T> {
    /// The thing in this slot.
    #[inline]
    pub fn get(&self, slot: u32) -> Option<&Arc<T>> {
        let slot = slot as usize;
        self.chunks.get(slot / CHUNK)?.get(slot % CHUNK)?.as_ref()
    }

    fn place(&mut self, slot: u32) -> Option<&mut Option<Arc<T>>> {
        let slot = slot as usize;
        let chunk = Arc::make_mut(&mut self.chunks).get_mut(slot / CHUNK)?;
        Arc::make_mut(chunk).get_mut(slot % CHUNK)
    }

    /// The thing in this slot, to change: it is copied first where a snapshot holds it, too.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T>
    where
        T: Clone,
    {
        self.place(slot)?.as_mut().map(Arc::make_mut)
    }

    /// Puts in a thing that is told its slot.
    pub fn insert_with(&mut self, make: impl FnOnce(u32) -> T) -> u32 {
        let slot = self.free.pop_back().unwrap_or_else(|| {
            let slot = self.next;
            self.next += 1;
            if slot as usize / CHUNK == self.chunks.len() {
                Arc::make_mut(&mut self.chunks).push(Arc::new([const { None }; CHUNK]));
            }
            slot
        });
        if let Some(place) = self.place(slot) {
            *place = Some(Arc::new(make(slot)));
        }
        slot
    }

    /// Takes a thing out; its slot is used again.
    pub fn remove(&mut self, slot: u32) -> Option<Arc<T>> {
        let thing = self.place(slot)?.take()?;
        self.free.push_back(slot);
        Some(thing)
    }

    /// All things, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Arc<T>)> {
        let all = self.chunks.iter().flat_map(|chunk| chunk.iter());
        all.zip(0..).filter_map(|(thing, slot)| Some((slot, thing.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_keeps_what_was() {
        let mut slots = Slots::default();
        let ids: Vec<u32> = (0..200).map(|n| slots.insert_with(|slot| (slot, n))).collect();
        let before = slots.clone();
        slots.remove(ids[100]);
        slots.get_mut(ids[7]).unwrap().1 = 1000;
        assert_eq!(slots.insert_with(|slot| (slot, 5)), ids[100], "used again");
        assert_eq!(**before.get(ids[100]).unwrap(), (100, 100));
        assert_eq!(**before.get(ids[7]).unwrap(), (7, 7));
        assert_eq!(slots.get(ids[7]).unwrap().1, 1000);
        assert_eq!(slots.iter().count(), 200);
        assert!(slots.get(100_000).is_none());
    }
}
