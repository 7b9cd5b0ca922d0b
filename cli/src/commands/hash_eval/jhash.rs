//! jhash2, the kernel's hash of 32-bit words: Bob Jenkins's lookup3 (public domain, <https://burtleburtle.net/bob/c/lookup3.c>).

/// What the kernel starts from (`JHASH_INITVAL`, include/linux/jhash.h), and lookup3 too.
const START: u32 = 0xdead_beef;

/// How far the words turn in each step of mixing, and in each of the end.
const MIX: [u32; 6] = [4, 6, 8, 16, 19, 4];
const END: [u32; 7] = [14, 11, 25, 16, 4, 14, 24];

/// The hash of words that hold `bytes` bytes, with a secret.
#[inline(always)]
pub(super) fn lookup3<const N: usize>(words: &[u32; N], bytes: u32, secret: u32) -> u32 {
    let start = START.wrapping_add(bytes).wrapping_add(secret);
    let [mut a, mut b, mut c] = [start; 3];
    let mut chunks = words.chunks(3).peekable();
    while let Some(chunk) = chunks.next() {
        let at = |n: usize| chunk.get(n).copied().unwrap_or(0);
        a = a.wrapping_add(at(0));
        b = b.wrapping_add(at(1));
        c = c.wrapping_add(at(2));
        if chunks.peek().is_some() {
            // Each step takes a word from the next, mixes itself in, and lends the third: the three take turns.
            for turn in MIX {
                a = a.wrapping_sub(c) ^ c.rotate_left(turn);
                c = c.wrapping_add(b);
                (a, b, c) = (b, c, a);
            }
        } else {
            for turn in END {
                c = (c ^ b).wrapping_sub(b.rotate_left(turn));
                (a, b, c) = (b, c, a);
            }
            // Seven turns: what began as c stands in the middle.
            return b;
        }
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup3s_own_vectors() {
        // From the self-test at the end of lookup3.c (`driver5`); zeros behind the text add nothing.
        let mut text = *b"Four score and seven years ago  ";
        text[30..].fill(0);
        let words: [u32; 8] =
            std::array::from_fn(|i| u32::from_le_bytes(text[4 * i..4 * i + 4].try_into().unwrap()));
        assert_eq!(lookup3(&[], 0, 0), 0xdead_beef);
        assert_eq!(lookup3(&words, 30, 0), 0x1777_0551);
        assert_eq!(lookup3(&words, 30, 1), 0xcd62_8161);
    }
}
