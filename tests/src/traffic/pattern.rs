//! Contents that can be checked at any place: byte `n` of a stream is a function of the stream's seed and `n`.

/// The eight bytes at a multiple of eight (splitmix64's mixer).
fn word(seed: u64, index: u64) -> [u8; 8] {
    let mut z = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_le_bytes()
}

/// The bytes from `offset` on, as many as asked for, in runs of up to eight.
fn runs(seed: u64, offset: u64, length: usize) -> impl Iterator<Item = (usize, usize, [u8; 8])> {
    let mut done = 0_usize;
    std::iter::from_fn(move || {
        if done >= length {
            return None;
        }
        let at = offset + done as u64;
        let skip = (at % 8) as usize;
        let take = (8 - skip).min(length - done);
        let mut bytes = word(seed, at / 8);
        bytes.rotate_left(skip);
        let from = done;
        done += take;
        Some((from, take, bytes))
    })
}

/// Writes the stream's bytes from `offset` on.
pub fn fill(seed: u64, offset: u64, buffer: &mut [u8]) {
    for (from, take, bytes) in runs(seed, offset, buffer.len()) {
        if let (Some(to), Some(bytes)) = (buffer.get_mut(from..from + take), bytes.get(..take)) {
            to.copy_from_slice(bytes);
        }
    }
}

/// Whether these are the stream's bytes from `offset` on.
pub fn holds(seed: u64, offset: u64, buffer: &[u8]) -> bool {
    runs(seed, offset, buffer.len())
        .all(|(from, take, bytes)| buffer.get(from..from + take) == bytes.get(..take))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_is_the_same_as_in_the_whole() {
        let mut whole = vec![0; 1000];
        fill(7, 0, &mut whole);
        for (from, to) in [(0, 1), (0, 8), (3, 9), (7, 8), (5, 999), (992, 1000), (13, 13)] {
            let mut part = vec![0; to - from];
            fill(7, from as u64, &mut part);
            assert_eq!(part, whole[from..to]);
            assert!(holds(7, from as u64, &part));
        }
    }

    #[test]
    fn a_wrong_byte_place_or_stream_is_noticed() {
        let mut bytes = vec![0; 100];
        fill(7, 40, &mut bytes);
        assert!(!holds(8, 40, &bytes) && !holds(7, 41, &bytes) && !holds(7, 32, &bytes));
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(!holds(7, 40, &bytes));
            bytes[at] ^= 1;
        }
    }
}
