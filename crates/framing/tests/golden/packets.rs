//! The golden bytes of packets: `testdata/wire/packet-*.hex`, one UDP payload a file.

use framing::packet::{self, AckFields, Frame, Packet, PacketError};
use framing::{Feature, Hello, MAX_MESSAGE_LEN, Message, WireError};

use super::golden;

const CLIENT: u32 = 0x1122_3344;
const SERVER: u32 = 0x5566_7788;
const ECHO: u64 = 0x0102_0304_0506_0708;
const TOKEN: [u8; packet::TOKEN_LEN] =
    *b"\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x20\x21\x22\x23\x24\x25\x26\x27";

/// Checks that `write` gives exactly these bytes, and that they are read as the packet.
fn check_packet(name: &str, write: impl Fn(&mut Vec<u8>), packet: Packet<'_>) {
    let golden = golden(name);
    let mut out = vec![0xaa; 3];
    write(&mut out);
    assert_eq!(out[..3], [0xaa; 3], "{name}: what stood before it");
    assert_eq!(out[3..], golden, "{name}: written");
    assert_eq!(Packet::parse(&golden), Ok(packet), "{name}: parsed");
}

/// Checks that `write` makes exactly the frames of this Data packet, and that they are read as these.
fn check_frames(name: &str, cid: u32, pn: u64, write: impl Fn(&mut Vec<u8>), expected: &[Frame<'_>]) {
    let golden = golden(name);
    let mut out = Vec::new();
    packet::begin_data(&mut out, cid, pn);
    write(&mut out);
    packet::seal(&mut out, 0);
    assert_eq!(out, golden, "{name}: written");
    let Ok(Packet::Data { cid: to, pn: low, frames }) = Packet::parse(&golden) else { panic!("{name}") };
    assert_eq!((to, low), (cid, pn as u32), "{name}");
    let read: Result<Vec<Frame<'_>>, WireError> = packet::frames(frames).collect();
    assert_eq!(read.as_deref(), Ok(expected), "{name}: parsed");
}

/// Checks that these bytes are refused with exactly this error.
fn check_packet_refused(name: &str, error: PacketError) {
    assert_eq!(Packet::parse(&golden(name)), Err(error), "{name}");
}

/// Checks that the frames of this Data packet are these, the last of which is an error.
fn check_frames_refused(name: &str, expected: &[Result<Frame<'_>, WireError>]) {
    let golden = golden(name);
    let Ok(Packet::Data { frames, .. }) = Packet::parse(&golden) else { panic!("{name}") };
    let read: Vec<Result<Frame<'_>, WireError>> = packet::frames(frames).collect();
    assert_eq!(read, expected, "{name}");
}

#[test]
fn init() {
    let expected = Packet::Init { version: 1, client_cid: CLIENT, echo: ECHO };
    check_packet("packet-init", |out| packet::init(out, 1, CLIENT, ECHO), expected);
}

#[test]
fn init_of_another_version() {
    let expected = Packet::Init { version: 2, client_cid: CLIENT, echo: ECHO };
    assert_eq!(Packet::parse(&golden("packet-init-other-version")), Ok(expected));
}

#[test]
fn version() {
    let expected = Packet::Version { version: 1, client_cid: CLIENT, echo: ECHO };
    check_packet("packet-version", |out| packet::version(out, CLIENT, ECHO), expected);
}

#[test]
fn retry() {
    let expected = Packet::Retry { client_cid: CLIENT, server_cid: SERVER, echo: ECHO, token: TOKEN };
    check_packet("packet-retry", |out| packet::retry(out, CLIENT, SERVER, ECHO, &TOKEN), expected);
}

#[test]
fn connect() {
    let features = Feature::Put.bit() | Feature::Get.bit() | Feature::Blake3.bit();
    let hello = Message::Hello(Hello { features, software: "udp-client 0.1.0" });
    let mut stream = vec![0; 4];
    hello.encode(&mut stream);
    let len = (stream.len() - 4) as u32;
    assert!(len as usize <= MAX_MESSAGE_LEN);
    stream[..4].copy_from_slice(&len.to_be_bytes());

    let mut frames = Vec::new();
    packet::put_control(&mut frames, 0, &stream);
    let write = |out: &mut Vec<u8>| {
        let start = out.len();
        packet::begin_connect(out, SERVER, CLIENT, &TOKEN, 0);
        packet::put_control(out, 0, &stream);
        packet::seal(out, start);
    };
    let expected =
        Packet::Connect { server_cid: SERVER, client_cid: CLIENT, token: TOKEN, pn: 0, frames: &frames };
    check_packet("packet-connect", write, expected);
    let read: Vec<_> = packet::frames(&frames).collect();
    assert_eq!(read, [Ok(Frame::Control { offset: 0, bytes: &stream })]);
}

#[test]
fn part() {
    let write = |out: &mut Vec<u8>| {
        packet::put_part_header(out, 1, 0);
        out.extend_from_slice(b"hello");
    };
    check_frames("packet-part", SERVER, 7, write, &[Frame::Part { chunk: 1, unit: 0, payload: b"hello" }]);
}

#[test]
fn part_across_two_chunks() {
    let mut payload = vec![b'.'; packet::UNIT_LEN];
    payload.extend_from_slice(b"hello");
    let write = |out: &mut Vec<u8>| {
        packet::put_part_header(out, 0, 31);
        out.extend_from_slice(&payload);
    };
    let expected = Frame::Part { chunk: 0, unit: 31, payload: &payload };
    check_frames("packet-part-across", SERVER, 8, write, &[expected]);
}

#[test]
fn ack() {
    let fields = AckFields {
        largest: 9,
        ack_delay_us: 250,
        credit: 8_388_608,
        control_credit: 1_048_603,
        pair_time_us: 1200,
        pair_bytes: 14_270,
        ce: 0,
    };
    let mut out = Vec::new();
    packet::begin_data(&mut out, CLIENT, 3);
    assert_eq!(packet::put_ack(&mut out, &fields, [8..=9, 5..=5, 0..=3].into_iter(), 100), 3);
    packet::seal(&mut out, 0);
    let golden = golden("packet-ack");
    assert_eq!(out, golden);

    let Ok(Packet::Data { cid: CLIENT, pn: 3, frames }) = Packet::parse(&golden) else { panic!() };
    let read: Vec<_> = packet::frames(frames).collect();
    let [Ok(Frame::Ack(ack))] = read[..] else { panic!("{read:?}") };
    let read = AckFields {
        largest: ack.largest,
        ack_delay_us: ack.ack_delay_us,
        credit: ack.credit,
        control_credit: ack.control_credit,
        pair_time_us: ack.pair_time_us,
        pair_bytes: ack.pair_bytes,
        ce: ack.ce,
    };
    assert_eq!(read, fields);
    assert!(ack.ranges().eq([8..=9, 5..=5, 0..=3]));
}

#[test]
fn ack_policy() {
    let write = |out: &mut Vec<u8>| {
        packet::put_ack_policy(out, 6, 5000, 65_536);
        packet::put_ping(out);
    };
    let policy = Frame::AckPolicy { floor: 6, max_delay_us: 5000, max_bytes: 65_536 };
    check_frames("packet-ack-policy", SERVER, (1 << 32) + 10, write, &[policy, Frame::Ping]);
}

#[test]
fn path() {
    let (challenge, response) = ([1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11, 12, 13, 14, 15, 16]);
    let write = |out: &mut Vec<u8>| {
        packet::put_challenge(out, challenge);
        packet::put_response(out, response);
        packet::put_padding(out, 3);
    };
    let expected = [Frame::Challenge(challenge), Frame::Response(response), Frame::Padding(3)];
    check_frames("packet-path", CLIENT, 4, write, &expected);
}

#[test]
fn close() {
    let (code, reason) = (packet::CLOSE_PROTOCOL, "it sent chunk 7");
    let write = |out: &mut Vec<u8>| packet::put_close(out, code, reason);
    check_frames("packet-close", CLIENT, 5, write, &[Frame::Close { code, reason }]);
}

#[test]
fn datagram() {
    let write = |out: &mut Vec<u8>| {
        packet::put_ping(out);
        packet::put_datagram_header(out);
        out.extend_from_slice(b"tick");
    };
    check_frames("packet-datagram", SERVER, 11, write, &[Frame::Ping, Frame::Datagram(b"tick")]);
}

#[test]
fn reset() {
    let answered = golden("packet-part");
    let crc = u32::from_be_bytes(*answered.last_chunk().unwrap());
    assert!(answered.len() > packet::RESET_LEN);
    let expected = Packet::Reset { cid: SERVER, pn: 7, crc };
    check_packet("packet-reset", |out| packet::reset(out, SERVER, 7, crc), expected);
}

#[test]
fn plain() {
    let expected = Packet::Plain { cid: SERVER, pn: 7, chunk: 1, payload: b"hello", intact: true };
    check_packet("packet-plain", |out| packet::plain(out, SERVER, 7, 1, b"hello"), expected);
}

#[test]
fn plain_damaged() {
    let expected = Packet::Plain { cid: SERVER, pn: 7, chunk: 1, payload: b"helln", intact: false };
    assert_eq!(Packet::parse(&golden("packet-plain-damaged")), Ok(expected));
}

#[test]
fn short() {
    check_packet_refused("packet-short", PacketError::Short);
}

#[test]
fn wrong_kind() {
    check_packet_refused("packet-wrong-kind", PacketError::Kind(0xc8));
}

#[test]
fn wrong_magic() {
    check_packet_refused("packet-wrong-magic", PacketError::Magic);
}

#[test]
fn wrong_version() {
    check_packet_refused("packet-wrong-version", PacketError::Version(2));
}

#[test]
fn wrong_crc() {
    check_packet_refused("packet-wrong-crc", PacketError::Checksum);
}

#[test]
fn wrong_header_crc() {
    check_packet_refused("packet-wrong-header-crc", PacketError::Checksum);
}

#[test]
fn wrong_chunk() {
    check_packet_refused("packet-wrong-chunk", PacketError::Malformed("chunk number"));
}

#[test]
fn wrong_length() {
    check_packet_refused("packet-wrong-length", PacketError::Malformed("length"));
}

#[test]
fn unknown_frame() {
    check_frames_refused("packet-unknown-frame", &[Ok(Frame::Ping), Err(WireError::UnknownFrame(0x0a))]);
}

#[test]
fn wrong_unit() {
    let error = WireError::Invalid { field: "unit", value: 32 };
    check_frames_refused("packet-wrong-unit", &[Err(error)]);
}

#[test]
fn ack_below_zero() {
    let error = WireError::Invalid { field: "range length", value: 1 };
    check_frames_refused("packet-ack-below-zero", &[Err(error)]);
}

#[test]
fn close_too_long() {
    let error = WireError::TooLong { field: "reason", value: 257, limit: 256 };
    check_frames_refused("packet-close-too-long", &[Err(error)]);
}
