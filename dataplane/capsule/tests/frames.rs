//! Frame operations over mbufs against a plain vector of bytes, on random chains; shared fragments; no mbuf leaks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use capsule::{Mbuf, MbufPool};
use common::{addresses, bytes, eal, pattern};
use packet::{Frame, FramePool};
use proptest::{prelude::*, test_runner::TestRunner};

#[derive(Clone, Debug)]
enum Op {
    Prepend(usize),
    TrimFront(usize),
    Truncate(usize),
    Append(usize),
    CopyIn(usize, usize),
    Share(usize, usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0usize..200).prop_map(Op::Prepend),
        (0usize..2500).prop_map(Op::TrimFront),
        (0usize..9000).prop_map(Op::Truncate),
        (0usize..5000).prop_map(Op::Append),
        (0usize..9000, 0usize..3000).prop_map(|(at, len)| Op::CopyIn(at, len)),
        (0usize..5000, 0usize..5000).prop_map(|(at, len)| Op::Share(at, len)),
    ]
}

/// Applies an operation to both and compares.
fn check(pool: &MbufPool, frame: &mut Mbuf, model: &mut Vec<u8>, source: &Mbuf, op: &Op, fill: u8) {
    match *op {
        Op::Prepend(n) => {
            if frame.prepend(n) {
                assert!(frame.copy_in(0, &vec![fill; n]));
                model.splice(0..0, vec![fill; n]);
            }
        }
        Op::TrimFront(n) => {
            assert_eq!(frame.trim_front(n), n <= model.len());
            if n <= model.len() {
                model.drain(..n);
            }
        }
        Op::Truncate(len) => {
            frame.truncate(len);
            model.truncate(len);
        }
        Op::Append(n) => {
            assert!(frame.append(&vec![fill; n]));
            model.extend(vec![fill; n]);
        }
        Op::CopyIn(at, len) => {
            let fits = at + len <= model.len();
            // Shared bytes are not to be written: what is shared here comes from `source`, which is rewritten alike.
            if frame.segments().count() == 1 || !fits {
                assert_eq!(frame.copy_in(at, &vec![fill; len]), fits);
                if fits {
                    model[at..at + len].fill(fill);
                }
            }
        }
        Op::Share(at, len) => {
            let fits = at + len <= source.len();
            assert_eq!(pool.append_shared(frame, source, at, len), fits);
            if fits {
                model.extend(&bytes(source)[at..at + len]);
            }
        }
    }
    assert_eq!(frame.len(), model.len(), "{op:?}");
    assert_eq!(&bytes(frame), model, "{op:?}");
    assert_eq!(frame.segment_count(), frame.segments().count(), "{op:?}");
    let (at, n) = (model.len() / 2, model.len() / 3);
    let mut out = vec![0; n];
    assert!(frame.copy_out(at, &mut out));
    assert_eq!(out, model[at..at + n]);
    assert!(!frame.copy_out(model.len(), &mut [0]));
}

#[test]
fn frames_behave_like_plain_bytes() {
    let eal = eal();
    let pool = MbufPool::new("frames", 2047, 32, None).unwrap();
    assert_eq!(pool.capacity(), 2047);

    let mut runner = TestRunner::new(proptest::test_runner::Config {
        failure_persistence: None,
        ..Default::default()
    });
    let cases = (0usize..5000, 100usize..5000, prop::collection::vec(op(), 1..12));
    runner
        .run(&cases, |(len, source_len, ops)| {
            let mut source = pool.alloc().unwrap();
            assert!(source.append(&pattern(source_len)));
            let mut frame = pool.alloc().unwrap();
            assert!(frame.append(&pattern(len)));
            let mut model = pattern(len);
            for (i, op) in ops.iter().enumerate() {
                check(&pool, &mut frame, &mut model, &source, op, 0xa0 + i as u8);
            }
            drop(frame);
            assert_eq!(bytes(&source), pattern(source_len), "nobody wrote into shared bytes");
            drop(source);
            assert_eq!(pool.in_use(), 0);
            Ok(())
        })
        .unwrap();

    // One packet becomes three fragments that share its payload, and outlive it.
    let mut packet = pool.alloc().unwrap();
    assert!(packet.append(&pattern(4000)));
    let places = addresses(&packet);
    let fragments: Vec<Mbuf> = (0..3)
        .map(|i| {
            let mut fragment = pool.alloc().unwrap();
            assert!(fragment.append(&[i as u8; 34]));
            assert!(pool.append_shared(
                &mut fragment,
                &packet,
                i * 1400,
                if i == 2 { 1200 } else { 1400 }
            ));
            fragment
        })
        .collect();
    assert!(!pool.append_shared(&mut pool.alloc().unwrap(), &packet, 3999, 2), "past the end");
    assert!(!packet.prepend(14), "no room is handed out around shared bytes");
    drop(packet);
    assert_eq!(addresses(&fragments[0])[1], (places[0].0, 1400), "not copied");
    for (i, fragment) in fragments.iter().enumerate() {
        assert_eq!(
            bytes(fragment)[34..],
            pattern(4000)[i * 1400..][..if i == 2 { 1200 } else { 1400 }]
        );
    }
    drop(fragments);
    assert_eq!(pool.in_use(), 0);

    // An empty pool fails, changes nothing, and recovers.
    let hoard: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!((hoard.len(), pool.available()), (2047, 0));
    let mut hoard = hoard.into_iter();
    let mut last = hoard.next().unwrap();
    let donor = hoard.next().unwrap();
    assert!(!last.append(&pattern(4000)) && last.is_empty());
    assert!(
        last.append(&pattern(2048)) && last.segment_count() == 1,
        "one segment's room is there"
    );
    assert!(!last.append(&[1]) && last.len() == 2048);
    let mut donor = donor;
    assert!(donor.append(&pattern(10)) && !pool.append_shared(&mut last, &donor, 0, 10));
    assert_eq!((last.len(), last.segment_count()), (2048, 1));
    drop((last, donor, hoard));
    assert_eq!(pool.available(), 2047);

    // A frame that outlives its pool and EAL keeps both: DPDK's memory is not taken from under it.
    let mut survivor = pool.alloc().unwrap();
    assert!(survivor.append(&pattern(1000)));
    drop((pool, eal));
    assert_eq!(bytes(&survivor), pattern(1000));
    let other = MbufPool::new("other", 1023, 32, None).unwrap();
    drop((survivor, other));
}
