//! Peers that break the rules: each costs only its own connection, and hears why.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use crate::pair::{Diary, Pair};
use framing::frame::{self, Frame, HEADER_LEN, Kind};
use framing::{
    Checksum, DecisionRun, Digest, Entry, EntryKind, Generate, Get, Hasher, Hello, Message, Offer,
    PageBuilder, Part, Sent, SentOutcome,
};
use link::{Listener, TcpEndpoint, TcpOptions};
use session::{Service, SessionError, Summary};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// A client that sends whatever it likes.
pub(crate) struct Rogue(TcpStream);

impl Rogue {
    pub(crate) fn frame(&mut self, kind: Kind, chunk: u64, payload: &[u8]) {
        let mut frame = vec![0; HEADER_LEN];
        frame.extend_from_slice(payload);
        frame::seal(kind, chunk, &mut frame);
        // The server may have hung up already, which is what is tested.
        let _ = self.0.write_all(&frame);
    }

    pub(crate) fn say(&mut self, message: &Message<'_>) {
        let mut payload = Vec::new();
        message.encode(&mut payload);
        self.frame(Kind::Message, 0, &payload);
    }

    fn hello(&mut self) {
        self.say(&Message::Hello(Hello { features: 0, software: "rogue 1" }));
    }

    /// Offers files of these paths and lengths.
    pub(crate) fn put(&mut self, files: &[(&[u8], u64)]) {
        self.hello();
        let bytes = files.iter().map(|(_, len)| len).sum();
        self.say(&Message::Put(Offer {
            checksum: Checksum::Md5,
            plain: false,
            entries: files.len() as u32,
            bytes,
        }));
        self.manifest(files);
    }

    fn manifest(&mut self, files: &[(&[u8], u64)]) {
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
pub(crate) fn attack(
    pair: &Pair,
    rogue: impl FnOnce(&mut Rogue),
) -> (String, Result<Option<Summary>, SessionError>) {
    attack_on(&pair.service("to"), rogue)
}

/// The same, with a server that goes on.
pub(crate) fn attack_on(
    service: &Service,
    rogue: impl FnOnce(&mut Rogue),
) -> (String, Result<Option<Summary>, SessionError>) {
    let mut endpoint = TcpEndpoint::bind("127.0.0.1:0".parse().unwrap(), &TcpOptions::default()).unwrap();
    let address = endpoint.local_addr();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let (wake, _keep) = UnixStream::pair().unwrap();
            let mut link = endpoint.accept(wake.as_fd()).unwrap().unwrap();
            session::serve(link.as_mut(), service, &Diary::default())
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
        let (_, served) = attack(&Pair::new(), |rogue| {
            rogue.say(&Message::Hello(Hello { features: 0, software: "rogue" }));
            rogue.say(&Message::Put(Offer { checksum: Checksum::Md5, plain: false, entries: 2, bytes: 0 }));
            rogue.0.write_all(garbage).unwrap();
        });
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

/// A whole and honest transfer of a file `x` of 5 bytes.
fn honest(rogue: &mut Rogue) {
    rogue.put(&[(b"x", 5)]);
    rogue.frame(Kind::Chunk, 0, b"12345");
    rogue.sent(0, Hasher::digest(Checksum::Md5, b"12345"));
    rogue.say(&Message::End(Part::Chunks));
}

#[test]
fn what_is_no_request_ends_a_conversation_however_well_it_began() {
    let answers = [
        Message::Echoed(b"x"),
        Message::Here(b""),
        Message::Making { length: 1, seed: 1 },
        Message::End(Part::Listing),
        Message::End(Part::Transfer),
        Message::End(Part::Want),
        Message::Hello(Hello { features: 0, software: "again" }),
        Message::Declined { refusal: framing::Refusal::Policy, text: "no" },
    ];
    for answer in answers {
        let pair = Pair::new();
        let (heard, served) = attack(&pair, |rogue| {
            honest(rogue);
            rogue.say(&answer);
        });
        let error = served.unwrap_err().to_string();
        assert!(error.contains(&format!("{} does not belong here", answer.name())), "{error}");
        assert!(heard.contains("End(Transfer)") && heard.contains("Refuse {"), "{heard}");
        assert_eq!(std::fs::read(pair.to("x")).unwrap(), b"12345");
    }
}

#[test]
fn a_chunk_between_requests_was_not_asked_for() {
    let (heard, served) = attack(&Pair::new(), |rogue| {
        honest(rogue);
        rogue.frame(Kind::Chunk, 0, b"12345");
    });
    assert!(served.unwrap_err().to_string().contains("which nobody asked for"));
    assert!(heard.contains("Refuse {"), "{heard}");
}

#[test]
fn late_words_between_requests_are_passed_over() {
    let (heard, served) = attack(&Pair::new(), |rogue| {
        honest(rogue);
        for _ in 0..3 {
            rogue.say(&Message::Working);
            rogue.say(&Message::End(Part::Chunks));
            rogue.sent(0, Hasher::digest(Checksum::Md5, b"12345"));
            rogue.say(&Message::Stop);
        }
        rogue.say(&Message::Echo(b"well"));
    });
    assert_eq!(served.unwrap().unwrap().verified, 1);
    assert!(heard.ends_with("Echoed([119, 101, 108, 108])\n"), "{heard}");
}

#[test]
fn requests_need_not_wait_for_the_answer_to_the_one_before() {
    let (heard, served) = attack(&Pair::new(), |rogue| {
        rogue.hello();
        for _ in 0..100 {
            rogue.say(&Message::Echo(b"a"));
            rogue.say(&Message::List(b""));
            rogue.say(&Message::Chdir(b"\xff/../.."));
            rogue.say(&Message::Generate(Generate {
                checksum: Checksum::Md5,
                plain: false,
                length: u64::MAX,
                seed: 0,
            }));
        }
    });
    assert!(matches!(served, Ok(None)), "{served:?}");
    for (answer, count) in [("Echoed(", 100), ("End(Listing)", 100), ("Declined {", 200)] {
        assert_eq!(heard.matches(answer).count(), count, "{answer}");
    }
}

#[test]
fn a_message_that_is_not_well_formed_is_refused_wherever_it_comes() {
    let malformed: [&[u8]; 6] = [
        b"\x13\0\x01",
        b"\x14\xff\xff",
        b"\x16\x09aaaaaaaabbbbbbbb",
        b"\x16\x01",
        b"\x1e",
        &[0x11; framing::MAX_ECHO_LEN + 2],
    ];
    for payload in malformed {
        let (heard, served) = attack(&Pair::new(), |rogue| {
            rogue.hello();
            rogue.say(&Message::Echo(b"a"));
            rogue.frame(Kind::Message, 0, payload);
        });
        assert!(matches!(served, Err(SessionError::Link(_))), "{served:?}");
        assert!(heard.contains("Echoed([97])") && heard.contains("Refuse { refusal: Protocol"), "{heard}");
    }
}

/// Holds a conversation with a server that says this, and then nothing more.
fn with_server(
    said: impl FnOnce(&mut Rogue) + Send,
    client: impl FnOnce(&mut session::Conversation) -> Result<(), SessionError>,
) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut server = Rogue(listener.accept().unwrap().0);
            server.say(&Message::Hello(Hello { features: u32::MAX, software: "rogue server" }));
            said(&mut server);
            server.hear();
        });
        let link = link::TcpLink::connect(&address, &TcpOptions::default()).unwrap();
        let caller = session::Caller { software: "test-client", observer: &Diary::default() };
        let mut conversation = session::Conversation::begin(Box::new(link), caller).unwrap();
        let error = client(&mut conversation).unwrap_err();
        assert!(!conversation.is_open());
        error.to_string()
    })
}

#[test]
fn a_server_that_answers_wrongly_is_left() {
    let diary = Diary::default();
    let caller = session::Caller { software: "test-client", observer: &diary };
    let echo = |conversation: &mut session::Conversation| conversation.echo(b"a", caller).map(drop);
    let list = |conversation: &mut session::Conversation| conversation.list(b"", caller).map(drop);
    let chdir = |conversation: &mut session::Conversation| conversation.chdir(b"", caller).map(drop);
    let error = with_server(|server| server.say(&Message::Here(b"")), echo);
    assert!(error.contains("Here does not belong here"), "{error}");
    let error = with_server(|server| server.say(&Message::End(Part::Transfer)), list);
    assert!(error.contains("End does not belong here"), "{error}");
    let error = with_server(|server| server.say(&Message::Working), chdir);
    assert!(error.contains("closed"), "{error}");
    for name in [&b""[..], b".", b"..", b"a/b", b"/"] {
        let mut page = PageBuilder::default();
        let kind = EntryKind::Directory;
        page.push(&Entry { kind, mode: 0, mtime: 0, mtime_nanos: 0, path: name });
        let error = with_server(|server| server.say(&Message::Entries(page.page())), list);
        assert!(error.contains("no name"), "{error}");
    }
}

#[test]
fn a_server_that_makes_another_text_than_was_asked_for_is_left() {
    let pair = Pair::new();
    let store = pair.store("to");
    let diary = Diary::default();
    let caller = session::Caller { software: "test-client", observer: &diary };
    let generate = |conversation: &mut session::Conversation| {
        let mut job = session::GetJob::generate(5, 1, Checksum::Md5);
        conversation.generate(&mut job, &store, caller).map(drop)
    };
    for (length, seed) in [(6, 1), (5, 2)] {
        let error = with_server(|server| server.say(&Message::Making { length, seed }), generate);
        assert!(error.contains("Making does not belong here"), "{error}");
    }
    let offers: [&[(&[u8], u64)]; 4] = [&[], &[(b"x", 6)], &[(b"x", 2), (b"y", 3)], &[(b"x", 5), (b"y", 0)]];
    for files in offers {
        let error = with_server(
            |server| {
                server.say(&Message::Making { length: 5, seed: 1 });
                let bytes = files.iter().map(|(_, len)| len).sum();
                let entries = files.len() as u32;
                server.say(&Message::Offer(Offer { checksum: Checksum::Md5, plain: false, entries, bytes }));
                server.manifest(files);
            },
            generate,
        );
        assert!(error.contains("another file than it was to make"), "{error}");
    }
    assert_eq!(std::fs::read_dir(pair.to("")).unwrap().count(), 0);
}
