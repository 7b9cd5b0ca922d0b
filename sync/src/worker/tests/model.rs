//! The model of a worker for loom: two slots with a bit each, and a ring that holds two records.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};

use crate::bell::tests::model::Bell;
use crate::ring::LONGEST;
use crate::ring::model::{Consumer, Producer, ring};

struct Worker {
    ring: Producer,
    state: [u64; 2],
    version: [u64; 2],
    dirty: [bool; 2],
}

impl Worker {
    fn change(&mut self, slot: usize) {
        self.state[slot] += 1;
        self.dirty[slot] = true;
    }

    fn turn(&mut self) -> bool {
        let mut pushed = false;
        for slot in 0..2 {
            if self.dirty[slot] && self.ring.has_room(2) {
                self.version[slot] += 1;
                let word = (slot as u64) << 32 | self.version[slot];
                self.ring.push(&[word, self.state[slot]]).unwrap();
                self.dirty[slot] = false;
                pushed = true;
            }
        }
        pushed
    }
}

fn read(ring: &mut Consumer, known: &mut [(u64, u64); 2]) -> bool {
    let mut buffer = [0; LONGEST];
    let Some(&[word, state]) = ring.pop(&mut buffer) else {
        return false;
    };
    let slot = (word >> 32) as usize;
    let version = word & 0xffff_ffff;
    assert!(version > known[slot].0, "versions go back");
    known[slot] = (version, state);
    true
}

/// Bit, ring and read: in every interleaving what is read last is the last state, also when the ring was full; and a reader
/// that sleeps is woken.
#[test]
fn bit_ring_and_read_lose_no_final_state() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let (producer, mut ring) = ring(8);
        let bell = Arc::new((Bell::new(), AtomicUsize::new(0)));
        let rings = Arc::clone(&bell);
        let thread = loom::thread::spawn(move || {
            let mut worker =
                Worker { ring: producer, state: [0; 2], version: [0; 2], dirty: [false; 2] };
            for slots in [&[0, 1][..], &[0], &[0, 1]] {
                slots.iter().for_each(|slot| worker.change(*slot));
                if worker.turn() && rings.0.must_ring() {
                    rings.1.fetch_add(1, Ordering::Relaxed);
                }
            }
            worker
        });
        let mut known = [(0, 0); 2];
        read(&mut ring, &mut known);
        let sleeps = bell.0.may_sleep(|| ring.is_empty());
        let mut worker = thread.join().unwrap();
        if sleeps && !ring.is_empty() {
            assert!(bell.1.load(Ordering::Relaxed) > 0, "asleep on news");
        }
        // It goes on with what is still dirty, turn by turn.
        while read(&mut ring, &mut known) || worker.turn() {}
        assert_eq!(known.map(|(_, state)| state), worker.state);
    });
}
