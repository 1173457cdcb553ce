//! Messages: every one of them as bytes, every wrong form of them, and round trips of whatever can be said.

mod hex;

use std::collections::BTreeSet;
use std::ops::Range;

use framing::{
    Checksum, Decision, DecisionRun, Digest, Entry, EntryKind, Fault, Feature, Generate, Get, Hello,
    MAX_ECHO_LEN, MAX_MESSAGE_LEN, MAX_PATH_LEN, MAX_SOFTWARE_LEN, MAX_SUMS, MAX_TEXT_LEN, Message, Name,
    Offer, PACKET_HEAD_LEN, Packet, Page, PageBuilder, Part, Record, Refusal, Sent, SentOutcome, Stored,
    Stream, Sums, Verdict, WireError,
};
use proptest::prelude::*;

/// How many kinds of messages there are; the first is 1.
const KINDS: u8 = 0x1d;

/// A message, its bytes, and where it may be cut off and still be a message: between the records of a page.
struct Sample {
    message: Message<'static>,
    bytes: Vec<u8>,
    ends: &'static [usize],
}

fn sample(hex: &str, message: Message<'static>) -> Sample {
    Sample { message, bytes: hex::bytes(hex), ends: &[] }
}

fn paged(hex: &str, message: Message<'static>, ends: &'static [usize]) -> Sample {
    Sample { message, bytes: hex::bytes(hex), ends }
}

/// A page that lives as long as the tests.
fn page<T: Record<'static> + 'static>(records: impl IntoIterator<Item = T>) -> Page<'static, T> {
    let builder: &mut PageBuilder = Box::leak(Box::default());
    records.into_iter().for_each(|record| builder.push(&record));
    builder.page()
}

fn digest(checksum: Checksum) -> Digest {
    let bytes: Vec<u8> = (0..).take(checksum.digest_len()).collect();
    Digest::from_bytes(checksum, &bytes).expect("as many bytes as it has")
}

/// Every kind of message.
fn samples() -> Vec<Sample> {
    let mut samples = greetings();
    samples.extend(lists());
    samples.extend(records());
    samples.extend(requests());
    let parts =
        [Part::Manifest, Part::Compare, Part::Sums, Part::Want, Part::Chunks, Part::Transfer, Part::Listing];
    samples.extend(
        (1..).zip(parts).map(|(code, part): (u8, _)| sample(&format!("0d {code:02x}"), Message::End(part))),
    );
    samples.push(sample("0e", Message::Working));
    let refusals = [
        Refusal::Busy,
        Refusal::Policy,
        Refusal::NotFound,
        Refusal::NoSpace,
        Refusal::Storage,
        Refusal::Protocol,
        Refusal::Stopping,
    ];
    samples.extend((1..).zip(refusals).flat_map(|(code, refusal): (u8, _)| {
        [
            sample(&format!("0f {code:02x} 0003 c3a421"), Message::Refuse { refusal, text: "ä!" }),
            sample(&format!("1d {code:02x} 0003 c3a421"), Message::Declined { refusal, text: "ä!" }),
        ]
    }));
    samples
}

fn greetings() -> Vec<Sample> {
    let head = Offer { checksum: Checksum::Md5, plain: false, entries: 3, bytes: 1 << 32 };
    let blake3 = Offer { checksum: Checksum::Blake3, ..head };
    let names = || page([Name(b"a"), Name(b"b/c")]);
    vec![
        sample("01 80000005 0003 612031", Message::Hello(Hello { features: 0x8000_0005, software: "a 1" })),
        sample("02 01 00000003 0000000100000000", Message::Put(head)),
        paged(
            "03 01 01 000161 0003622f63",
            Message::Get(Get { checksum: Checksum::Md5, plain: false, follow: true, names: names() }),
            &[3, 6],
        ),
        paged(
            "03 82 00",
            Message::Get(Get { checksum: Checksum::Blake3, plain: true, follow: false, names: page([]) }),
            &[],
        ),
        sample("04 02 00000003 0000000100000000", Message::Offer(blake3)),
        sample("02 81 00000003 0000000100000000", Message::Put(Offer { plain: true, ..head })),
    ]
}

fn lists() -> Vec<Sample> {
    const RANGES: &str = "0000000000000001 0000000000000002 0000010000000000 0000000000000001";
    const ENDS: &[usize] = &[1, 17];
    let ranges = || page([1..3, 1 << 40..(1 << 40) + 1]);
    vec![
        paged(&format!("06 {RANGES}"), Message::Holes(ranges()), ENDS),
        paged(&format!("07 {RANGES}"), Message::Compare(ranges()), ENDS),
        paged(&format!("0a {RANGES}"), Message::Want(ranges()), ENDS),
        paged("0a", Message::Want(page([])), &[]),
        paged(&format!("10 01 {RANGES}"), Message::Faults(Fault::Lost, ranges()), &[2, 18]),
        paged("10 02", Message::Faults(Fault::Damaged, page([])), &[]),
        paged("10 03", Message::Faults(Fault::Duplicated, page([])), &[]),
        paged("10 04", Message::Faults(Fault::Reordered, page([])), &[]),
        paged(
            "08 0000000000000007 e3069283 00000000",
            Message::Sums(Sums::new(7, &[0xe3, 0x06, 0x92, 0x83, 0, 0, 0, 0]).expect("two sums")),
            &[13],
        ),
        paged(
            "09 00000001 01 00000002 02 00000003 03 00010000 04",
            Message::Decisions(page([
                DecisionRun { count: 1, decision: Decision::Take },
                DecisionRun { count: 2, decision: Decision::Verify },
                DecisionRun { count: 3, decision: Decision::Keep },
                DecisionRun { count: 65536, decision: Decision::Refuse },
            ])),
            &[1, 6, 11, 16],
        ),
    ]
}

fn records() -> Vec<Sample> {
    const MD5: &str = "01 000102030405060708090a0b0c0d0e0f";
    const BLAKE3: &str = "02 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let (md5, blake3) = (digest(Checksum::Md5), digest(Checksum::Blake3));
    let sent = |index, outcome| Sent { index, outcome };
    let stored = |index, verdict, name| Stored { index, verdict, name };
    let file = Entry {
        kind: EntryKind::File { len: 4097 },
        mode: 0o640,
        mtime: 1_000_000_000,
        mtime_nanos: 999_999_999,
        path: b"d/\xff",
    };
    let directory = Entry { kind: EntryKind::Directory, mode: 0o777, mtime: -2, mtime_nanos: 0, path: b"d" };
    vec![
        paged(
            "05 02 01ff 0000000000000000 fffffffffffffffe 00000000 0001 64
             01 01a0 0000000000001001 000000003b9aca00 3b9ac9ff 0003 642fff",
            Message::Entries(page([directory, file])),
            &[1, 27],
        ),
        paged(
            &format!("0b 00000000 {MD5} 00000001 {BLAKE3} 00000002 10 00000003 11 0004 676f6e65"),
            Message::Sent(page([
                sent(0, SentOutcome::Digest(md5)),
                sent(1, SentOutcome::Digest(blake3)),
                sent(2, SentOutcome::Changed),
                sent(3, SentOutcome::Unreadable("gone")),
            ])),
            &[1, 22, 59, 64],
        ),
        paged(
            &format!(
                "0c 00000000 01 {MD5} 0001 61  00000001 02 {BLAKE3} 0001 62  00000002 03 0001 63
                 00000003 04 0000  00000004 05 {MD5} 0000  00000005 06 0000  00000006 07 0002 6e6f 0000
                 00000007 08 {MD5} 0001 64"
            ),
            Message::Stored(page([
                stored(0, Verdict::Stored(md5), b"a"),
                stored(1, Verdict::AlreadyThere(blake3), b"b"),
                stored(2, Verdict::Directory, b"c"),
                stored(3, Verdict::Kept, b""),
                stored(4, Verdict::Differs(md5), b""),
                stored(5, Verdict::NotSent, b""),
                stored(6, Verdict::Refused("no"), b""),
                stored(7, Verdict::Damaged(md5), b"d"),
            ])),
            &[1, 26, 67, 75, 82, 106, 113, 124],
        ),
    ]
}

/// What is asked for besides files, and the answers.
fn requests() -> Vec<Sample> {
    const PLAN: &str = "0000000000000064 0000000000989680 00000100";
    let plan = Stream { count: 100, interval: 10_000_000, size: 256 };
    let asked = Generate { checksum: Checksum::Md5, plain: false, length: 1000, seed: u64::MAX - 1 };
    let filled = Packet { number: 7, sent: 1 << 40, filler: b"..." };
    vec![
        paged("11 6869", Message::Echo(b"hi"), &[1, 2]),
        paged("11", Message::Echo(b""), &[]),
        paged("12 00ff", Message::Echoed(b"\0\xff"), &[1, 2]),
        sample("13 0000", Message::List(b"")),
        sample("13 0003 612fff", Message::List(b"a/\xff")),
        sample("14 0001 61", Message::Chdir(b"a")),
        sample("15 0001 61", Message::Here(b"a")),
        sample("16 01 00000000000003e8 fffffffffffffffe", Message::Generate(asked)),
        sample(
            "16 82 00000000000003e8 fffffffffffffffe",
            Message::Generate(Generate { checksum: Checksum::Blake3, plain: true, ..asked }),
        ),
        sample(
            "17 00000000000003e8 fffffffffffffffe",
            Message::Making { length: asked.length, seed: asked.seed },
        ),
        sample(&format!("18 {PLAN}"), Message::Stream(plan)),
        sample(&format!("19 {PLAN}"), Message::Streaming(plan)),
        sample("1a 0000000000000064", Message::Streamed(100)),
        sample("1b", Message::Stop),
        paged("1c 0000000000000007 0000010000000000 2e2e2e", Message::Packet(filled), &[17, 18, 19]),
    ]
}

fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

#[test]
fn every_kind_is_among_the_samples() {
    let kinds: BTreeSet<u8> = samples().iter().map(|sample| sample.bytes[0]).collect();
    assert!(kinds.into_iter().eq(1..=KINDS));
    let names: BTreeSet<&str> = samples().iter().map(|sample| sample.message.name()).collect();
    assert_eq!(names.len(), usize::from(KINDS));
    for Sample { message, .. } in samples() {
        assert!(format!("{message:?}").starts_with(message.name()));
    }
}

#[test]
fn parse() {
    for Sample { message, bytes, .. } in samples() {
        let parsed = Message::decode(&bytes).unwrap();
        assert_eq!(parsed, message);
        assert_eq!(format!("{parsed:?}"), format!("{message:?}"), "the records of its page");
    }
}

#[test]
fn emit() {
    for Sample { message, bytes, .. } in samples() {
        assert_eq!(encoded(&message), bytes, "{message:?}");
    }
}

/// A page that is cut between two records is a shorter page: that it came whole is what the frame's checksum says.
#[test]
fn every_truncated_prefix_is_refused() {
    for Sample { message, bytes, ends } in samples() {
        for cut in 0..bytes.len() {
            let parsed = Message::decode(&bytes[..cut]);
            if ends.contains(&cut) {
                assert_eq!(encoded(&parsed.unwrap()), bytes[..cut], "{message:?}");
            } else {
                let refused = match message {
                    Message::Sums(_) if cut >= 9 => {
                        WireError::Invalid { field: "number of sums", value: cut as u64 - 9 }
                    }
                    _ => WireError::Short,
                };
                assert_eq!(parsed, Err(refused), "{cut} bytes of {message:?}");
            }
        }
    }
}

#[test]
fn trailing_bytes_are_refused() {
    let all_that_is_left =
        |message: &Message<'_>| matches!(message, Message::Echo(_) | Message::Echoed(_) | Message::Packet(_));
    for Sample { message, mut bytes, .. } in samples() {
        bytes.push(0);
        if all_that_is_left(&message) {
            assert_eq!(encoded(&Message::decode(&bytes).unwrap()), bytes);
            continue;
        }
        let refused = match message {
            Message::Sums(_) => WireError::Invalid { field: "number of sums", value: 9 },
            Message::Hello(_)
            | Message::Put(_)
            | Message::Offer(_)
            | Message::End(_)
            | Message::Working
            | Message::Refuse { .. }
            | Message::List(_)
            | Message::Chdir(_)
            | Message::Here(_)
            | Message::Generate(_)
            | Message::Making { .. }
            | Message::Stream(_)
            | Message::Streaming(_)
            | Message::Streamed(_)
            | Message::Stop
            | Message::Declined { .. } => WireError::Trailing(1),
            _ => WireError::Short,
        };
        assert_eq!(Message::decode(&bytes), Err(refused), "{message:?}");
    }
}

#[test]
fn features_have_their_bits_and_names() {
    let features = [
        (Feature::Put, "taking files"),
        (Feature::Get, "giving files"),
        (Feature::Blake3, "blake3"),
        (Feature::Plain, "plain transfers"),
        (Feature::Echo, "echo"),
        (Feature::List, "listing files"),
        (Feature::Generate, "generated files"),
        (Feature::Stream, "streams"),
    ];
    assert_eq!(features.map(|(feature, _)| feature), Feature::ALL);
    for (place, (feature, name)) in features.into_iter().enumerate() {
        assert_eq!((feature.bit(), feature.name()), (1 << place, name));
    }
}

#[test]
fn every_unknown_kind_is_refused_by_its_number() {
    for kind in (0..=u8::MAX).filter(|kind| !(1..=KINDS).contains(kind)) {
        assert_eq!(Message::decode(&[kind, 0, 0]), Err(WireError::UnknownMessage(kind)));
    }
    assert_eq!(Message::decode(&[]), Err(WireError::Short));
}

#[test]
fn every_code_without_a_meaning_is_refused() {
    let refused = |hex: &str, field, value| {
        assert_eq!(Message::decode(&hex::bytes(hex)), Err(WireError::Invalid { field, value }), "{hex}");
    };
    for checksum in [0, 3, 0x80, 0x83, 0xff] {
        refused(&format!("02 {checksum:02x} 00000003 0000000000000005"), "checksum", checksum);
        refused(&format!("03 {checksum:02x} 01"), "checksum", checksum);
        refused(&format!("04 {checksum:02x} 00000003 0000000000000005"), "checksum", checksum);
        refused(&format!("16 {checksum:02x} 0000000000000003 0000000000000005"), "checksum", checksum);
    }
    for follow in [2, 0xff] {
        refused(&format!("03 01 {follow:02x}"), "follow flag", follow);
    }
    for part in [0, 8, 0xff] {
        refused(&format!("0d {part:02x}"), "part", part);
    }
    for fault in [0, 5, 0xff] {
        refused(&format!("10 {fault:02x}"), "fault", fault);
    }
    for refusal in [0, 8, 0xff] {
        refused(&format!("0f {refusal:02x} 0000"), "refusal", refusal);
        refused(&format!("1d {refusal:02x} 0000"), "refusal", refusal);
    }
}

#[test]
fn text_is_utf8() {
    let decode = |hex| Message::decode(hex).map(|message| message.name());
    assert_eq!(decode(b"\x01\0\0\0\0\0\x01\xff"), Err(WireError::NotText("program name")));
    assert_eq!(decode(b"\x0f\x01\0\x01\xff"), Err(WireError::NotText("reason")));
    assert_eq!(decode(b"\x1d\x01\0\x01\xff"), Err(WireError::NotText("reason")));
}

/// The limit [`MAX_SOFTWARE_LEN`].
#[test]
fn very_long_software() {
    assert_eq!(
        Message::decode(&hex::bytes("01 00000000 0041")),
        Err(WireError::TooLong { field: "program name", value: 65, limit: MAX_SOFTWARE_LEN as u64 })
    );
    let longest = "s".repeat(MAX_SOFTWARE_LEN);
    let message = Message::Hello(Hello { features: 0, software: &longest });
    assert_eq!(Message::decode(&encoded(&message)), Ok(message));
}

/// The limit [`MAX_TEXT_LEN`].
#[test]
fn very_long_text() {
    assert_eq!(
        Message::decode(&hex::bytes("0f 01 0401")),
        Err(WireError::TooLong { field: "reason", value: 1025, limit: MAX_TEXT_LEN as u64 })
    );
    let longest = "t".repeat(MAX_TEXT_LEN);
    let (refusal, text) = (Refusal::Busy, &longest[..]);
    for message in [Message::Refuse { refusal, text }, Message::Declined { refusal, text }] {
        assert_eq!(Message::decode(&encoded(&message)), Ok(message));
    }
}

/// The limit [`MAX_PATH_LEN`], of a name asked for, of an entry, of a stored file and of a directory.
#[test]
fn very_long_path() {
    let too_long = Err(WireError::TooLong { field: "path", value: 4097, limit: MAX_PATH_LEN as u64 });
    let entry = "05 01 01a4 0000000000000000 0000000000000000 00000000 1001";
    for hex in ["03 01 00 1001", entry, "0c 00000000 04 1001", "13 1001", "14 1001", "15 1001"] {
        assert_eq!(Message::decode(&hex::bytes(hex)), too_long);
    }
    let longest = vec![b'n'; MAX_PATH_LEN].leak();
    let message = Message::Entries(page([Entry {
        kind: EntryKind::Directory,
        mode: 0,
        mtime: 0,
        mtime_nanos: 0,
        path: longest,
    }]));
    assert_eq!(Message::decode(&encoded(&message)), Ok(message));
}

/// The limit [`MAX_SUMS`].
#[test]
fn very_many_sums() {
    let sums = vec![0xab; 4 * (MAX_SUMS + 1)];
    let most = Sums::new(1, &sums[4..]).unwrap();
    assert_eq!(most.chunks(), 1..1 + MAX_SUMS as u64);
    let mut bytes = encoded(&Message::Sums(most));
    assert_eq!(Message::decode(&bytes), Ok(Message::Sums(most)));
    bytes.extend_from_slice(&sums[..4]);
    let refused = WireError::Invalid { field: "number of sums", value: sums.len() as u64 };
    assert_eq!(Message::decode(&bytes), Err(refused));
    assert_eq!(Sums::new(1, &sums), None);
}

/// The limit [`MAX_ECHO_LEN`]; what is sent is cut there.
#[test]
fn very_long_echo() {
    let text = vec![b'e'; MAX_ECHO_LEN + 1];
    let longest = Message::Echo(&text[1..]);
    assert_eq!(encoded(&Message::Echo(&text)), encoded(&longest));
    assert_eq!(Message::decode(&encoded(&longest)), Ok(longest));
    for kind in [0x11, 0x12] {
        assert_eq!(
            Message::decode(&[&[kind], &text[..]].concat()),
            Err(WireError::TooLong { field: "text to echo", value: 32769, limit: MAX_ECHO_LEN as u64 })
        );
    }
}

/// A packet with a filler is of exactly the size that was asked for.
#[test]
fn a_packet_has_a_head_of_so_many_bytes() {
    let filler = vec![0; MAX_MESSAGE_LEN - PACKET_HEAD_LEN];
    let packet = |filler| Message::Packet(Packet { number: u64::MAX, sent: u64::MAX, filler });
    assert_eq!(encoded(&packet(&[])).len(), PACKET_HEAD_LEN);
    assert_eq!(encoded(&packet(&filler)).len(), MAX_MESSAGE_LEN);
    assert_eq!(Message::decode(&encoded(&packet(&filler))), Ok(packet(&filler)));
}

#[test]
fn sums_end_below_the_last_number() {
    assert_eq!(Sums::new(0, &[]), None);
    assert_eq!(Sums::new(0, &[0; 7]), None);
    assert_eq!(Sums::new(u64::MAX, &[0; 4]), None);
    let last = Sums::new(u64::MAX - 2, &[0, 0, 0, 1, 0, 0, 0, 2]).unwrap();
    assert_eq!(last.chunks(), u64::MAX - 2..u64::MAX);
    assert_eq!(last.iter().collect::<Vec<_>>(), [1, 2]);
}

/// What a side says of itself can't break the link: it is cut at a character, and stays readable.
#[test]
fn text_over_its_limit_is_cut_when_sent() {
    let software = format!("{}ä", "s".repeat(MAX_SOFTWARE_LEN - 1));
    let bytes = encoded(&Message::Hello(Hello { features: 0, software: &software }));
    let kept = Hello { features: 0, software: &software[..MAX_SOFTWARE_LEN - 1] };
    assert_eq!(Message::decode(&bytes), Ok(Message::Hello(kept)));
    let text = "€".repeat(MAX_TEXT_LEN);
    let refusal = Refusal::Storage;
    let bytes = encoded(&Message::Refuse { refusal, text: &text });
    assert_eq!(Message::decode(&bytes), Ok(Message::Refuse { refusal, text: &text[..1023] }));
}

/// The limit [`MAX_MESSAGE_LEN`], from the sending side: a full page fits into its message, and wastes little of it.
#[test]
fn a_full_page_fits_its_message() {
    const MOST_SLACK: usize = 6 * 1024;
    fn fill<T: Record<'static> + 'static>(record: &T) -> Page<'static, T> {
        let builder: &mut PageBuilder = Box::leak(Box::default());
        while !builder.is_full() {
            builder.push(record);
        }
        builder.page()
    }
    let path = vec![b'n'; MAX_PATH_LEN].leak();
    let text = "t".repeat(MAX_TEXT_LEN).leak();
    let directory = Entry { kind: EntryKind::Directory, mode: 0, mtime: 0, mtime_nanos: 0, path };
    let names = fill(&Name(path));
    let full = [
        Message::Get(Get { checksum: Checksum::Md5, plain: false, follow: false, names }),
        Message::Get(Get { checksum: Checksum::Md5, plain: false, follow: false, names: fill(&Name(b"n")) }),
        Message::Entries(fill(&directory)),
        Message::Entries(fill(&Entry { path: b"n", ..directory })),
        Message::Want(fill(&(0..1))),
        Message::Faults(Fault::Lost, fill(&(0..1))),
        Message::Decisions(fill(&DecisionRun { count: 1, decision: Decision::Take })),
        Message::Sent(fill(&Sent { index: 0, outcome: SentOutcome::Unreadable(text) })),
        Message::Sent(fill(&Sent { index: 0, outcome: SentOutcome::Digest(digest(Checksum::Blake3)) })),
        Message::Stored(fill(&Stored { index: 0, verdict: Verdict::Refused(text), name: path })),
    ];
    for message in full {
        let bytes = encoded(&message);
        let possible = MAX_MESSAGE_LEN - MOST_SLACK..=MAX_MESSAGE_LEN;
        assert!(possible.contains(&bytes.len()), "{} of {} bytes", message.name(), bytes.len());
        assert_eq!(Message::decode(&bytes), Ok(message));
    }
}

fn checksums() -> impl Strategy<Value = Checksum> {
    prop_oneof![Just(Checksum::Md5), Just(Checksum::Blake3)]
}

fn digests() -> impl Strategy<Value = Digest> {
    (checksums(), any::<[u8; 32]>()).prop_map(|(checksum, bytes)| {
        Digest::from_bytes(checksum, &bytes[..checksum.digest_len()]).expect("as many bytes as it has")
    })
}

fn paths() -> impl Strategy<Value = Vec<u8>> {
    let lengths = prop_oneof![8 => 0..20usize, 1 => Just(MAX_PATH_LEN)];
    lengths.prop_flat_map(|len| prop::collection::vec(any::<u8>(), len))
}

fn texts() -> impl Strategy<Value = String> {
    // At most 4 bytes a character, so never over the limit of the shortest kind of text.
    proptest::string::string_regex("\\PC{0,16}").expect("a regex")
}

fn ranges() -> impl Strategy<Value = Range<u64>> {
    (any::<u64>(), any::<u64>())
        .prop_filter_map("at least one", |(a, b)| (a != b).then(|| a.min(b)..a.max(b)))
}

fn entry_kinds() -> impl Strategy<Value = EntryKind> {
    prop_oneof![any::<u64>().prop_map(|len| EntryKind::File { len }), Just(EntryKind::Directory)]
}

/// What [`Sent`] and [`Stored`] may say, as numbers and a text that they can borrow.
fn outcome<'a>(code: u8, digest: Digest, reason: &'a str) -> SentOutcome<'a> {
    match code % 3 {
        0 => SentOutcome::Digest(digest),
        1 => SentOutcome::Changed,
        _ => SentOutcome::Unreadable(reason),
    }
}

fn verdict<'a>(code: u8, digest: Digest, reason: &'a str) -> Verdict<'a> {
    match code % 8 {
        0 => Verdict::Stored(digest),
        1 => Verdict::AlreadyThere(digest),
        2 => Verdict::Directory,
        3 => Verdict::Kept,
        4 => Verdict::Differs(digest),
        5 => Verdict::NotSent,
        6 => Verdict::Damaged(digest),
        _ => Verdict::Refused(reason),
    }
}

/// There and back: what comes out of the page is what was put into it.
macro_rules! check_page {
    ($kind:ident, $records:expr) => {{
        let records: Vec<_> = $records;
        let mut builder = PageBuilder::default();
        records.iter().for_each(|record| builder.push(record));
        let bytes = encoded(&Message::$kind(builder.page()));
        let Ok(Message::$kind(page)) = Message::decode(&bytes) else { panic!("{bytes:02x?}") };
        prop_assert_eq!(page.iter().collect::<Vec<_>>(), records);
    }};
}

/// There and back, of a message without a page.
fn check_round_trip(message: Message<'_>) {
    assert_eq!(Message::decode(&encoded(&message)), Ok(message));
}

/// A few things that happen to bytes.
fn damaged(mut bytes: Vec<u8>, damages: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    for &(at, what, byte) in damages {
        let at = at.index(bytes.len() + 1);
        match what % 4 {
            0 if at < bytes.len() => bytes[at] = byte,
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.truncate(at),
            _ => bytes.insert(at, byte),
        }
    }
    bytes
}

fn damages() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    prop::collection::vec(any::<(prop::sample::Index, u8, u8)>(), 0..4)
}

/// Whatever decodes is in the one form that it is emitted in, and all of its page can be read.
fn check_canonical(bytes: &[u8]) -> bool {
    let Ok(message) = Message::decode(bytes) else { return false };
    assert_eq!(encoded(&message), bytes, "{message:?}");
    true
}

proptest! {
    #[test]
    fn hello_round_trip(features: u32, software in texts()) {
        check_round_trip(Message::Hello(Hello { features, software: &software }));
    }

    #[test]
    fn put_and_offer_round_trip(checksum in checksums(), plain: bool, entries: u32, bytes: u64) {
        let head = Offer { checksum, plain, entries, bytes };
        check_round_trip(Message::Put(head));
        check_round_trip(Message::Offer(head));
    }

    #[test]
    fn get_round_trip(
        checksum in checksums(),
        plain: bool,
        follow: bool,
        paths in prop::collection::vec(paths(), 0..8),
    ) {
        let names: Vec<_> = paths.iter().map(|path| Name(path)).collect();
        let mut builder = PageBuilder::default();
        names.iter().for_each(|name| builder.push(name));
        let bytes = encoded(&Message::Get(Get { checksum, plain, follow, names: builder.page() }));
        let Ok(Message::Get(get)) = Message::decode(&bytes) else { panic!("{bytes:02x?}") };
        prop_assert_eq!((get.checksum, get.plain, get.follow), (checksum, plain, follow));
        prop_assert_eq!(get.names.iter().collect::<Vec<_>>(), names);
    }

    #[test]
    fn entries_round_trip(
        entries in prop::collection::vec(
            (entry_kinds(), 0..=0o777u16, any::<i64>(), 0..1_000_000_000u32, paths()),
            0..8,
        ),
    ) {
        let entries = entries.iter().map(|(kind, mode, mtime, mtime_nanos, path)| Entry {
            kind: *kind,
            mode: *mode,
            mtime: *mtime,
            mtime_nanos: *mtime_nanos,
            path,
        });
        check_page!(Entries, entries.collect());
    }

    #[test]
    fn ranges_round_trip(ranges in prop::collection::vec(ranges(), 0..50)) {
        check_page!(Holes, ranges.clone());
        check_page!(Compare, ranges.clone());
        check_page!(Want, ranges);
    }

    #[test]
    fn faults_round_trip(fault in 0..4usize, ranges in prop::collection::vec(ranges(), 0..50)) {
        let fault = [Fault::Lost, Fault::Damaged, Fault::Duplicated, Fault::Reordered][fault];
        let mut builder = PageBuilder::default();
        ranges.iter().for_each(|range| builder.push(range));
        let bytes = encoded(&Message::Faults(fault, builder.page()));
        let Ok(Message::Faults(decoded, page)) = Message::decode(&bytes) else { panic!("{bytes:02x?}") };
        prop_assert_eq!((decoded, page.iter().collect::<Vec<_>>()), (fault, ranges));
    }

    #[test]
    fn sums_round_trip(first in 0..u64::MAX - 100, sums in prop::collection::vec(any::<u32>(), 1..100)) {
        let bytes: Vec<u8> = sums.iter().flat_map(|sum| sum.to_be_bytes()).collect();
        let message = Message::Sums(Sums::new(first, &bytes).unwrap());
        let encoded = encoded(&message);
        let Ok(Message::Sums(decoded)) = Message::decode(&encoded) else { panic!("{encoded:02x?}") };
        prop_assert_eq!(decoded.chunks(), first..first + sums.len() as u64);
        prop_assert_eq!(decoded.iter().collect::<Vec<_>>(), sums);
    }

    #[test]
    fn decisions_round_trip(runs in prop::collection::vec((any::<u32>(), 0..4usize), 0..50)) {
        let decisions = [Decision::Take, Decision::Verify, Decision::Keep, Decision::Refuse];
        check_page!(Decisions, runs
            .iter()
            .map(|&(count, decision)| DecisionRun { count, decision: decisions[decision] })
            .collect());
    }

    #[test]
    fn sent_round_trip(
        sent in prop::collection::vec((any::<u32>(), any::<u8>(), digests(), texts()), 0..20),
    ) {
        check_page!(Sent, sent
            .iter()
            .map(|(index, code, digest, reason)| Sent { index: *index, outcome: outcome(*code, *digest, reason) })
            .collect());
    }

    #[test]
    fn stored_round_trip(
        stored in prop::collection::vec((any::<u32>(), any::<u8>(), digests(), texts(), paths()), 0..20),
    ) {
        check_page!(Stored, stored
            .iter()
            .map(|(index, code, digest, reason, name)| Stored {
                index: *index,
                verdict: verdict(*code, *digest, reason),
                name,
            })
            .collect());
    }

    #[test]
    fn refuse_round_trip(text in texts()) {
        check_round_trip(Message::Refuse { refusal: Refusal::Policy, text: &text });
        check_round_trip(Message::Declined { refusal: Refusal::NotFound, text: &text });
    }

    #[test]
    fn echo_round_trip(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_round_trip(Message::Echo(&bytes));
        check_round_trip(Message::Echoed(&bytes));
    }

    #[test]
    fn directories_round_trip(path in paths()) {
        check_round_trip(Message::List(&path));
        check_round_trip(Message::Chdir(&path));
        check_round_trip(Message::Here(&path));
    }

    #[test]
    fn generate_round_trip(checksum in checksums(), plain: bool, length: u64, seed: u64) {
        check_round_trip(Message::Generate(Generate { checksum, plain, length, seed }));
        check_round_trip(Message::Making { length, seed });
    }

    #[test]
    fn stream_round_trip(
        (count, interval, size) in any::<(u64, u64, u32)>(),
        (number, sent) in any::<(u64, u64)>(),
        filler in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let stream = Stream { count, interval, size };
        check_round_trip(Message::Stream(stream));
        check_round_trip(Message::Streaming(stream));
        check_round_trip(Message::Streamed(count));
        check_round_trip(Message::Packet(Packet { number, sent, filler: &filler }));
    }

    #[test]
    fn arbitrary_bytes_never_panic(kind in 0..KINDS + 2, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_canonical(&bytes);
        check_canonical(&[&[kind][..], &bytes].concat());
    }

    /// As above, but nearer to what is valid, so that much of it decodes.
    #[test]
    fn damaged_messages_are_refused_or_canonical(at: prop::sample::Index, damages in damages()) {
        let samples = samples();
        let sample = at.get(&samples);
        let decoded = check_canonical(&damaged(sample.bytes.clone(), &damages));
        prop_assert!(decoded || !damages.is_empty());
    }
}
