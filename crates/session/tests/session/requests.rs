//! Many requests over one connection, over TCP and over UDP.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::pair::{Diary, Pair, noise, write};
use framing::{CHUNK_LEN, Checksum, MAX_ECHO_LEN, Refusal};
use link::LinkError;
use session::{
    Caller, Conversation, Event, GetJob, Listed, Observer, PutJob, Service, SessionError, Sources, Store,
    Summary, serve,
};

/// A client in the middle of a conversation.
pub(crate) struct Client<'a> {
    pair: &'a Pair,
    pub(crate) conversation: Conversation,
    /// Where what it gets goes.
    pub(crate) store: Store,
}

impl Client<'_> {
    /// The names in a directory, each directory with a slash.
    pub(crate) fn names(&mut self, path: &str) -> Result<Vec<String>, SessionError> {
        let caller = Caller { software: "test-client", observer: &*self.pair.diary };
        let listed = self.conversation.list(path.as_bytes(), caller)?;
        let shown = |one: &Listed| {
            let name = one.name.to_string_lossy();
            if one.is_directory { format!("{name}/") } else { format!("{name} {}", one.len) }
        };
        Ok(listed.iter().map(shown).collect())
    }

    fn chdir(&mut self, path: &str) -> Result<String, SessionError> {
        let caller = Caller { software: "test-client", observer: &*self.pair.diary };
        self.conversation.chdir(path.as_bytes(), caller).map(|here| here.into_string().unwrap())
    }

    fn generate(&mut self, length: u64, seed: u64) -> Result<Summary, SessionError> {
        let mut job = GetJob::generate(length, seed, self.pair.checksum);
        let caller = Caller { software: "test-client", observer: &*self.pair.diary };
        self.conversation.generate(&mut job, &self.store, caller)
    }

    pub(crate) fn put(&mut self, names: &[&str], plain: bool) -> Result<Summary, SessionError> {
        let paths: Vec<PathBuf> = names.iter().map(|name| self.pair.from(name)).collect();
        let job = PutJob::new(Sources::local(&paths, false, &Diary::default())?, self.pair.checksum);
        let caller = Caller { software: "test-client", observer: &*self.pair.diary };
        self.conversation.put(&mut if plain { job.plain() } else { job }, caller)
    }

    pub(crate) fn get(&mut self, names: &[&str], plain: bool) -> Result<Summary, SessionError> {
        let names = names.iter().map(OsString::from).collect();
        let job = GetJob::new(names, self.pair.checksum, false);
        let caller = Caller { software: "test-client", observer: &*self.pair.diary };
        self.conversation.get(&mut if plain { job.plain() } else { job }, &self.store, caller)
    }
}

/// Holds a conversation with a server that serves `to`; the client sends from `from`, and keeps what it gets in `got`.
pub(crate) fn hold(
    pair: &Pair,
    change: impl FnOnce(&mut Service),
    client: impl FnOnce(&mut Client<'_>),
) -> (Diary, Result<Option<Summary>, SessionError>) {
    let mut service = pair.service("to");
    change(&mut service);
    std::fs::create_dir_all(pair.from("../got")).unwrap();
    let diary = Diary::default();
    let ((), served) = pair.talk(
        |link| {
            let caller = Caller { software: "test-client", observer: &*pair.diary };
            let conversation = Conversation::begin(link, caller).unwrap();
            let mut held = Client { pair, conversation, store: pair.store("got") };
            client(&mut held);
            held.conversation.finish();
        },
        |link| serve(link, &service, &diary),
    );
    (diary, served)
}

macro_rules! over_both_links {
    ($($scenario:ident)*) => {
        mod over_tcp {
            $(#[test]
            fn $scenario() {
                super::$scenario(super::Pair::new());
            })*
        }

        mod over_udp {
            $(#[test]
            fn $scenario() {
                super::$scenario(super::Pair::udp());
            })*
        }
    };
}

over_both_links! {
    transfers_go_both_ways_one_after_the_other
    what_is_declined_does_not_end_the_conversation
    what_a_server_does_not_offer_is_not_asked_for_once_it_has_greeted
    a_conversation_that_broke_off_says_so
    who_is_sent_away_hears_why_whatever_it_asks_for
    what_is_said_comes_back
    a_list_tells_what_is_there_and_nothing_else
    files_are_kept_where_the_client_has_gone_to
    no_directory_leads_out
    a_text_is_made_as_long_as_asked_and_the_same_for_the_same_seed
    more_than_may_be_made_is_refused
    a_made_text_that_broke_off_goes_on
}

fn transfers_go_both_ways_one_after_the_other(pair: Pair) {
    write(pair.from("song"), &noise(1, 100 * CHUNK_LEN + 5));
    write(pair.from("tree/a"), &noise(2, 3));
    write(pair.from("tree/b/c"), &noise(3, 70_000));
    write(pair.from("empty"), b"");
    write(pair.to("film"), &noise(4, 1_000_000));
    let (diary, served) = hold(
        &pair,
        |_| (),
        |client| {
            assert_eq!(client.put(&["song"], false).unwrap().verified, 1);
            assert_eq!(client.get(&["film"], false).unwrap().verified, 1);
            assert_eq!(client.put(&["empty"], false).unwrap().verified, 1);
            assert_eq!(client.put(&["tree", "song"], false).unwrap().already_there, 1);
            if pair.over_udp {
                let plain = client.put(&["song"], true).unwrap();
                assert_eq!(plain.verified + plain.damaged, 1);
                let plain = client.get(&["film"], true).unwrap();
                assert_eq!(plain.verified + plain.damaged, 1);
            }
            let again = client.get(&["film", "song", "tree"], false).unwrap();
            assert_eq!((again.already_there, again.verified), (1, 3));
            // What changed is sent, and only that.
            let mut song = noise(1, 100 * CHUNK_LEN + 5);
            song[7] ^= 1;
            write(pair.from("song"), &song);
            assert_eq!(client.put(&["song"], false).unwrap().verified, 1);
        },
    );
    let transfers = if pair.over_udp { 8 } else { 6 };
    assert_eq!(diary.count("Transferred {"), transfers);
    assert!(served.unwrap().unwrap().verified >= 8);
    pair.assert_same("tree/b/c", "tree/b/c");
    pair.assert_same("empty", "empty");
    pair.assert_same("../to/film", "../got/film");
    pair.assert_same("tree/b/c", "../got/tree/b/c");
    assert_eq!(pair.parts(), Vec::<PathBuf>::new());
}

fn what_is_declined_does_not_end_the_conversation(pair: Pair) {
    write(pair.from("song"), &noise(1, 300_000));
    write(pair.to("there"), &noise(2, 10));
    let (diary, served) = hold(
        &pair,
        |service| service.takes = false,
        |client| {
            for asked in ["nothing", "../from/song", "", "/etc/passwd"] {
                let error = client.get(&[asked], false).unwrap_err();
                assert!(matches!(error, SessionError::Declined { .. }), "{asked}: {error:?}");
                assert!(client.conversation.is_open() && !error.is_passing());
                assert_eq!(client.get(&["there"], true).is_err(), !pair.over_udp);
            }
            let got = client.get(&["there"], false).unwrap();
            assert_eq!(got.verified + got.already_there, 1);
        },
    );
    assert!(diary.count("Declined {") >= 4);
    assert!(served.unwrap().is_some());
    // A server that takes nothing says so, and not only in its greeting.
    write(pair.from("song"), &noise(1, 300_000));
    let (diary, _) = hold(
        &pair,
        |service| service.takes = false,
        |client| {
            let error = client.put(&["song"], false).unwrap_err();
            assert!(matches!(error, SessionError::NotOffered(_)), "{error:?}");
            assert!(!client.conversation.is_open());
        },
    );
    assert!(diary.count("Transferred {") == 0 && !pair.to("song").exists());
}

fn what_a_server_does_not_offer_is_not_asked_for_once_it_has_greeted(pair: Pair) {
    write(pair.from("song"), &noise(1, 300_000));
    write(pair.to("there"), &noise(2, 10));
    let (diary, served) = hold(
        &pair,
        |service| service.takes = false,
        |client| {
            let caller = Caller { software: "test-client", observer: &*pair.diary };
            client.conversation.meet(caller).unwrap();
            client.conversation.meet(caller).unwrap();
            let error = client.put(&["song"], false).unwrap_err();
            assert!(matches!(error, SessionError::NotOffered(_)), "{error:?}");
            let long = "n".repeat(5000);
            assert!(matches!(client.get(&[&long], false), Err(SessionError::TooManyNames)));
            assert!(client.conversation.is_open());
            assert_eq!(client.get(&["there"], false).unwrap().verified, 1);
        },
    );
    assert_eq!((diary.count("Declined {"), pair.diary.count("Met {")), (0, 1));
    assert_eq!(served.unwrap().unwrap().verified, 1);
}

fn a_conversation_that_broke_off_says_so(pair: Pair) {
    write(pair.from("song"), &noise(1, 300_000));
    let (_, _) = hold(
        &pair,
        |_| (),
        |client| {
            assert_eq!(client.put(&["song"], false).unwrap().verified, 1);
            client.conversation.link().closer().unwrap().close();
            let error = client.put(&["song"], false).unwrap_err();
            assert!(error.is_passing(), "{error:?}");
            assert!(!client.conversation.is_open());
            let error = client.get(&["song"], false).unwrap_err();
            assert!(matches!(error, SessionError::Link(LinkError::Closed)), "{error:?}");
        },
    );
}

fn what_is_said_comes_back(pair: Pair) {
    write(pair.from("song"), &noise(1, 100_000));
    let (diary, served) = hold(
        &pair,
        |service| (service.takes, service.gives) = (true, false),
        |client| {
            let caller = Caller { software: "test-client", observer: &*pair.diary };
            for len in [0, 1, 5000, MAX_ECHO_LEN] {
                let said = noise(7, len);
                let echo = client.conversation.echo(&said, caller).unwrap();
                assert!(echo.bytes == said && !echo.rtt.is_zero(), "{len}");
            }
            let error = client.conversation.echo(&noise(7, MAX_ECHO_LEN + 1), caller).unwrap_err();
            assert!(matches!(error, SessionError::TooLongToEcho(_)), "{error:?}");
            assert_eq!(client.put(&["song"], false).unwrap().verified, 1);
            assert_eq!(client.conversation.echo(b"again", caller).unwrap().bytes, b"again");
            // It gives nothing, so it tells nothing of what it has either.
            assert!(matches!(client.names(""), Err(SessionError::NotOffered(_))));
            assert!(matches!(client.chdir(""), Err(SessionError::NoDirectories)));
        },
    );
    assert_eq!((diary.count("Answered(Echo {"), diary.count("Answered(Echo { bytes: 32768")), (5, 1));
    assert!(served.unwrap().is_some());
}

fn a_list_tells_what_is_there_and_nothing_else(pair: Pair) {
    write(pair.to("b \" '.txt"), b"12345");
    write(pair.to("a/inner"), b"");
    write(pair.to("a/.x.0123456789abcdef.part"), b"1");
    write(pair.to("a/..."), b"1");
    write(pair.to("a/\u{1b}[2J"), b"1");
    write(pair.from("outside"), b"123");
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, pair.to(name)).unwrap();
    link("../a/inner", "a/to-file");
    link(".", "a/to-itself");
    link("../../from/outside", "a/to-outside");
    link("/etc", "a/to-etc");
    link("nothing", "a/to-nothing");
    std::os::unix::net::UnixListener::bind(pair.to("a/socket")).unwrap();
    (0..3000).for_each(|number| write(pair.to(&format!("many/{number:0200}")), b""));
    let (diary, served) = hold(
        &pair,
        |_| (),
        |client| {
            assert_eq!(client.names("").unwrap(), ["a/", "b \" '.txt 5", "many/"]);
            let inside = ["\u{1b}[2J 1", "... 1", "inner 0", "to-file 0", "to-itself/"];
            assert_eq!(client.names("a").unwrap(), inside);
            assert_eq!(client.names("a/to-itself").unwrap(), inside);
            assert_eq!(client.names("a/inner").unwrap(), ["inner 0"]);
            assert_eq!(client.names("many").unwrap().len(), 3000);
            let refused = [
                ("nothing", Refusal::NotFound),
                ("a/to-nothing", Refusal::NotFound),
                ("a/to-outside", Refusal::Storage),
                ("a/to-etc", Refusal::Storage),
                ("a/socket", Refusal::Policy),
                ("..", Refusal::Policy),
                ("a/../..", Refusal::Policy),
                ("/", Refusal::Policy),
                ("a/", Refusal::Policy),
                ("a/.x.0123456789abcdef.part", Refusal::Policy),
            ];
            for (path, why) in refused {
                match client.names(path).unwrap_err() {
                    SessionError::Declined { refusal, .. } => assert_eq!(refusal, why, "{path}"),
                    other => panic!("{path}: {other:?}"),
                }
            }
            let too_long = "x/".repeat(3000);
            assert!(matches!(client.names(&too_long), Err(SessionError::TooManyNames)));
            let caller = Caller { software: "test-client", observer: &*pair.diary };
            let listed = client.conversation.list(b"a/inner", caller).unwrap();
            let about = pair.to("a/inner").metadata().unwrap();
            assert_eq!((listed[0].mtime, u32::from(listed[0].mode)), (about.mtime(), about.mode() & 0o777));
        },
    );
    assert_eq!((diary.count("Answered(List"), diary.count("Declined")), (6, 10));
    assert!(served.unwrap().is_none());
}

fn files_are_kept_where_the_client_has_gone_to(mut pair: Pair) {
    pair.prefix = "received-";
    write(pair.from("song"), &noise(1, 100_000));
    write(pair.from("tree/a"), &noise(2, 10));
    std::fs::create_dir_all(pair.to("media/old songs")).unwrap();
    std::os::unix::fs::symlink("media", pair.to("link")).unwrap();
    let (diary, served) = hold(
        &pair,
        |_| (),
        |client| {
            assert_eq!(client.chdir("media/old songs").unwrap(), "media/old songs");
            assert_eq!(client.put(&["song", "tree"], false).unwrap().verified, 2);
            assert!(pair.diary.has("name: \"media/old songs/received-song\""));
            assert_eq!(client.put(&["song"], false).unwrap().already_there, 1);
            // Paths of a Get count from the served directory all the same.
            assert_eq!(client.get(&["media/old songs/received-song"], false).unwrap().verified, 1);
            assert!(client.get(&["received-song"], false).is_err());
            assert_eq!(client.chdir("link").unwrap(), "link");
            assert_eq!(client.put(&["song"], false).unwrap().verified, 1);
            assert_eq!(client.chdir("").unwrap(), "");
            assert_eq!(client.put(&["song"], false).unwrap().verified, 1);
            // It may be gone by the time that files come.
            client.chdir("media/old songs").unwrap();
            std::fs::remove_dir_all(pair.to("media/old songs")).unwrap();
            let error = client.put(&["song"], false).unwrap_err();
            assert!(matches!(error, SessionError::Declined { refusal: Refusal::NotFound, .. }), "{error:?}");
            std::fs::create_dir(pair.to("media/old songs")).unwrap();
            assert_eq!(client.put(&["tree"], false).unwrap().verified, 1);
        },
    );
    assert!(served.unwrap().is_some());
    assert!(diary.has("name: \"link/received-song\""));
    pair.assert_same("song", "received-song");
    pair.assert_same("song", "media/received-song");
    pair.assert_same("tree/a", "media/old songs/received-tree/a");
    assert_eq!(pair.parts(), Vec::<PathBuf>::new());
}

fn no_directory_leads_out(pair: Pair) {
    write(pair.from("song"), &noise(1, 1000));
    write(pair.to("file"), b"");
    std::fs::create_dir(pair.to("inside")).unwrap();
    std::os::unix::fs::symlink("../from", pair.to("out")).unwrap();
    std::os::unix::fs::symlink("/tmp", pair.to("tmp")).unwrap();
    let (_, served) = hold(
        &pair,
        |_| (),
        |client| {
            for path in ["..", "inside/..", "inside/../..", "/", "/tmp", ".", "out", "tmp", "nothing", "file"]
            {
                let error = client.chdir(path).unwrap_err();
                assert!(matches!(error, SessionError::Declined { .. }), "{path}: {error:?}");
            }
            // A directory that becomes a link to somewhere else is no way out either.
            client.chdir("inside").unwrap();
            std::fs::remove_dir(pair.to("inside")).unwrap();
            std::os::unix::fs::symlink("../got", pair.to("inside")).unwrap();
            let error = client.put(&["song"], false).unwrap_err();
            assert!(matches!(error, SessionError::Declined { refusal: Refusal::Storage, .. }), "{error:?}");
            assert!(!pair.from("../got/song").exists());
        },
    );
    assert!(served.unwrap().is_none());
}

/// The text of a seed, by the words of the protocol's document.
fn made(length: u64, seed: u64) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .";
    let random = |index: u64| {
        let mut z = seed.wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..length).map(|k| ALPHABET[(random(k / 8) >> (8 * (k % 8)) & 63) as usize]).collect()
}

fn a_text_is_made_as_long_as_asked_and_the_same_for_the_same_seed(mut pair: Pair) {
    pair.checksum = Checksum::Blake3;
    let began = std::time::SystemTime::now() - std::time::Duration::from_secs(2);
    let (diary, served) = hold(
        &pair,
        |_| (),
        |client| {
            for (length, seed) in [(0, 1), (1, 2), (1000, 3), (4096, 4), (4097, u64::MAX), (1_234_567, 6)] {
                assert_eq!(client.generate(length, seed).unwrap().verified, 1, "{length}");
                let path = pair.from(&format!("../got/generated-{length}.txt"));
                assert!(std::fs::read(&path).unwrap() == made(length, seed), "{length} {seed}");
                let about = path.metadata().unwrap();
                assert!(about.modified().unwrap() >= began && about.mode() & 0o777 == 0o644);
            }
            assert_eq!(client.generate(1_234_567, 6).unwrap().already_there, 1);
            assert_eq!(client.generate(1_234_567, 7).unwrap().verified, 1);
            let again = std::fs::read(pair.from("../got/generated-1234567-1.txt")).unwrap();
            assert!(again == made(1_234_567, 7));
            // A get and a plain one in between.
            write(pair.to("song"), &noise(1, 1000));
            assert_eq!(client.get(&["song"], false).unwrap().verified, 1);
            if pair.over_udp {
                let mut job = GetJob::generate(100_000, 1, pair.checksum).plain();
                let caller = Caller { software: "test-client", observer: &*pair.diary };
                let got = client.conversation.generate(&mut job, &client.store, caller).unwrap();
                assert_eq!(got.verified + got.damaged, 1);
            }
        },
    );
    assert!(
        pair.diary.has("Making { length: 1000, seed: 3 }") && diary.has("Making { length: 1000, seed: 3 }")
    );
    assert!(served.unwrap().unwrap().verified >= 8);
}

fn more_than_may_be_made_is_refused(pair: Pair) {
    let (diary, served) = hold(
        &pair,
        |service| service.max_generate = 1000,
        |client| {
            for length in [1001, 1 << 48, u64::MAX] {
                match client.generate(length, 1).unwrap_err() {
                    SessionError::Declined { refusal: Refusal::Policy, text } => {
                        assert!(text.contains("limit of 1000"), "{text}");
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(client.generate(1000, 1).unwrap().verified, 1);
        },
    );
    assert_eq!(diary.count("Declined {"), 3);
    assert!(served.unwrap().is_some());
    // However much a server may make, there are longer files than can be sent.
    let (_, served) = hold(
        &pair,
        |service| service.max_generate = u64::MAX,
        |client| {
            let error = client.generate(u64::MAX, 1).unwrap_err();
            assert!(matches!(error, SessionError::Declined { refusal: Refusal::Policy, .. }), "{error:?}");
            assert_eq!(client.generate(10, 1).unwrap().verified, 1);
        },
    );
    assert!(served.unwrap().is_some());
    // It may be gone before the server can say why not.
    let (diary, _) = hold(
        &pair,
        |service| service.gives = false,
        |client| {
            assert!(matches!(client.generate(1, 1).unwrap_err(), SessionError::NotOffered(_)));
        },
    );
    assert_eq!(diary.count("Making {"), 0);
}

/// Breaks the link once so many bytes have come.
struct Cut<'a> {
    after: u64,
    moved: AtomicU64,
    closer: &'a link::Closer,
}

impl Observer for Cut<'_> {
    fn event(&self, event: &Event<'_>) {
        if let Event::Moved { bytes, .. } = event
            && self.moved.fetch_add(*bytes, Ordering::Relaxed) + bytes > self.after
        {
            self.closer.close();
        }
    }
}

fn a_made_text_that_broke_off_goes_on(pair: Pair) {
    const LENGTH: u64 = 40_000_000;
    let (_, _) = hold(
        &pair,
        |_| (),
        |client| {
            let mut job = GetJob::generate(LENGTH, 5, Checksum::Md5);
            let closer = client.conversation.link().closer().unwrap();
            let cut = Cut { after: LENGTH / 2, moved: AtomicU64::new(0), closer: &closer };
            let caller = Caller { software: "test-client", observer: &cut };
            let error = client.conversation.generate(&mut job, &client.store, caller).unwrap_err();
            assert!(error.is_passing() && !client.conversation.is_open(), "{error:?}");
        },
    );
    // In another run: only length and seed are the same.
    let (_, _) = hold(
        &pair,
        |_| (),
        |client| {
            let summary = client.generate(LENGTH, 5).unwrap();
            assert_eq!(summary.verified, 1);
            assert!(summary.moved < LENGTH * 3 / 4, "{} came again", summary.moved);
        },
    );
    assert!(std::fs::read(pair.from("../got/generated-40000000.txt")).unwrap() == made(LENGTH, 5));
}

fn who_is_sent_away_hears_why_whatever_it_asks_for(pair: Pair) {
    let store = pair.store("to");
    let diary = Diary::default();
    let caller = Caller { software: "test-client", observer: &diary };
    type Ask<'a> = &'a dyn Fn(&mut Conversation) -> Result<(), SessionError>;
    let asked: [Ask<'_>; 4] = [
        &|conversation| conversation.echo(b"a", caller).map(drop),
        &|conversation| conversation.list(b"", caller).map(drop),
        &|conversation| conversation.chdir(b"", caller).map(drop),
        &|conversation| {
            conversation.generate(&mut GetJob::generate(1, 1, Checksum::Md5), &store, caller).map(drop)
        },
    ];
    for ask in asked {
        let (error, ()) = pair.talk(
            |link| Conversation::begin(link, caller).and_then(|mut client| ask(&mut client)).unwrap_err(),
            |link| session::refuse(link, "test-server", Refusal::Busy, "full"),
        );
        let is_busy = matches!(error, SessionError::Link(LinkError::Refused { refusal: Refusal::Busy, .. }));
        assert!(is_busy && error.is_passing(), "{error:?}");
    }
}
