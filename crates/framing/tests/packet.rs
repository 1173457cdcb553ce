//! Packets, the frames in them, and packet numbers.

use std::ops::RangeInclusive;

use framing::packet::{
    self, Ack, AckFields, Frame, MAX_ACK_RANGES, MAX_CHUNK, MAX_PART_LEN, MAX_REASON_LEN, Packet,
    PacketError, TOKEN_LEN, UNIT_LEN, field, frames, put_ack, restore_pn,
};
use framing::{CHUNK_LEN, WireError, crc32c};
use proptest::prelude::*;

const MAX_VARINT: u64 = (1 << 62) - 1;

#[test]
fn lengths_are_those_of_the_document() {
    assert_eq!((packet::INIT_LEN, packet::RETRY_LEN, packet::VERSION_LEN), (64, 49, 21));
    assert_eq!((packet::CONNECT_HEADER_LEN, packet::DATA_HEADER_LEN), (41, 9));
    assert_eq!((packet::PLAIN_HEADER_LEN, packet::RESET_LEN, packet::CRC_LEN), (25, 17, 4));
    assert_eq!((UNIT_LEN, packet::UNITS_PER_CHUNK, MAX_PART_LEN), (128, 32, 4096));
    assert_eq!((field::CID, field::PN, field::PLAIN_CHUNK), (1..5, 5..9, 9..17));
    assert_eq!(
        (field::MAGIC, field::VERSION, field::FIRST_CID, field::SECOND_CID),
        (1..4, 4..5, 5..9, 9..13)
    );
    assert_eq!((field::ECHO, field::RETRY_ECHO, field::RETRY_TOKEN), (9..17, 13..21, 21..45));
    assert_eq!((field::CONNECT_TOKEN, field::CONNECT_PN, field::RESET_CRC), (13..37, 37..41, 9..13));
}

/// One packet of each kind.
fn one_of_each() -> Vec<Vec<u8>> {
    let token = [7; TOKEN_LEN];
    let written = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        out
    };
    vec![
        written(&|out| packet::init(out, packet::VERSION, 1, 2)),
        written(&|out| packet::retry(out, 1, 2, 3, &token)),
        written(&|out| {
            packet::begin_connect(out, 1, 2, &token, 3);
            packet::put_ping(out);
            packet::seal(out, 0);
        }),
        written(&|out| {
            packet::begin_data(out, 1, 3);
            packet::put_ping(out);
            packet::seal(out, 0);
        }),
        written(&|out| packet::reset(out, 1, 2, 3)),
        written(&|out| packet::plain(out, 1, 2, 3, b"hello")),
        written(&|out| packet::version(out, 1, 2)),
    ]
}

#[test]
fn every_truncated_packet_is_refused() {
    for whole in one_of_each() {
        for cut in 0..whole.len() {
            match Packet::parse(&whole[..cut]) {
                Err(PacketError::Short | PacketError::Checksum) => {}
                // Its header has a checksum of its own.
                Err(PacketError::Malformed("length")) | Ok(Packet::Plain { intact: false, .. })
                    if whole[0] == 0xc6 && cut >= packet::PLAIN_HEADER_LEN => {}
                other => panic!("{cut} bytes of {whole:02x?}: {other:?}"),
            }
        }
    }
}

#[test]
fn every_wrong_bit_of_a_packet_is_noticed() {
    for whole in one_of_each() {
        for bit in 0..whole.len() * 8 {
            let mut packet = whole.clone();
            packet[bit / 8] ^= 1 << (bit % 8);
            match Packet::parse(&packet) {
                Err(_) => {}
                Ok(Packet::Plain { intact, .. }) => assert!(!intact && bit / 8 >= 21),
                other => panic!("bit {bit} of {whole:02x?}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_longer_packet_of_one_length_is_refused() {
    for kind in [0xc1, 0xc2, 0xc5, 0xc7] {
        let whole = one_of_each().into_iter().find(|packet| packet[0] == kind).unwrap();
        let mut longer = whole[..whole.len() - packet::CRC_LEN].to_vec();
        longer.push(0);
        packet::seal(&mut longer, 0);
        assert_eq!(Packet::parse(&longer), Err(PacketError::Malformed("length")), "{kind:#x}");
    }
}

/// The zeros of an Init are there for its length only.
#[test]
fn what_pads_an_init_is_not_read() {
    let mut init = Vec::new();
    packet::init(&mut init, packet::VERSION, 1, 2);
    init.truncate(packet::INIT_LEN - packet::CRC_LEN);
    init[field::ECHO.end..].fill(0xff);
    packet::seal(&mut init, 0);
    assert_eq!(Packet::parse(&init), Ok(Packet::Init { version: packet::VERSION, client_cid: 1, echo: 2 }));
}

#[test]
fn every_unknown_kind_is_refused_by_its_number() {
    assert_eq!(Packet::parse(&[]), Err(PacketError::Short));
    for kind in (0..=u8::MAX).filter(|kind| !(0xc1..=0xc7).contains(kind)) {
        let mut packet = vec![kind; 100];
        packet::seal(&mut packet, 0);
        assert_eq!(Packet::parse(&packet), Err(PacketError::Kind(kind)));
        assert_eq!(packet::destination(&packet), None);
    }
}

#[test]
fn plain_is_one_chunk_at_most() {
    let parsed = |chunk, len| {
        let mut out = Vec::new();
        packet::plain(&mut out, 1, 2, chunk, &vec![7; len]);
        Packet::parse(&out).map(drop)
    };
    assert_eq!(parsed(0, 1), Ok(()));
    assert_eq!(parsed(MAX_CHUNK - 1, CHUNK_LEN), Ok(()));
    assert_eq!(parsed(0, 0), Err(PacketError::Malformed("length")));
    assert_eq!(parsed(0, CHUNK_LEN + 1), Err(PacketError::Malformed("length")));
    assert_eq!(parsed(MAX_CHUNK, 1), Err(PacketError::Malformed("chunk number")));
    assert_eq!(parsed(u64::MAX, 1), Err(PacketError::Malformed("chunk number")));
}

#[test]
fn the_destination_is_the_id_of_the_receiver() {
    let destinations: Vec<_> = one_of_each().iter().map(|packet| packet::destination(packet)).collect();
    assert_eq!(destinations, [None, Some(1), Some(1), Some(1), Some(1), Some(1), Some(1)]);
    for kind in [0xc4, 0xc5, 0xc6] {
        assert_eq!(packet::destination(&[kind, 1, 2, 3]), None);
        assert_eq!(packet::destination(&[kind, 1, 2, 3, 4]), Some(0x0102_0304));
    }
    for kind in [0xc2, 0xc3, 0xc7] {
        assert_eq!(packet::destination(&[kind, 1, 2, 3, 4, 5, 6, 7]), None);
        assert_eq!(packet::destination(&[kind, 1, 2, 3, 4, 5, 6, 7, 8]), Some(0x0506_0708));
    }
}

#[test]
fn errors_say_what_was_wrong() {
    assert_eq!(PacketError::Kind(0xc8).to_string(), "unknown packet kind 0xc8");
    assert_eq!(PacketError::Version(2).to_string(), "protocol version 2, this side speaks version 1");
    assert_eq!(PacketError::Malformed("length").to_string(), "a packet has an impossible length");
}

fn only(bytes: &[u8]) -> Result<Frame<'_>, WireError> {
    let mut read = frames(bytes);
    let frame = read.next().expect("a frame");
    assert!(read.next().is_none(), "bytes behind {frame:?}");
    frame
}

fn written(write: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

#[test]
fn a_part_has_limits() {
    let part = |chunk, unit, len| {
        let mut out = Vec::new();
        packet::put_part_header(&mut out, chunk, unit);
        assert_eq!(out.len(), packet::part_header_len(chunk));
        out.resize(out.len() + len, b'x');
        only(&out).map(drop)
    };
    let long = |value| Err(WireError::TooLong { field: "part", value, limit: 4096 });
    let beyond = |value| Err(WireError::Invalid { field: "chunk", value });
    assert_eq!(part(0, 31, 1), Ok(()));
    assert_eq!(part(0, 32, 1), Err(WireError::Invalid { field: "unit", value: 32 }));
    assert_eq!(part(0, 0, 0), Err(WireError::Short));
    assert_eq!(part(0, 31, MAX_PART_LEN), Ok(()));
    assert_eq!(part(0, 0, MAX_PART_LEN + 1), long(4097));
    assert_eq!(part(MAX_CHUNK - 1, 0, MAX_PART_LEN), Ok(()));
    assert_eq!(part(MAX_CHUNK - 1, 31, UNIT_LEN), Ok(()));
    assert_eq!(part(MAX_CHUNK - 1, 31, UNIT_LEN + 1), beyond(MAX_CHUNK - 1));
    assert_eq!(part(MAX_CHUNK, 0, 1), beyond(MAX_CHUNK));
    assert_eq!(part(MAX_VARINT, 31, MAX_PART_LEN), beyond(MAX_VARINT));
}

#[test]
fn a_piece_of_the_control_stream_lies_within_it() {
    let control = |offset: u64, len: u64, bytes: usize| {
        let mut out = vec![0x03];
        out.extend_from_slice(&(offset | 3 << 62).to_be_bytes());
        out.extend_from_slice(&(len | 3 << 62).to_be_bytes());
        out.resize(out.len() + bytes, b'x');
        frames(&out).next().unwrap().map(drop)
    };
    assert_eq!(control(0, 0, 0), Ok(()));
    assert_eq!(control(0, 5, 5), Ok(()));
    assert_eq!(control(0, 5, 4), Err(WireError::Short));
    assert_eq!(control(0, MAX_VARINT, 4), Err(WireError::Short));
    assert_eq!(control(MAX_VARINT - 5, 5, 5), Ok(()));
    let invalid = WireError::Invalid { field: "control offset", value: MAX_VARINT - 4 };
    assert_eq!(control(MAX_VARINT - 4, 5, 5), Err(invalid));
}

#[test]
fn a_long_reason_is_cut_at_a_character() {
    let out = written(|out| packet::put_close(out, u64::MAX, &"ä".repeat(200)));
    let reason = "ä".repeat(MAX_REASON_LEN / 2);
    assert_eq!(only(&out), Ok(Frame::Close { code: MAX_VARINT, reason: &reason }));
    let out = written(|out| packet::put_close(out, 0, &format!("x{}", "ä".repeat(200))));
    assert!(matches!(only(&out), Ok(Frame::Close { reason, .. }) if reason.len() == MAX_REASON_LEN - 1));
}

#[test]
fn a_reason_is_utf8_and_not_too_long() {
    assert_eq!(only(&[0x08, 0, 2, 0xc3, 0x28]), Err(WireError::NotText("reason")));
    let too_long = WireError::TooLong { field: "reason", value: 257, limit: 256 };
    assert_eq!(only(&[0x08, 0, 0x41, 0x01]), Err(too_long));
    assert_eq!(only(&[0x08, 0, 0x41, 0x00]), Err(WireError::Short));
}

#[test]
fn padding_is_a_run() {
    let mut out = Vec::new();
    packet::put_padding(&mut out, 5);
    packet::put_ping(&mut out);
    packet::put_padding(&mut out, 1);
    let read: Vec<_> = frames(&out).collect();
    assert_eq!(read, [Ok(Frame::Padding(5)), Ok(Frame::Ping), Ok(Frame::Padding(1))]);
}

#[test]
fn every_truncated_frame_is_refused() {
    let mut bodies = vec![
        written(|out| packet::put_control(out, 300, b"hello")),
        written(|out| packet::put_ack_policy(out, 1 << 40, 5000, 65_536)),
        written(|out| packet::put_challenge(out, [1; 8])),
        written(|out| packet::put_response(out, [1; 8])),
        written(|out| packet::put_close(out, 2, "reason")),
        written(|out| packet::put_part_header(out, 1 << 40, 3)),
    ];
    let fields = AckFields { largest: 100, ..AckFields::default() };
    bodies.push(written(|out| {
        put_ack(out, &fields, [90..=100, 70..=80].into_iter(), usize::MAX);
    }));
    for body in bodies {
        for cut in 1..body.len() {
            assert_eq!(only(&body[..cut]), Err(WireError::Short), "{cut} bytes of {body:02x?}");
        }
    }
}

#[test]
fn nothing_is_read_behind_an_error() {
    let mut read = frames(&[0x01, 0x0a, 0x01]);
    assert_eq!(read.next(), Some(Ok(Frame::Ping)));
    assert_eq!(read.next(), Some(Err(WireError::UnknownFrame(0x0a))));
    assert_eq!((read.next(), read.next()), (None, None));
}

/// The numbers of an acknowledgement with a first range and then these gaps and lengths.
fn ack_of(
    largest: u64,
    first_range: u64,
    more: &[(u64, u64)],
) -> Result<Vec<RangeInclusive<u64>>, WireError> {
    let mut out = vec![0x02];
    let mut put = |number: u64| out.extend_from_slice(&(number | 3 << 62).to_be_bytes());
    put(largest);
    (0..6).for_each(|_| put(0));
    put(more.len() as u64);
    put(first_range);
    for &(gap, len) in more {
        put(gap);
        put(len);
    }
    match only(&out)? {
        Frame::Ack(ack) => Ok(ack.ranges().collect()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ranges_never_go_below_zero() {
    let invalid = |field, value| Err(WireError::Invalid { field, value });
    assert_eq!(ack_of(0, 0, &[]), Ok(vec![0..=0]));
    assert_eq!(ack_of(MAX_VARINT, MAX_VARINT, &[]), Ok(vec![0..=MAX_VARINT]));
    assert_eq!(ack_of(5, 6, &[]), invalid("first range", 6));
    assert_eq!(ack_of(5, 1, &[(2, 0)]), Ok(vec![4..=5, 0..=0]));
    assert_eq!(ack_of(5, 1, &[(3, 0)]), invalid("gap", 3));
    assert_eq!(ack_of(5, 1, &[(1, 1)]), Ok(vec![4..=5, 0..=1]));
    assert_eq!(ack_of(5, 1, &[(1, 2)]), invalid("range length", 2));
    assert_eq!(ack_of(5, 5, &[(0, 0)]), invalid("gap", 0));
    assert_eq!(ack_of(5, 4, &[(0, 0)]), invalid("gap", 0));
    assert_eq!(ack_of(MAX_VARINT, 0, &[(MAX_VARINT, 0)]), invalid("gap", MAX_VARINT));
}

/// The limit of an acknowledgement: [`MAX_ACK_RANGES`].
#[test]
fn too_many_ranges_are_refused() {
    let largest = 10_000;
    let most = vec![(0, 0); MAX_ACK_RANGES - 1];
    assert_eq!(ack_of(largest, 0, &most).map(|ranges| ranges.len()), Ok(MAX_ACK_RANGES));
    let error = WireError::Invalid { field: "number of further ranges", value: MAX_ACK_RANGES as u64 };
    assert_eq!(ack_of(largest, 0, &[(0, 0); MAX_ACK_RANGES]), Err(error));
}

fn ack_in(bytes: &[u8]) -> Ack<'_> {
    match only(bytes) {
        Ok(Frame::Ack(ack)) => ack,
        other => panic!("{other:?}"),
    }
}

#[test]
fn put_ack_takes_the_first_range_without_room_and_at_most_the_limit() {
    let fields = AckFields { largest: 10_000, ..AckFields::default() };
    let ranges = || (0..=10_000_u64).rev().step_by(2).map(|pn| pn..=pn);

    let mut out = Vec::new();
    assert_eq!(put_ack(&mut out, &fields, ranges(), 0), 1);
    assert!(ack_in(&out).ranges().eq([10_000..=10_000]));

    let mut out = Vec::new();
    assert_eq!(put_ack(&mut out, &fields, ranges(), usize::MAX), MAX_ACK_RANGES);
    assert!(ack_in(&out).ranges().eq(ranges().take(MAX_ACK_RANGES)));

    let mut out = Vec::new();
    assert_eq!(put_ack(&mut out, &fields, std::iter::empty(), 100), 0);
    assert!(out.is_empty());
}

/// A wrong list costs the ranges that can't be said, and never gives bytes that mean something else.
#[test]
fn put_ack_ends_at_a_range_out_of_order() {
    let fields = AckFields { largest: 100, ..AckFields::default() };
    for wrong in [89..=89, 90..=95, 200..=201, u64::MAX..=u64::MAX, RangeInclusive::new(50, 40)] {
        let mut out = Vec::new();
        let ranges = [90..=100, wrong.clone(), 10..=20];
        assert_eq!(put_ack(&mut out, &fields, ranges.into_iter(), 100), 1, "{wrong:?}");
        assert!(ack_in(&out).ranges().eq([90..=100]));
    }
    let mut out = Vec::new();
    assert_eq!(put_ack(&mut out, &fields, [200..=300, 98..=98].into_iter(), 100), 2);
    assert!(ack_in(&out).ranges().eq([100..=100, 98..=98]));
}

#[test]
fn numbers_are_restored_around_what_is_expected() {
    assert_eq!(restore_pn(None, 0), 0);
    assert_eq!(restore_pn(None, u32::MAX), u32::MAX.into());
    assert_eq!(restore_pn(Some(0xffff_fffe), 0xffff_ffff), 0xffff_ffff);
    assert_eq!(restore_pn(Some(0xffff_ffff), 0), 1 << 32);
    assert_eq!(restore_pn(Some(0xffff_fff0), 5), (1 << 32) + 5);
    assert_eq!(restore_pn(Some((1 << 32) + 5), 0xffff_fff0), 0xffff_fff0);
    assert_eq!(restore_pn(Some(3), 0xffff_fff0), 0xffff_fff0, "there is nothing below 0");
    assert_eq!(restore_pn(Some(MAX_VARINT), 0), MAX_VARINT - u64::from(u32::MAX), "nor above the highest");
    assert_eq!(restore_pn(Some(u64::MAX), u32::MAX), MAX_VARINT);
}

fn numbers() -> impl Strategy<Value = u64> {
    (0..=62_u32, any::<u64>()).prop_map(|(bits, number)| number & ((1 << bits) - 1))
}

/// Ranges as an acknowledgement has them, with the highest number.
fn ack_ranges() -> impl Strategy<Value = (u64, Vec<RangeInclusive<u64>>)> {
    let steps = prop::collection::vec((numbers(), numbers()), 1..80);
    (numbers(), steps).prop_map(|(largest, steps)| {
        let mut ranges: Vec<RangeInclusive<u64>> = Vec::new();
        for (gap, len) in steps {
            let end = match ranges.last() {
                None => Some(largest),
                Some(above) => above.start().checked_sub(2).and_then(|end| end.checked_sub(gap % 1000)),
            };
            let Some(end) = end else { break };
            ranges.push(end.saturating_sub(len % 1000)..=end);
        }
        (largest, ranges)
    })
}

fn ack_fields() -> impl Strategy<Value = AckFields> {
    prop::array::uniform6(numbers()).prop_map(|numbers| {
        let [ack_delay_us, credit, control_credit, pair_time_us, pair_bytes, ce] = numbers;
        AckFields { largest: 0, ack_delay_us, credit, control_credit, pair_time_us, pair_bytes, ce }
    })
}

/// A frame that owns its bytes.
#[derive(Debug, Clone)]
enum Owned {
    Padding(usize),
    Ping,
    Ack(AckFields, Vec<RangeInclusive<u64>>),
    Control(u64, Vec<u8>),
    Part(u64, u8, Vec<u8>),
    AckPolicy(u64, u64, u64),
    Challenge([u8; 8]),
    Response([u8; 8]),
    Close(u64, String),
    Datagram(Vec<u8>),
}

impl Owned {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Padding(len) => packet::put_padding(out, *len),
            Self::Ping => packet::put_ping(out),
            Self::Ack(fields, ranges) => {
                put_ack(out, fields, ranges.iter().cloned(), usize::MAX);
            }
            Self::Control(offset, bytes) => {
                let start = out.len();
                packet::put_control(out, *offset, bytes);
                let header_len = packet::control_header_len(*offset, bytes.len());
                assert_eq!(out.len() - start, header_len + bytes.len());
            }
            Self::Part(chunk, unit, payload) => {
                packet::put_part_header(out, *chunk, *unit);
                out.extend_from_slice(payload);
            }
            Self::AckPolicy(floor, delay, bytes) => packet::put_ack_policy(out, *floor, *delay, *bytes),
            Self::Challenge(bytes) => packet::put_challenge(out, *bytes),
            Self::Response(bytes) => packet::put_response(out, *bytes),
            Self::Close(code, reason) => packet::put_close(out, *code, reason),
            Self::Datagram(bytes) => {
                packet::put_datagram_header(out);
                out.extend_from_slice(bytes);
            }
        }
    }

    fn is(&self, frame: &Frame<'_>) -> bool {
        match (self, frame) {
            (Self::Ack(fields, ranges), Frame::Ack(ack)) => {
                fields_of(ack) == *fields && ack.ranges().eq(ranges.iter().cloned())
            }
            (Self::Ping, Frame::Ping) => true,
            (Self::Padding(len), Frame::Padding(read)) => len == read,
            (Self::Control(at, bytes), Frame::Control { offset, bytes: read }) => {
                at == offset && bytes == read
            }
            (Self::Part(at, first, bytes), Frame::Part { chunk, unit, payload }) => {
                (at, first, &bytes[..]) == (chunk, unit, payload)
            }
            (Self::AckPolicy(a, b, c), Frame::AckPolicy { floor, max_delay_us, max_bytes }) => {
                (a, b, c) == (floor, max_delay_us, max_bytes)
            }
            (Self::Challenge(bytes), Frame::Challenge(read)) => bytes == read,
            (Self::Response(bytes), Frame::Response(read)) => bytes == read,
            (Self::Close(number, text), Frame::Close { code, reason }) => number == code && text == reason,
            (Self::Datagram(bytes), Frame::Datagram(read)) => bytes == read,
            _ => false,
        }
    }
}

fn fields_of(ack: &Ack<'_>) -> AckFields {
    AckFields {
        largest: ack.largest,
        ack_delay_us: ack.ack_delay_us,
        credit: ack.credit,
        control_credit: ack.control_credit,
        pair_time_us: ack.pair_time_us,
        pair_bytes: ack.pair_bytes,
        ce: ack.ce,
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

/// A frame that others may follow, but for two runs of padding.
fn inner_frame() -> impl Strategy<Value = Owned> {
    prop_oneof![
        Just(Owned::Ping),
        (ack_fields(), ack_ranges())
            .prop_map(|(fields, (largest, ranges))| { Owned::Ack(AckFields { largest, ..fields }, ranges) }),
        (numbers(), bytes()).prop_map(|(offset, bytes)| Owned::Control(offset.min(MAX_VARINT - 300), bytes)),
        (numbers(), numbers(), numbers()).prop_map(|(a, b, c)| Owned::AckPolicy(a, b, c)),
        any::<[u8; 8]>().prop_map(Owned::Challenge),
        any::<[u8; 8]>().prop_map(Owned::Response),
        (numbers(), "\\PC{0,60}").prop_map(|(code, reason)| Owned::Close(code, reason)),
    ]
}

/// A frame that ends its packet.
fn last_frame() -> impl Strategy<Value = Owned> {
    let payload = prop::collection::vec(any::<u8>(), 1..=MAX_PART_LEN);
    prop_oneof![
        (0..MAX_CHUNK - 1, 0..32_u8, payload)
            .prop_map(|(chunk, unit, bytes)| Owned::Part(chunk, unit, bytes)),
        bytes().prop_map(Owned::Datagram),
        (1..1500_usize).prop_map(Owned::Padding),
    ]
}

fn body_of(frames: &[Owned]) -> Vec<u8> {
    written(|out| frames.iter().for_each(|frame| frame.put(out)))
}

proptest! {
    #[test]
    fn frames_round_trip(mut sent in prop::collection::vec(inner_frame(), 0..5), last in last_frame()) {
        sent.push(last);
        let body = body_of(&sent);
        let read: Vec<_> = frames(&body).collect();
        prop_assert_eq!(read.len(), sent.len());
        for (read, sent) in read.iter().zip(&sent) {
            prop_assert!(read.as_ref().is_ok_and(|frame| sent.is(frame)), "{:?} is {:?}", sent, read);
        }
    }

    #[test]
    fn packets_round_trip(
        [a, b, c]: [u32; 3],
        [echo, pn]: [u64; 2],
        token: [u8; TOKEN_LEN],
        version: u8,
        body in bytes(),
        before in 0..3_usize,
    ) {
        let low = pn as u32;
        let check = |write: &dyn Fn(&mut Vec<u8>), packet: Packet<'_>| {
            // What stands before a packet in the vector is no part of it.
            let mut out = vec![0xaa; before];
            write(&mut out);
            let datagram = &out[before..];
            let parsed = Packet::parse(datagram);
            (parsed == Ok(packet)).then_some(packet::destination(datagram)).ok_or(format!("{parsed:?} is {packet:?}"))
        };
        let framed = |out: &mut Vec<u8>, begin: &dyn Fn(&mut Vec<u8>)| {
            begin(out);
            out.extend_from_slice(&body);
            packet::seal(out, before);
        };
        let data = Packet::Data { cid: a, pn: low, frames: &body };
        let data = check(&|out| framed(out, &|out| packet::begin_data(out, a, pn)), data);
        let connect = Packet::Connect { server_cid: a, client_cid: b, token, pn: low, frames: &body };
        let connect = check(&|out| framed(out, &|out| packet::begin_connect(out, a, b, &token, pn)), connect);
        let retry = Packet::Retry { client_cid: a, server_cid: b, echo, token };
        let retry = check(&|out| packet::retry(out, a, b, echo, &token), retry);
        let reset = check(&|out| packet::reset(out, a, b, c), Packet::Reset { cid: a, pn: b, crc: c });
        let answer = Packet::Version { version: packet::VERSION, client_cid: a, echo };
        let answer = check(&|out| packet::version(out, a, echo), answer);
        for destination in [data, connect, retry, reset, answer] {
            prop_assert_eq!(destination, Ok(Some(a)));
        }
        let init = check(&|out| packet::init(out, version, a, echo), Packet::Init { version, client_cid: a, echo });
        prop_assert_eq!(init, Ok(None));
    }

    #[test]
    fn plain_round_trips_and_a_wrong_payload_is_told(
        cid: u32,
        pn: u64,
        chunk in 0..MAX_CHUNK,
        payload in prop::collection::vec(any::<u8>(), 1..=CHUNK_LEN),
        bit: prop::sample::Index,
    ) {
        let mut out = written(|out| packet::plain(out, cid, pn, chunk, &payload));
        let plain = |payload, intact| Ok(Packet::Plain { cid, pn: pn as u32, chunk, payload, intact });
        prop_assert_eq!(Packet::parse(&out), plain(&payload, true));
        let bit = bit.index(payload.len() * 8);
        out[packet::PLAIN_HEADER_LEN + bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(Packet::parse(&out), plain(&out[packet::PLAIN_HEADER_LEN..], false));
    }

    #[test]
    fn put_ack_keeps_to_its_room(
        fields in ack_fields(),
        (largest, ranges) in ack_ranges(),
        room in 0..400_usize,
        before in 0..3_usize,
    ) {
        let fields = AckFields { largest, ..fields };
        let mut out = vec![0xaa; before];
        let taken = put_ack(&mut out, &fields, ranges.iter().cloned(), room);
        let frame = &out[before..];
        prop_assert!((1..=ranges.len()).contains(&taken));
        prop_assert!(taken == 1 || frame.len() <= room);
        let ack = ack_in(frame);
        prop_assert_eq!(fields_of(&ack), fields);
        prop_assert!(ack.ranges().eq(ranges[..taken].iter().cloned()));
        // It takes as many as fit: one more would not have.
        if let Some(more) = ranges.get(..=taken) {
            let mut longer = Vec::new();
            put_ack(&mut longer, &fields, more.iter().cloned(), usize::MAX);
            prop_assert!(longer.len() > room);
        }
    }

    #[test]
    fn arbitrary_bytes_are_never_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in prop_oneof![1 => any::<u8>(), 4 => 0xc0..=0xc8_u8],
        is_sealed: bool,
        has_magic: bool,
    ) {
        // Noise alone would hardly ever come past the magic and the checksum.
        let mut datagram = vec![kind];
        if has_magic {
            datagram.extend_from_slice(&packet::MAGIC);
            datagram.push(packet::VERSION);
        }
        datagram.extend_from_slice(&bytes);
        if is_sealed {
            packet::seal(&mut datagram, 0);
        }
        let destination = packet::destination(&datagram);
        if let Ok(packet) = Packet::parse(&datagram) {
            prop_assert_eq!(destination.is_none(), matches!(packet, Packet::Init { .. }));
        }
    }

    #[test]
    fn arbitrary_frames_are_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..0x0b_u8) {
        let body = [&[kind], &bytes[..]].concat();
        let read: Vec<_> = frames(&body).collect();
        let errors = read.iter().filter(|frame| frame.is_err()).count();
        prop_assert!(errors == 0 || errors == 1 && read.last().is_some_and(Result::is_err));
        for frame in read {
            if let Ok(Frame::Ack(ack)) = frame {
                check_ranges(&ack)?;
            }
        }
    }

    #[test]
    fn arbitrary_ranges_never_underflow(
        largest in numbers(),
        first_range in 0..20_u64,
        more in prop::collection::vec((0..20_u64, 0..20_u64), 0..40),
    ) {
        if let Ok(ranges) = ack_of(largest, first_range, &more) {
            prop_assert_eq!(ranges.len(), 1 + more.len());
            prop_assert_eq!(ranges[0].clone(), largest - first_range..=largest);
            for (pair, (gap, len)) in ranges.windows(2).zip(&more) {
                prop_assert_eq!(pair[0].start() - pair[1].end(), gap + 2);
                prop_assert_eq!(pair[1].end() - pair[1].start(), *len);
            }
        } else {
            let needed: u64 = more.iter().map(|(gap, len)| gap + len + 2).sum();
            prop_assert!(largest < first_range + needed);
        }
    }

    #[test]
    fn a_number_is_restored_when_it_is_near(expected in numbers(), away in -0x7fff_ffff_i64..=0x8000_0000) {
        let pn = expected.saturating_add_signed(away).min(MAX_VARINT);
        prop_assert_eq!(restore_pn(expected.checked_sub(1), pn as u32), pn);
    }

    #[test]
    fn the_checksum_is_of_everything_before_it(bytes in bytes(), start in 0..400_usize) {
        let mut out = bytes.clone();
        packet::seal(&mut out, start);
        let crc = crc32c(bytes.get(start..).unwrap_or_default());
        prop_assert_eq!(out, [&bytes[..], &crc.to_be_bytes()].concat());
    }
}

fn check_ranges(ack: &Ack<'_>) -> Result<(), TestCaseError> {
    let ranges: Vec<_> = ack.ranges().collect();
    prop_assert!((1..=MAX_ACK_RANGES).contains(&ranges.len()));
    prop_assert_eq!(*ranges[0].end(), ack.largest);
    prop_assert!(ranges.iter().all(|range| range.start() <= range.end()));
    prop_assert!(ranges.windows(2).all(|pair| pair[1].end() + 1 < *pair[0].start()));
    Ok(())
}
