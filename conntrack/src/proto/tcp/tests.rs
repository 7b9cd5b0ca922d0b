//! The TCP tracker by itself: the short way equals the whole, and what scripts against Linux do not reach.

use packet::Tick;
use proptest::prelude::*;

use super::*;

/// A number that is near another one, or not at all.
fn near(base: u32) -> impl Strategy<Value = u32> {
    prop_oneof![
        8 => (0_u32..20_000).prop_map(move |by| base.wrapping_add(by)),
        4 => (0_u32..20_000).prop_map(move |by| base.wrapping_sub(by)),
        4 => Just(base),
        1 => any_number(),
    ]
}

fn any_number() -> impl Strategy<Value = u32> {
    proptest::num::u32::ANY
}

fn peer(base: u32) -> impl Strategy<Value = Peer> {
    let window = prop_oneof![Just(0), Just(1), 1000_u32..200_000];
    (near(base), near(base), window, near(base))
        .prop_map(|(end, max_end, max_window, max_ack)| Peer { end, max_end, max_window, max_ack })
}

/// Words of a connection of which each is possible, but not always all of them together.
fn words(bases: [u32; 2]) -> impl Strategy<Value = Tcp> {
    let [a, b] = bases;
    let odd = prop_oneof![8 => Just(State::Established as u8), 1 => 0_u8..12];
    let flags = prop_oneof![4 => Just([0x23_u8, 0x23]), 2 => proptest::array::uniform2(0_u8..)];
    let scale = prop_oneof![8 => 0_u8..15, 1 => Just(REBASE | 7)];
    let scale = proptest::array::uniform2(scale);
    (peer(a), peer(b), (near(a), near(b), near(a)), odd, flags, scale).prop_flat_map(
        |(a, b, (seq, ack, end), state, flags, scale)| {
            (0_u8..2, 0_u8..6, 0_u8..6, 0_u16..3).prop_map(
                move |(last_direction, last_kind, retransmissions, window)| Tcp {
                    peers: [Peer { max_ack: b.max_ack, ..a }, Peer { max_ack: a.max_ack, ..b }],
                    last_seq: seq,
                    last_ack: ack,
                    last_end: end,
                    last_window: window * 1000,
                    last_scale: 0,
                    last_flags: 0,
                    state,
                    last_kind,
                    last_direction,
                    retransmissions,
                    scale,
                    flags,
                },
            )
        },
    )
}

fn flags() -> impl Strategy<Value = u8> {
    prop_oneof![6 => Just(ACK), 2 => Just(ACK | 8), 1 => 0_u8..]
}

fn options() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(Vec::new()),
        2 => Just(vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
        1 => proptest::collection::vec(0_u8.., 0..40),
        1 => Just(vec![1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    /// What the plain way takes, it does as the whole way does; what it does not take, it leaves as it was.
    #[test]
    fn plain_is_any(
        (tcp, seq, ack) in proptest::array::uniform2(any_number())
            .prop_flat_map(|bases| (words(bases), near(bases[0]), near(bases[1]))),
        (flags, options, len) in (flags(), options(), prop_oneof![Just(0_u32), 0_u32..1500]),
        (window, reply, repeat) in (prop_oneof![Just(0), Just(1000), 0_u16..], any::<bool>(), 0_u8..6),
        limit in 0_u8..4,
    ) {
        let direction = if reply { Direction::Reply } else { Direction::Original };
        let mut segment = Segment { seq, ack, len, window, flags, partial: false, options: &options };
        if repeat == 0 {
            (segment.seq, segment.ack, segment.window) = (tcp.last_seq, tcp.last_ack, tcp.last_window);
            segment.len = tcp.last_end.wrapping_sub(tcp.last_seq) & 0xfff;
        }
        let settings = Settings { tcp_max_retrans: limit, ..Settings::default() };
        let status = Status(Status::CONFIRMED | Status::SEEN_REPLY | Status::ASSURED);
        let context =
            Context { direction, status, timeouts: &settings.tcp, settings: &settings, now: Tick(0) };
        let (mut quick, mut whole) = (tcp, tcp);
        match plain(&mut quick, &segment, direction, &settings) {
            None => prop_assert_eq!(quick, tcp),
            Some(seconds) => {
                let outcome = any_segment(&mut whole, &segment, &context);
                prop_assert_eq!(outcome, Outcome::renew(seconds));
                prop_assert_eq!(quick, whole);
            }
        }
    }

    /// Whatever comes, the state stays one, and nothing panics.
    #[test]
    fn any_takes_anything(
        tcp in proptest::array::uniform2(any_number()).prop_flat_map(words),
        (seq, ack, len) in (any_number(), any_number(), 0_u32..70_000),
        (flags, options, window) in (0_u8.., proptest::collection::vec(0_u8.., 0..41), 0_u16..),
        (status, reply, partial) in (0_u32..0x8000, any::<bool>(), any::<bool>()),
    ) {
        let direction = if reply { Direction::Reply } else { Direction::Original };
        let segment = Segment { seq, ack, len, window, flags, partial, options: &options };
        let settings = Settings::default();
        let context = Context {
            direction, status: Status(status), timeouts: &[], settings: &settings, now: Tick(0),
        };
        let mut after = tcp;
        any_segment(&mut after, &segment, &context);
        prop_assert!(State::of(after.state).is_some() || after.state == tcp.state);
    }
}

#[test]
fn nearly_every_segment_of_a_transfer_goes_the_plain_way() {
    let mut tcp = Tcp {
        peers: [
            Peer { end: 1001, max_end: 9193, max_window: 8192, max_ack: 5001 },
            Peer { end: 5001, max_end: 13_193, max_window: 8192, max_ack: 1001 },
        ],
        state: State::Established as u8,
        flags: [flag::MAX_ACK_SET; 2],
        ..Tcp::default()
    };
    let settings = Settings::default();
    let mut seq = 1001;
    for _ in 0..10_000 {
        let data =
            Segment { seq, ack: 5001, len: 1460, window: 8192, flags: ACK, ..Segment::default() };
        assert_eq!(plain(&mut tcp, &data, Direction::Original, &settings), Some(300));
        seq = seq.wrapping_add(1460);
        let ack = Segment { seq: 5001, ack: seq, window: 8192, flags: ACK, ..Segment::default() };
        assert_eq!(plain(&mut tcp, &ack, Direction::Reply, &settings), Some(432_000));
    }
}
