//! Peers that break the rules: each costs only its own connection, and hears why.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use crate::pair::{Diary, Pair};
use framing::frame::{self, Frame, HEADER_LEN, Kind};
use framing::{
    Checksum, DecisionRun, Digest, Entry, EntryKind, Get, Hasher, Hello, Message, Offer, PageBuilder, Part,
    Sent, SentOutcome,
};
use link::{Listener, TcpEndpoint, TcpOptions};
use session::{Service, SessionError, Summary};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// A client that sends whatever it likes.
struct Rogue(TcpStream);

impl Rogue {
    fn frame(&mut self, kind: Kind, chunk: u64, payload: &[u8]) {
        let mut frame = vec![0; HEADER_LEN];
        frame.extend_from_slice(payload);
        frame::seal(kind, chunk, &mut frame);
        // The server may have hung up already, which is what is tested.
        let _ = self.0.write_all(&frame);
    }

    fn say(&mut self, message: &Message<'_>) {
        let mut payload = Vec::new();
        message.encode(&mut payload);
        self.frame(Kind::Message, 0, &payload);
    }

    fn hello(&mut self) {
        self.say(&Message::Hello(Hello { features: 0, software: "rogue 1" }));
    }

    /// Offers files of these paths and lengths.
    fn put(&mut self, files: &[(&[u8], u64)]) {
        self.hello();
        let bytes = files.iter().map(|(_, len)| len).sum();
        self.say(&Message::Put(Offer {
            checksum: Checksum::Md5,
            plain: false,
            entries: files.len() as u32,
            bytes,
        }));
        let mut page = PageBuilder::default();
        for (path, len) in files {
            let kind = EntryKind::File { len: *len };
            page.push(&Entry { kind, mode: 0o644, mtime: 0, mtime_nanos: 0, path });
        }
        self.say(&Message::Entries(page.page()));
        self.say(&Message::End(Part::Manifest));
    }

    fn sent(&mut self, index: u32, digest: Digest) {
        let mut page = PageBuilder::default();
        page.push(&Sent { index, outcome: SentOutcome::Digest(digest) });
        self.say(&Message::Sent(page.page()));
    }

    /// Everything that the server says until it closes the connection.
    fn hear(mut self) -> String {
        let mut heard = Vec::new();
        let mut text = String::new();
        let _ = self.0.shutdown(std::net::Shutdown::Write);
        let _ = self.0.read_to_end(&mut heard);
        let mut rest = heard.as_slice();
        while let Ok(Some(frame)) = Frame::parse(rest) {
            text.push_str(&format!("{:?}\n", Message::decode(frame.payload).unwrap()));
            rest = &rest[frame.len()..];
        }
        text
    }
}

/// Has a server serve one rogue: what the rogue heard, and how the server saw it.
fn attack(pair: &Pair, rogue: impl FnOnce(&mut Rogue)) -> (String, Result<Option<Summary>, SessionError>) {
    let service = Service {
        store: pair.store("to"),
        software: "test-server".into(),
        takes: true,
        gives: true,
        max_generate: 123_456_789,
    };
    let mut endpoint = TcpEndpoint::bind("127.0.0.1:0".parse().unwrap(), &TcpOptions::default()).unwrap();
    let address = endpoint.local_addr();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let (wake, _keep) = UnixStream::pair().unwrap();
            let mut link = endpoint.accept(wake.as_fd()).unwrap().unwrap();
            session::serve(link.as_mut(), &service, &Diary::default())
        });
        let mut client = Rogue(TcpStream::connect(address).unwrap());
        rogue(&mut client);
        let heard = client.hear();
        (heard, server.join().unwrap())
    })
}

/// The server must hang up with an error that says this, and must have told the rogue so.
fn assert_refused(rogue: impl FnOnce(&mut Rogue), why: &str) {
    let pair = Pair::new();
    let (heard, served) = attack(&pair, rogue);
    let error = served.unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
    assert!(heard.contains("Refuse") && heard.contains(why), "{heard}");
    let stored: Vec<PathBuf> =
        std::fs::read_dir(pair.to("")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(stored, pair.parts(), "nothing is under a final name");
}

#[test]
fn http_is_recognised_as_foreign() {
    assert_refused(
        |rogue| rogue.0.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap(),
        "GET / HTTP/1.1",
    );
}

#[test]
fn another_version_is_named() {
    let (heard, served) = attack(&Pair::new(), |rogue| rogue.0.write_all(b"TD\x02").unwrap());
    assert!(served.unwrap_err().to_string().contains("version 2"));
    assert!(heard.contains("version 2"), "{heard}");
}

#[test]
fn garbage_and_cut_off_frames_end_the_connection() {
    for garbage in
        [&b"TD\x01"[..], &[0x54, 0x44, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]]
    {
        let (_, served) = attack(&Pair::new(), |rogue| rogue.0.write_all(garbage).unwrap());
        assert!(matches!(served, Err(SessionError::Link(_))), "{served:?}");
    }
}

#[test]
fn a_message_before_the_greeting_is_out_of_place() {
    assert_refused(|rogue| rogue.say(&Message::Working), "Working does not belong here");
}

#[test]
fn a_billion_files_are_refused_before_they_are_listed() {
    let offer = Offer { checksum: Checksum::Md5, plain: false, entries: 1_000_000_000, bytes: 1 };
    assert_refused(
        |rogue| {
            rogue.hello();
            rogue.say(&Message::Put(offer));
        },
        "more than 1048576 files",
    );
}

#[test]
fn an_exbibyte_is_refused() {
    assert_refused(|rogue| rogue.put(&[(b"huge", 1 << 60)]), "more than the limit");
    let (heard, served) = attack(&Pair::new(), |rogue| rogue.put(&[(b"large", 1 << 48)]));
    assert!(
        heard.contains("Declined { refusal: NoSpace, text:") && heard.contains("not enough room"),
        "{heard}"
    );
    assert!(matches!(served, Ok(None)), "{served:?}");
}

#[test]
fn a_plain_transfer_over_tcp_is_refused() {
    for put in [true, false] {
        let pair = Pair::new();
        let nobody = PageBuilder::default();
        let (heard, served) = attack(&pair, |rogue| {
            rogue.hello();
            rogue.say(&if put {
                Message::Put(Offer { checksum: Checksum::Md5, plain: true, entries: 0, bytes: 0 })
            } else {
                let names = nobody.page();
                Message::Get(Get { checksum: Checksum::Md5, plain: true, follow: false, names })
            });
            if put {
                rogue.say(&Message::End(Part::Manifest));
            }
        });
        assert!(
            heard.contains("Declined { refusal: Policy") && heard.contains("only possible over UDP"),
            "{heard}"
        );
        assert!(matches!(served, Ok(None)), "{served:?}");
    }
}

#[test]
fn a_manifest_must_be_what_was_offered() {
    assert_refused(
        |rogue| {
            rogue.hello();
            rogue.say(&Message::Put(Offer { checksum: Checksum::Md5, plain: false, entries: 2, bytes: 0 }));
            rogue.say(&Message::End(Part::Manifest));
        },
        "not what it offered",
    );
    assert_refused(|rogue| rogue.put(&[(b"twin", 1), (b"twin", 1)]), "two files of the same name");
}

#[test]
fn chunks_must_have_been_asked_for() {
    let outside = |rogue: &mut Rogue| {
        rogue.put(&[(b"x", 5)]);
        rogue.frame(Kind::Chunk, 1, b"12345");
    };
    assert_refused(outside, "chunk 1, which nobody asked for");
    let far = |rogue: &mut Rogue| {
        rogue.put(&[(b"x", 5)]);
        rogue.frame(Kind::Chunk, u64::MAX, b"12345");
    };
    assert_refused(far, "which nobody asked for");
    let twice = |rogue: &mut Rogue| {
        rogue.put(&[(b"x", 4096 * 2)]);
        rogue.frame(Kind::Chunk, 0, &[7; 4096]);
        rogue.frame(Kind::Chunk, 0, &[7; 4096]);
    };
    assert_refused(twice, "chunk 0, which nobody asked for");
    let longer = |rogue: &mut Rogue| {
        rogue.put(&[(b"x", 5)]);
        rogue.frame(Kind::Chunk, 0, b"123456");
    };
    assert_refused(longer, "6 bytes instead of 5");
}

#[test]
fn digests_must_be_of_this_transfer_and_come_once() {
    let digest = Hasher::digest(Checksum::Md5, b"");
    let of_nothing = |rogue: &mut Rogue| {
        rogue.put(&[(b"x", 5)]);
        rogue.sent(7, digest);
    };
    assert_refused(of_nothing, "digest of no file");
    let twice = |rogue: &mut Rogue| {
        rogue.put(&[(b"x", 5)]);
        rogue.sent(0, digest);
        rogue.sent(0, digest);
    };
    assert_refused(twice, "digest twice");
    let messages = |rogue: &mut Rogue| {
        rogue.put(&[(b"x", 5)]);
        let mut page = PageBuilder::default();
        page.push(&DecisionRun { count: 1, decision: framing::Decision::Take });
        rogue.say(&Message::Decisions(page.page()));
    };
    assert_refused(messages, "Decisions does not belong here");
}

#[test]
fn evil_names_are_refused_one_by_one_and_nothing_is_written_anywhere() {
    let pair = Pair::new();
    let names: [&[u8]; 16] = [
        b"../evil",
        b"/evil",
        b"a/../../evil",
        b"./evil",
        b"a//evil",
        b"evil/",
        b"..",
        b".",
        b"C:evil",
        b"c:/evil",
        b"nul",
        b"COM1.txt",
        b"ev\0il",
        b"ev\x1b[2Jil",
        b"ev\nil",
        b".x.0123456789abcdef.part",
    ];
    let files: Vec<(&[u8], u64)> = names.iter().map(|name| (*name, 1)).collect();
    let (heard, _) = attack(&pair, |rogue| {
        rogue.put(&files);
        rogue.say(&Message::End(Part::Chunks));
    });
    assert_eq!(heard.matches("Refused(").count(), names.len(), "{heard}");
    assert!(heard.contains("End(Transfer)"), "{heard}");
    assert_eq!(std::fs::read_dir(pair.to("")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(pair.to("").parent().unwrap()).unwrap().count(), 2);
}

#[test]
fn a_wrong_digest_never_gets_a_final_name() {
    let pair = Pair::new();
    let (heard, served) = attack(&pair, |rogue| {
        rogue.put(&[(b"x", 5)]);
        rogue.frame(Kind::Chunk, 0, b"12345");
        rogue.sent(0, Hasher::digest(Checksum::Md5, b"54321"));
        rogue.say(&Message::End(Part::Chunks));
    });
    assert!(served.is_err(), "the rogue hung up before the repair: {heard}");
    assert!(heard.contains("Compare"), "a repair was begun: {heard}");
    assert!(!pair.to("x").exists());
}

#[test]
fn a_sender_that_keeps_its_digests_to_itself_is_hung_up_on() {
    let silent = |rogue: &mut Rogue| {
        rogue.put(&[(b"x", 5)]);
        rogue.frame(Kind::Chunk, 0, b"12345");
        rogue.say(&Message::End(Part::Chunks));
    };
    assert_refused(silent, "did not send the digest of each file");
}
