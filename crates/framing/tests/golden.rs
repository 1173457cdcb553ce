//! The golden bytes of `testdata/wire` and the examples of `PROTOCOL.md`, checked against the code.
//!
//! They were made once, by a program that shares nothing with this crate, and are never made again from the code.

mod hex;
#[path = "golden/packets.rs"]
mod packets;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use framing::frame::{Frame, FrameError, HEADER_LEN, Header, Kind, seal};
use framing::{
    Checksum, Digest, Entry, EntryKind, Fault, Feature, Generate, Get, Hasher, Hello, MAX_MESSAGE_LEN,
    Message, Name, Offer, Packet, PageBuilder, Part, Refusal, Sent, SentOutcome, Stored, Stream, Sums,
    Verdict, crc32c,
};

/// Checks that `message` is emitted as exactly these bytes, and that they are read as the message.
fn check_message(name: &str, message: Message<'_>) {
    let golden = golden(name);
    let mut frame = vec![0; HEADER_LEN];
    message.encode(&mut frame);
    seal(Kind::Message, 0, &mut frame);
    assert_eq!(frame, golden, "{name}: emitted");

    let frame = Frame::parse(&golden).expect("a frame").expect("a whole frame");
    assert_eq!((frame.header.kind, frame.header.chunk), (Kind::Message, 0), "{name}");
    assert!(frame.is_intact(), "{name}");
    assert_eq!(frame.len(), golden.len(), "{name}");
    let parsed = Message::decode(frame.payload).expect("a message");
    assert_eq!(parsed, message, "{name}: parsed");
    assert_eq!(format!("{parsed:?}"), format!("{message:?}"), "{name}: its records");
}

/// Checks that these bytes are refused with exactly this error, and for nothing that stands behind the header.
fn check_refused(name: &str, error: FrameError) {
    let golden = golden(name);
    assert_eq!(Frame::parse(&golden), Err(error), "{name}");
    assert_eq!(Frame::parse(&golden[..golden.len().min(HEADER_LEN)]), Err(error), "{name}: its header");
}

#[test]
fn hello() {
    let features = Feature::Put.bit() | Feature::Get.bit() | Feature::Blake3.bit();
    check_message("hello", Message::Hello(Hello { features, software: "tcp-server 0.1.0" }));
}

#[test]
fn put() {
    let offer = Offer { checksum: Checksum::Md5, plain: false, entries: 2, bytes: 4101 };
    check_message("put", Message::Put(offer));
}

#[test]
fn put_plain() {
    let offer = Offer { checksum: Checksum::Md5, plain: true, entries: 2, bytes: 4101 };
    check_message("put-plain", Message::Put(offer));
}

#[test]
fn get_plain() {
    let mut page = PageBuilder::default();
    page.push(&Name(b"media"));
    let get = Get { checksum: Checksum::Md5, plain: true, follow: false, names: page.page() };
    check_message("get-plain", Message::Get(get));
}

#[test]
fn faults() {
    let mut page = PageBuilder::default();
    page.push(&(1..2));
    page.push(&(3..10));
    check_message("faults", Message::Faults(Fault::Lost, page.page()));
}

#[test]
fn stored_damaged() {
    let mut page = PageBuilder::default();
    page.push(&Stored {
        index: 1,
        verdict: Verdict::Damaged(Hasher::digest(
            Checksum::Md5,
            &[[b'.'; 4096].as_slice(), &[0; 5]].concat(),
        )),
        name: b"received-media/note.damaged.txt",
    });
    check_message("stored-damaged", Message::Stored(page.page()));
}

#[test]
fn entries() {
    let mut page = PageBuilder::default();
    page.push(&Entry {
        kind: EntryKind::Directory,
        mode: 0o755,
        mtime: 1_000_000_000,
        mtime_nanos: 500_000_000,
        path: b"media",
    });
    page.push(&Entry {
        kind: EntryKind::File { len: 4101 },
        mode: 0o644,
        mtime: 1_000_000_000,
        mtime_nanos: 500_000_000,
        path: b"media/note.txt",
    });
    check_message("entries", Message::Entries(page.page()));
}

#[test]
fn chunk() {
    let golden = golden("chunk");
    let mut frame = vec![0; HEADER_LEN];
    frame.extend_from_slice(b"hello");
    seal(Kind::Chunk, 1, &mut frame);
    assert_eq!(frame, golden);

    let frame = Frame::parse(&golden).unwrap().unwrap();
    let header = Header { kind: Kind::Chunk, length: 5, chunk: 1, payload_crc: 0x9a71_bb4c };
    assert_eq!(frame, Frame { header, payload: b"hello" });
    assert!(frame.is_intact());
}

#[test]
fn want() {
    let mut page = PageBuilder::default();
    page.push(&(1..2));
    page.push(&(3..10));
    check_message("want", Message::Want(page.page()));
}

#[test]
fn sums() {
    let file = note();
    let sums = [crc32c(&file[..4096]).to_be_bytes(), crc32c(&file[4096..]).to_be_bytes()];
    check_message("sums", Message::Sums(Sums::new(0, sums.as_flattened()).unwrap()));
}

#[test]
fn sent() {
    let mut page = PageBuilder::default();
    page.push(&Sent { index: 1, outcome: SentOutcome::Digest(digest_of_note()) });
    check_message("sent", Message::Sent(page.page()));
}

#[test]
fn stored() {
    let mut page = PageBuilder::default();
    page.push(&Stored { index: 0, verdict: Verdict::Directory, name: b"received-media" });
    page.push(&Stored {
        index: 1,
        verdict: Verdict::Stored(digest_of_note()),
        name: b"received-media/note.txt",
    });
    check_message("stored", Message::Stored(page.page()));
}

#[test]
fn end() {
    check_message("end", Message::End(Part::Manifest));
}

#[test]
fn refuse() {
    let text = "chunk 7 was not asked for";
    check_message("refuse", Message::Refuse { refusal: Refusal::Protocol, text });
}

#[test]
fn echo_and_its_answer() {
    check_message("echo", Message::Echo(b"hello"));
    check_message("echoed", Message::Echoed(b""));
}

#[test]
fn directories() {
    check_message("list", Message::List(b""));
    check_message("end-listing", Message::End(Part::Listing));
    check_message("chdir", Message::Chdir(b"media/old songs"));
    check_message("here", Message::Here(b"media/old songs"));
}

#[test]
fn generate() {
    let (length, seed) = (123_456_789, 0x0102_0304_0506_0708);
    let generate = Generate { checksum: Checksum::Blake3, plain: false, length, seed };
    check_message("generate", Message::Generate(generate));
    check_message("making", Message::Making { length, seed });
}

#[test]
fn stream() {
    let stream = Stream { count: 100, interval: 10_000_000, size: 256 };
    check_message("stream", Message::Stream(stream));
    check_message("streaming", Message::Streaming(stream));
    let filler: Vec<u8> = (0..15).collect();
    check_message("packet", Message::Packet(Packet { number: 3, sent: 30_500_000, filler: &filler }));
    check_message("stop", Message::Stop);
    check_message("streamed", Message::Streamed(100));
}

#[test]
fn declined() {
    let text = "at most 123456789 characters";
    check_message("declined", Message::Declined { refusal: Refusal::Policy, text });
}

#[test]
fn wrong_magic() {
    check_refused("wrong-magic", FrameError::NotAFrame(*b"GE"));
}

#[test]
fn wrong_version() {
    check_refused("wrong-version", FrameError::Version(2));
}

#[test]
fn wrong_header_crc() {
    check_refused("wrong-header-crc", FrameError::HeaderDamaged);
}

#[test]
fn wrong_kind() {
    check_refused("wrong-kind", FrameError::UnknownKind(3));
}

#[test]
fn too_long_chunk() {
    check_refused("too-long-chunk", FrameError::Length(4097));
}

#[test]
fn too_long_message() {
    check_refused("too-long-message", FrameError::Length(MAX_MESSAGE_LEN as u32 + 1));
}

#[test]
fn empty() {
    check_refused("empty", FrameError::Length(0));
}

#[test]
fn wrong_payload_crc() {
    let golden = golden("wrong-payload-crc");
    let frame = Frame::parse(&golden).unwrap().unwrap();
    assert_eq!((frame.header.kind, frame.header.chunk, frame.payload), (Kind::Chunk, 1, &b"helln"[..]));
    assert!(!frame.is_intact());
}

/// A golden file that no test reads would prove nothing.
#[test]
fn every_golden_file_has_its_test() {
    let files: BTreeSet<String> = std::fs::read_dir(wire_dir())
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let tests = [include_str!("golden.rs"), include_str!("golden/packets.rs")].concat();
    for file in &files {
        let called = tests.contains(&format!("(\"{file}\""));
        assert!(called, "no test reads testdata/wire/{file}.hex");
    }
    assert_eq!(files.len(), 63);
}

/// The worked examples of the document are the golden files: annotated, but not one byte different.
#[test]
fn protocol_document_shows_the_golden_bytes() {
    let blocks = hex_blocks(include_str!("../../../PROTOCOL.md"));
    let packets =
        ["packet-init", "packet-retry", "packet-connect", "packet-part", "packet-ack", "packet-plain"];
    assert_eq!(blocks[..2], [golden("hello"), golden("chunk")]);
    assert_eq!(blocks[2..8], packets.map(golden));
    // The others are of sealed streams: `seal` checks them.
    let frame = Frame::parse(&blocks[0]).unwrap().unwrap();
    assert!(frame.is_intact());
    assert!(matches!(Message::decode(frame.payload), Ok(Message::Hello(_))));
    let frame = Frame::parse(&blocks[1]).unwrap().unwrap();
    assert!(frame.is_intact() && frame.header.kind == Kind::Chunk);
}

/// The bytes of each block that is fenced as `hex`. In it, two spaces and more end the bytes of a line.
fn hex_blocks(document: &str) -> Vec<Vec<u8>> {
    let fenced = document.split("```hex\n").skip(1);
    fenced
        .map(|rest| {
            let block = rest.split("```").next().expect("split gives at least one");
            let digits: Vec<&str> =
                block.lines().map(|line| line.split("  ").next().expect("the same")).collect();
            hex::bytes(&digits.join("\n"))
        })
        .collect()
}

/// The file `media/note.txt` that the golden messages speak of.
fn note() -> Vec<u8> {
    let mut file = vec![b'.'; 4096];
    file.extend_from_slice(b"hello");
    file
}

fn digest_of_note() -> Digest {
    Hasher::digest(Checksum::Md5, &note())
}

fn golden(name: &str) -> Vec<u8> {
    let path = wire_dir().join(name).with_extension("hex");
    let text = std::fs::read_to_string(&path).expect("a golden file");
    hex::bytes(&text)
}

fn wire_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/wire")
}
