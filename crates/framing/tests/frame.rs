//! Frames: their header, their payload, and the stream that they are cut from.

use framing::frame::{Frame, FrameError, HEADER_LEN, Header, Kind, MAX_FRAME_LEN, VERSION, field, seal};
use framing::{CHUNK_LEN, MAX_MESSAGE_LEN, crc32c};
use proptest::prelude::*;

/// A chunk frame: number 0x0102030405060708, payload "123456789".
const FRAME: [u8; 33] = [
    0x54, 0x44, 0x01, 0x02, 0x00, 0x00, 0x00, 0x09, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0xe3,
    0x06, 0x92, 0x83, 0xf7, 0x74, 0xfd, 0xd3, b'1', b'2', b'3', b'4', b'5', b'6', b'7', b'8', b'9',
];

const HEADER: Header =
    Header { kind: Kind::Chunk, length: 9, chunk: 0x0102_0304_0506_0708, payload_crc: 0xe306_9283 };

#[test]
fn header_fields_lie_where_the_table_says() {
    assert_eq!(field::MAGIC, 0..2);
    assert_eq!(field::VERSION, 2..3);
    assert_eq!(field::KIND, 3..4);
    assert_eq!(field::LENGTH, 4..8);
    assert_eq!(field::CHUNK, 8..16);
    assert_eq!(field::PAYLOAD_CRC, 16..20);
    assert_eq!(field::HEADER_CRC, 20..24);
    assert_eq!((HEADER_LEN, MAX_FRAME_LEN), (24, 24 + 65536));
}

#[test]
fn header_parse() {
    assert_eq!(Header::parse(&FRAME), Ok(Some(HEADER)));
    assert_eq!(Header::parse(&FRAME[..HEADER_LEN]), Ok(Some(HEADER)));
}

#[test]
fn header_emit() {
    let mut out = [0xff; HEADER_LEN];
    HEADER.emit(&mut out);
    assert_eq!(out, FRAME[..HEADER_LEN]);
}

#[test]
fn frame_parse() {
    let frame = Frame::parse(&FRAME).unwrap().unwrap();
    assert_eq!(frame, Frame { header: HEADER, payload: b"123456789" });
    assert_eq!(frame.len(), FRAME.len());
    assert!(frame.is_intact());
    assert!(!frame.is_empty());
    assert!(Frame { payload: b"", ..frame }.is_empty());
}

#[test]
fn frame_emit() {
    let mut frame = [0xff; FRAME.len()];
    frame[HEADER_LEN..].copy_from_slice(b"123456789");
    seal(Kind::Chunk, HEADER.chunk, &mut frame);
    assert_eq!(frame, FRAME);
}

#[test]
fn every_truncated_prefix_wants_more() {
    for cut in 0..HEADER_LEN {
        assert_eq!(Header::parse(&FRAME[..cut]), Ok(None), "{cut} bytes");
    }
    for cut in 0..FRAME.len() {
        assert_eq!(Frame::parse(&FRAME[..cut]), Ok(None), "{cut} bytes");
    }
}

#[test]
fn bytes_behind_a_frame_belong_to_the_next() {
    let mut two = FRAME.to_vec();
    two.extend_from_slice(&FRAME);
    let first = Frame::parse(&two).unwrap().unwrap();
    assert_eq!(first.payload, b"123456789");
    assert_eq!(Frame::parse(&two[first.len()..]), Frame::parse(&FRAME));
}

#[test]
fn seal_leaves_a_slice_without_room_alone() {
    let mut short = [0xaa; HEADER_LEN - 1];
    seal(Kind::Chunk, 1, &mut short);
    assert_eq!(short, [0xaa; HEADER_LEN - 1]);
}

/// The limit of a chunk's payload: [`CHUNK_LEN`].
#[test]
fn very_long_chunk_is_refused_before_it_comes() {
    check_limit(Kind::Chunk, CHUNK_LEN);
}

/// The limit of a message: [`MAX_MESSAGE_LEN`].
#[test]
fn very_long_message_is_refused_before_it_comes() {
    check_limit(Kind::Message, MAX_MESSAGE_LEN);
}

fn check_limit(kind: Kind, limit: usize) {
    let header = |length| {
        let mut out = [0; HEADER_LEN];
        Header { kind, length, chunk: 0, payload_crc: 0 }.emit(&mut out);
        Header::parse(&out).map(|header| header.map(|header| header.length))
    };
    assert_eq!(header(1), Ok(Some(1)));
    assert_eq!(header(limit), Ok(Some(limit)));
    assert_eq!(header(limit + 1), Err(FrameError::Length(limit as u32 + 1)));
    assert_eq!(header(u32::MAX as usize), Err(FrameError::Length(u32::MAX)));
    assert_eq!(header(0), Err(FrameError::Length(0)));
}

#[test]
fn every_wrong_byte_of_the_magic_is_refused() {
    for at in field::MAGIC {
        let mut frame = FRAME;
        frame[at] ^= 0x20;
        assert_eq!(Frame::parse(&frame), Err(FrameError::NotAFrame([frame[0], frame[1]])));
        assert_eq!(Frame::parse(&frame[..2]), Err(FrameError::NotAFrame([frame[0], frame[1]])));
        assert_eq!(Frame::parse(&frame[..1]), Ok(None));
    }
}

/// Whatever the rest of another version's header looks like, the answer is its number.
#[test]
fn every_other_version_is_refused_by_its_number() {
    for version in (0..=u8::MAX).filter(|&version| version != VERSION) {
        assert_eq!(Header::parse(&[b'T', b'D', version]), Err(FrameError::Version(version)));
    }
    assert_eq!(Header::parse(b"TD"), Ok(None));
    assert_eq!(Header::parse(&[b'T', b'D', VERSION]), Ok(None));
}

#[test]
fn every_unknown_kind_is_refused_by_its_number() {
    for kind in (0..=u8::MAX).filter(|kind| ![1, 2].contains(kind)) {
        let mut header = *FRAME.first_chunk::<HEADER_LEN>().unwrap();
        header[field::KIND.start] = kind;
        let crc = crc32c(&header[..field::HEADER_CRC.start]);
        header[field::HEADER_CRC].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(Header::parse(&header), Err(FrameError::UnknownKind(kind)));
    }
}

#[test]
fn every_wrong_bit_of_a_frame_is_noticed() {
    for bit in 0..FRAME.len() * 8 {
        let mut frame = FRAME;
        frame[bit / 8] ^= 1 << (bit % 8);
        let magic = [frame[0], frame[1]];
        let expected = match bit / 8 {
            at if field::MAGIC.contains(&at) => Err(FrameError::NotAFrame(magic)),
            at if field::VERSION.contains(&at) => Err(FrameError::Version(frame[2])),
            at if at < HEADER_LEN => Err(FrameError::HeaderDamaged),
            _ => Ok(false),
        };
        let intact = Frame::parse(&frame).map(|frame| frame.unwrap().is_intact());
        assert_eq!(intact, expected, "bit {bit}");
    }
}

#[test]
fn errors_say_what_was_wrong() {
    assert_eq!(FrameError::NotAFrame(*b"GE").to_string(), "not a frame: it starts with [47, 45]");
    assert_eq!(FrameError::Version(2).to_string(), "protocol version 2, this side speaks version 1");
    assert_eq!(FrameError::UnknownKind(3).to_string(), "unknown frame kind 0x03");
    assert_eq!(FrameError::Length(4097).to_string(), "a frame of 4097 bytes, which its kind cannot have");
}

/// What a stream was read as: its frames, and the bytes that want more or the error that it ends with.
#[derive(Debug, PartialEq)]
struct Reading {
    frames: Vec<(Header, Vec<u8>)>,
    end: Result<Vec<u8>, FrameError>,
}

/// Reads a stream that comes in pieces of these lengths, over and over.
fn read(stream: &[u8], pieces: &[usize]) -> Reading {
    let mut frames = Vec::new();
    let mut held = Vec::new();
    let mut rest = stream;
    for &piece in pieces.iter().cycle() {
        let (came, later) = rest.split_at(piece.min(rest.len()));
        held.extend_from_slice(came);
        rest = later;
        loop {
            match Frame::parse(&held) {
                Ok(Some(frame)) => {
                    let len = frame.len();
                    assert!(len > HEADER_LEN, "a frame of {len} bytes");
                    frames.push((frame.header, frame.payload.to_vec()));
                    held.drain(..len);
                }
                Ok(None) => break,
                Err(error) => return Reading { frames, end: Err(error) },
            }
        }
        if rest.is_empty() {
            break;
        }
    }
    Reading { frames, end: Ok(held) }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Message), Just(Kind::Chunk)]
}

fn frames() -> impl Strategy<Value = Vec<(Kind, u64, Vec<u8>)>> {
    let lengths = prop_oneof![8 => 1..100usize, 1 => Just(CHUNK_LEN)];
    let payloads = lengths.prop_flat_map(|len| prop::collection::vec(any::<u8>(), len));
    prop::collection::vec((kinds(), any::<u64>(), payloads), 0..8)
}

fn stream_of(frames: &[(Kind, u64, Vec<u8>)]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (kind, chunk, payload) in frames {
        let start = stream.len();
        stream.resize(start + HEADER_LEN, 0);
        stream.extend_from_slice(payload);
        seal(*kind, *chunk, &mut stream[start..]);
    }
    stream
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1..4usize, 1..40usize, 1..5000usize], 1..20)
}

/// One thing that happens to a stream on the way.
#[derive(Debug, Clone)]
enum Damage {
    Flip(u8),
    Lose(usize),
    Repeat(usize),
    End,
}

fn damages() -> impl Strategy<Value = Vec<(prop::sample::Index, Damage)>> {
    let damage = prop_oneof![
        4 => (0..8u8).prop_map(Damage::Flip),
        1 => (1..40usize).prop_map(Damage::Lose),
        1 => (1..40usize).prop_map(Damage::Repeat),
        1 => Just(Damage::End),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), damage), 1..4)
}

fn damage(stream: &mut Vec<u8>, damages: &[(prop::sample::Index, Damage)]) {
    for (at, damage) in damages {
        if stream.is_empty() {
            return;
        }
        let at = at.index(stream.len());
        let end = |len: usize| (at + len).min(stream.len());
        match *damage {
            Damage::Flip(bit) => stream[at] ^= 1 << bit,
            Damage::Lose(len) => drop(stream.drain(at..end(len))),
            Damage::Repeat(len) => {
                let again = stream[at..end(len)].to_vec();
                stream.splice(at..at, again);
            }
            Damage::End => stream.truncate(at),
        }
    }
}

proptest! {
    #[test]
    fn header_round_trip(kind in kinds(), length in 1..=CHUNK_LEN, chunk: u64, payload_crc: u32) {
        let header = Header { kind, length, chunk, payload_crc };
        let mut out = [0; HEADER_LEN];
        header.emit(&mut out);
        prop_assert_eq!(Header::parse(&out), Ok(Some(header)));
    }

    #[test]
    fn a_stream_gives_its_frames_wherever_it_is_cut(sent in frames(), pieces in pieces()) {
        let reading = read(&stream_of(&sent), &pieces);
        prop_assert_eq!(reading.end, Ok(Vec::new()));
        prop_assert_eq!(reading.frames.len(), sent.len());
        for ((header, came), (kind, chunk, payload)) in reading.frames.iter().zip(&sent) {
            prop_assert_eq!((header.kind, header.chunk), (*kind, *chunk));
            prop_assert_eq!(came, payload);
            prop_assert_eq!(crc32c(came), header.payload_crc);
        }
    }

    #[test]
    fn a_damaged_stream_gives_the_same_frames_and_error_wherever_it_is_cut(
        sent in frames(),
        damages in damages(),
        pieces in pieces(),
    ) {
        let mut stream = stream_of(&sent);
        damage(&mut stream, &damages);
        let whole = read(&stream, &[stream.len()]);
        prop_assert_eq!(read(&stream, &pieces), whole);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_change_their_mind(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        known in 0..=3usize,
        cut: prop::sample::Index,
    ) {
        // Noise alone would hardly ever come past the magic, so some of it starts like a frame.
        let bytes = [&[b'T', b'D', VERSION][..known], &bytes].concat();
        let whole = Frame::parse(&bytes);
        let early = Frame::parse(&bytes[..cut.index(bytes.len() + 1)]);
        prop_assert!(early == Ok(None) || early == whole, "{:?}, then {:?}", early, whole);
    }

    #[test]
    fn a_wrong_payload_is_not_intact(payload in prop::collection::vec(any::<u8>(), 1..=CHUNK_LEN), bit: prop::sample::Index) {
        let mut frame = stream_of(&[(Kind::Chunk, 7, payload.clone())]);
        prop_assert!(Frame::parse(&frame).unwrap().unwrap().is_intact());
        let bit = bit.index(payload.len() * 8);
        frame[HEADER_LEN + bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!Frame::parse(&frame).unwrap().unwrap().is_intact());
    }
}
