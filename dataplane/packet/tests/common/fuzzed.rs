//! What the fuzz targets do with their input. The tests run the same over the seeds and over random input.

use packet::layers::{parse, parse_l2};
use packet::vec_frame::SEGMENT_ROOM;
use packet::{ChecksumStatus, Frame, FramePool, L3, RxMeta, VecFrame, VecPool, checksum};

/// The fuzzer's bytes, taken from the front; zeros when there are no more.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    fn take(&mut self, n: usize) -> Vec<u8> {
        let (now, later) = self.0.split_at(n.min(self.0.len()));
        self.0 = later;
        now.to_vec()
    }
}

/// One byte of what the device says, one byte for the number of splits, a byte for each, then a frame: parsed in one
/// segment and split, with one result, whose promises are then checked.
pub(crate) fn check_parse(input: &[u8]) {
    let mut input = Bytes(input);
    let flags = input.byte();
    let status = |bits: u8| match bits & 3 {
        1 => ChecksumStatus::Good,
        2 => ChecksumStatus::Bad,
        _ => ChecksumStatus::Unknown,
    };
    let vlan_tci = (flags & 16 != 0).then_some(0x2000 | u16::from(flags));
    let meta = RxMeta {
        ip_checksum: status(flags),
        l4_checksum: status(flags >> 2),
        vlan_tci,
        rss_hash: None,
    };
    let splits = usize::from(input.byte() % 8);
    let mut offsets: Vec<usize> = (0..splits).map(|_| usize::from(input.byte())).collect();
    offsets.sort_unstable();
    let bytes = input.0;

    let mut whole = VecFrame::from_bytes(bytes).with_rx_meta(meta);
    let mut split = VecFrame::from_split(bytes, &offsets).with_rx_meta(meta);
    assert_eq!(parse_l2(&whole), parse_l2(&split), "layer 2, split at {offsets:?}");
    let parsed = parse(&whole);
    assert_eq!(parsed, parse(&split), "split at {offsets:?}");
    let Ok(layers) = parsed else { return };

    let (l3, l4, end) =
        (usize::from(layers.l3_offset), usize::from(layers.l4_offset), layers.end as usize);
    assert!(14 <= l3 && l3 <= l4 && l4 <= end && end <= bytes.len(), "{layers:?}");
    if let Ok(l2) = parse_l2(&whole) {
        assert_eq!(
            (l2.ethertype, l2.vlan, l2.vlan_count),
            (layers.ethertype, layers.vlan, layers.vlan_count)
        );
    }
    match layers.l3 {
        L3::Ipv4 => assert_eq!(layers.ipv4(&whole).src, layers.key.src[..4]),
        L3::Ipv6 => assert_eq!(layers.ipv6(&whole).dst, layers.key.dst),
        L3::Arp => assert_eq!(end, l3 + 28),
        L3::Other => assert_eq!(end, bytes.len()),
    }
    assert_eq!(layers.tcp(&whole), layers.tcp(&split));
    let right = checksum::transport_checksum(&whole, &layers);
    assert_eq!(right, checksum::transport_checksum(&split, &layers));
    // What ought to be there makes the sum right once it is.
    if let Some(right) = right {
        let field = match layers.protocol {
            6 => 16,
            17 | 136 => 6,
            _ => 2,
        };
        for frame in [&mut whole, &mut split] {
            assert!(frame.write(l4 + field, right.to_be_bytes()));
            let sum = checksum::transport_sum(frame, &layers);
            assert!(sum.is_some_and(|sum| sum.is_valid()), "{layers:?}");
        }
    }
}

/// A program of frame operations, run on a frame of a pool and on plain bytes.
pub(crate) fn check_frame_ops(input: &[u8]) {
    let mut input = Bytes(input);
    let pool = VecPool::new(8);
    let other = VecFrame::from_split(&[0xa5; 300], &[0, 7, 100]);
    let first = input.byte();
    let start = input.take(usize::from(first));
    let mut offsets: Vec<usize> =
        (0..input.byte() % 4).map(|_| usize::from(input.byte())).collect();
    offsets.sort_unstable();
    let (mut frame, mut model) = match pool.frame_split(&start, &offsets) {
        Some(frame) => (frame, start),
        None => return,
    };
    for _ in 0..64 {
        if input.0.is_empty() {
            break;
        }
        let operation = input.byte() % 10;
        let n = input.number();
        match operation {
            0 => {
                let room = frame.headroom() >= n;
                assert_eq!(frame.prepend(n), room);
                if room {
                    // Its content is not specified: specify it.
                    let fill = vec![input.byte(); n];
                    assert!(frame.copy_in(0, &fill));
                    model.splice(0..0, fill);
                }
            }
            1 => {
                let fits = n <= model.len();
                assert_eq!(frame.trim_front(n), fits);
                if fits {
                    model.drain(..n);
                }
            }
            2 => {
                frame.truncate(n);
                model.truncate(n);
            }
            3 | 4 => {
                let bytes =
                    if operation == 3 { input.take(n % 64) } else { vec![n as u8; n % 5000] };
                let before = pool.outstanding();
                if frame.append(&bytes) {
                    model.extend(&bytes);
                } else {
                    assert_eq!(pool.outstanding(), before, "a failed append takes nothing");
                    assert!(
                        bytes.len() > (pool.capacity() - before) * SEGMENT_ROOM,
                        "there was room"
                    );
                }
            }
            5 => {
                let bytes = input.take(usize::from(input.0.first().copied().unwrap_or(0)) % 80);
                let fits = n + bytes.len() <= model.len();
                assert_eq!(frame.copy_in(n, &bytes), fits);
                if fits {
                    model[n..n + bytes.len()].copy_from_slice(&bytes);
                }
            }
            6 => {
                let mut into = vec![0; n % 257];
                let at = n / 257;
                let fits = at + into.len() <= model.len();
                // Nothing at all can be read from anywhere.
                assert_eq!(frame.copy_out(at, &mut into), fits || into.is_empty());
                if fits {
                    assert_eq!(into, model[at..at + into.len()]);
                }
            }
            7 => {
                let there = model.get(n..n + 5).map(|bytes| <[u8; 5]>::try_from(bytes).unwrap());
                assert_eq!(frame.read::<5>(n), there);
            }
            8 => {
                let value = [input.byte(), 1, 2];
                let fits = n + 3 <= model.len();
                assert_eq!(frame.write(n, value), fits);
                if fits {
                    model[n..n + 3].copy_from_slice(&value);
                }
            }
            _ => {
                let (at, len) = (n % 301, n / 301);
                let fits = at + len <= 300;
                if pool.append_shared(&mut frame, &other, at, len) {
                    assert!(fits);
                    model.extend(vec![0xa5; len]);
                } else {
                    assert!(!fits || pool.outstanding() == pool.capacity());
                }
            }
        }
        assert_eq!(frame.to_vec(), model, "after operation {operation} with {n}");
        assert_eq!((frame.len(), frame.is_empty()), (model.len(), model.is_empty()));
        assert_eq!(frame.segments().map(<[u8]>::len).sum::<usize>(), model.len());
        assert!(frame.segments().next().is_some_and(|head| head == frame.head()));
        assert_eq!(pool.outstanding(), frame.segment_count());
    }
    drop(frame);
    assert_eq!(pool.outstanding(), 0, "a segment leaked");
}
