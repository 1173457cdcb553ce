//! A line that damages what crosses it, in a way that TCP's own checksum does not notice.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::pair::{Diary, Pair, noise, put, write};
use framing::frame::{Frame, HEADER_LEN, Kind};
use framing::{CHUNK_LEN, Checksum};
use link::{TcpLink, TcpOptions};
use session::{Caller, PutJob, Service, Sources, StreamLimits, Summary};

/// What to do to a frame on its way.
enum Damage {
    None,
    Payload,
    Header,
}

/// Puts a file through a line that asks `damage` about each chunk frame that it carries.
fn put_through(pair: &Pair, damage: impl FnMut(u64) -> Damage + Send) -> Summary {
    let service = Service {
        store: pair.store("to"),
        software: "test-server".into(),
        takes: true,
        gives: true,
        max_generate: 123_456_789,
        streams: StreamLimits::default(),
        patience: session::Patience::default(),
    };
    let mut endpoint =
        link::TcpEndpoint::bind("127.0.0.1:0".parse().unwrap(), &TcpOptions::default()).unwrap();
    let line = TcpListener::bind("127.0.0.1:0").unwrap();
    let (server, near) = (link::Listener::local_addr(&endpoint), line.local_addr().unwrap().to_string());
    let (wake, stop) = std::os::unix::net::UnixStream::pair().unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::os::fd::AsFd;
            while let Some(mut link) = link::Listener::accept(&mut endpoint, wake.as_fd()).unwrap() {
                // A link that breaks is what is tested; the client comes again.
                let _ = session::serve(link.as_mut(), &service, &Diary::default());
            }
        });
        let over = &over;
        scope.spawn(move || {
            let mut damage = damage;
            loop {
                let (client, _) = line.accept().unwrap();
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let server = TcpStream::connect(server).unwrap();
                let (mut back_from, mut back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let back = std::thread::spawn(move || {
                    let _ = std::io::copy(&mut back_from, &mut back_to);
                    let _ = back_to.shutdown(Shutdown::Both);
                });
                carry(client, server, &mut damage);
                back.join().unwrap();
            }
        });
        let sources = Sources::local(&[pair.from("x")], false, &Diary::default()).unwrap();
        let mut job = PutJob::new(sources, Checksum::Md5);
        let summary = session::with_retry(
            Duration::from_secs(20),
            &*pair.diary,
            |wait| {
                std::thread::sleep(wait);
                TcpLink::connect(&near, &TcpOptions::default())
                    .map(|link| Box::new(link) as Box<dyn link::Link>)
            },
            |link, observer| put(link, &mut job, Caller { software: "test-client", observer }),
        )
        .unwrap();
        (&stop).write_all(b"x").unwrap();
        over.store(true, Ordering::SeqCst);
        TcpStream::connect(&near).unwrap();
        summary
    })
}

/// Carries frames one way, until either side closes.
fn carry(mut from: TcpStream, mut to: TcpStream, damage: &mut impl FnMut(u64) -> Damage) {
    let mut held = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        if read == 0 {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
        held.extend_from_slice(&buffer[..read]);
        let mut at = 0;
        while let Some(frame) = Frame::parse(&held[at..]).unwrap() {
            let len = frame.len();
            let done = match frame.header.kind {
                Kind::Chunk => damage(frame.header.chunk),
                Kind::Message => Damage::None,
            };
            match done {
                Damage::None => {}
                Damage::Payload => held[at + HEADER_LEN + len / 2] ^= 0x10,
                Damage::Header => held[at + 5] ^= 0x10,
            }
            if to.write_all(&held[at..at + len]).is_err() {
                return;
            }
            at += len;
        }
        held.drain(..at);
    }
}

#[test]
fn damaged_chunks_are_asked_for_again_and_only_they() {
    let pair = Pair::new();
    write(pair.from("x"), &noise(3, 2000 * CHUNK_LEN + 1));
    let mut spoiled = BTreeSet::new();
    let summary = put_through(&pair, |chunk| {
        if chunk % 97 == 3 && spoiled.insert(chunk) { Damage::Payload } else { Damage::None }
    });
    assert_eq!((summary.verified, summary.moved), (1, (2021 * CHUNK_LEN + 1) as u64));
    assert!(pair.diary.has("AskedAgain { chunks: 21 }"));
    pair.assert_same("x", "x");
    assert!(!pair.diary.has("Retrying"), "repaired within the connection");
}

#[test]
fn a_damaged_header_ends_the_link_and_the_client_goes_on_over_a_new_one() {
    let pair = Pair::new();
    write(pair.from("x"), &noise(4, 3000 * CHUNK_LEN));
    let mut spoiled = false;
    let summary = put_through(&pair, |chunk| {
        if chunk == 2500 && !std::mem::replace(&mut spoiled, true) { Damage::Header } else { Damage::None }
    });
    assert_eq!(summary.verified, 1);
    assert!(pair.diary.has("Retrying"));
    pair.assert_same("x", "x");
    let again = summary.moved - 3000 * CHUNK_LEN as u64;
    assert!(again < 3000 * CHUNK_LEN as u64, "what had arrived was not sent again: {again}");
}

#[test]
fn chunks_that_stay_damaged_are_given_up_and_nothing_wrong_is_stored() {
    let pair = Pair::new();
    write(pair.from("x"), &noise(5, 10 * CHUNK_LEN));
    let summary = put_through(&pair, |chunk| if chunk == 7 { Damage::Payload } else { Damage::None });
    assert_eq!((summary.verified, summary.refused), (0, 1));
    assert!(!pair.to("x").exists());
    assert_eq!(pair.parts().len(), 1);
}
