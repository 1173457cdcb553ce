//! Many requests over one connection, over TCP and over UDP.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::pair::{Diary, Pair, noise, write};
use framing::CHUNK_LEN;
use link::LinkError;
use session::{Caller, Conversation, GetJob, PutJob, Service, SessionError, Sources, Store, Summary, serve};

/// A client in the middle of a conversation.
pub(crate) struct Client<'a> {
    pair: &'a Pair,
    pub(crate) conversation: Conversation,
    /// Where what it gets goes.
    pub(crate) store: Store,
}

impl Client<'_> {
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
