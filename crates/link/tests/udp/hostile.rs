//! Peers that are strange or gone, and strangers.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use framing::packet::{self, Packet};
use framing::{ChunkSet, Message, Part, Refusal};
use link::{ConnectError, Link, LinkError, Listener, UdpEndpoint, UdpLink, UdpOptions};

use crate::relay::{Harm, Relay};
use crate::store::{Sink, Source};
use crate::{Over, WAIT, accept, connect, endpoint, endpoint_with, localhost, meet, options, relayed, whole};

/// Whether nobody waits to be served, nor comes within a moment.
fn nobody_came(server: &mut UdpEndpoint) -> bool {
    let (wake, other) = UnixStream::pair().unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        drop(other);
    });
    server.accept(wake.as_fd()).unwrap().is_none()
}

#[test]
fn nobody_there_is_noticed_at_once() {
    let free = UdpSocket::bind(localhost()).unwrap().local_addr().unwrap();
    let error = UdpLink::connect(&free.to_string(), &options()).unwrap_err();
    assert!(matches!(error, ConnectError::Connect { .. }) && error.is_passing(), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(matches!(
        UdpLink::connect("no.such.host.invalid:1", &options()),
        Err(ConnectError::Lookup { .. })
    ));
}

#[test]
fn a_client_whose_first_packets_are_lost_gets_in_when_they_are_not() {
    let mut server = endpoint();
    let relay = Relay::new(server.local_addr(), Harm { longest: Some(40), ..Harm::default() });
    std::thread::scope(|scope| {
        let client = scope.spawn(|| connect(relay.address()));
        let is_knock = |packet: &Vec<u8>| packet[0] & 0x0f == 4;
        // What it asks then is answered, and it goes on asking for a connection.
        let goes_on = |said: Vec<Vec<u8>>| {
            let knock = said.iter().position(is_knock);
            knock.is_some_and(|at| said[at..].iter().filter(|packet| !is_knock(packet)).count() > 2)
        };
        while !goes_on(relay.kept()) {
            std::thread::sleep(Duration::from_millis(5));
        }
        relay.change(Harm::default());
        let mut near = client.join().unwrap();
        near.send(&Message::Working).unwrap();
        assert_eq!(accept(&mut server).recv(WAIT).unwrap(), Message::Working);
    });
}

#[test]
fn a_server_that_was_started_anew_is_noticed_at_once() {
    let (mut near, far, first, relay) = relayed(Harm::default());
    let second = endpoint();
    relay.turn_to(second.local_addr());
    let error = near.send_chunks(&ChunkSet::from(0..100_000), &mut Source::default()).unwrap_err();
    // Later it would be for silence.
    assert!(matches!(error, LinkError::Broken(_)) && error.is_passing(), "{error}");
    drop((far, first));
}

#[test]
fn a_server_that_is_gone_is_noticed_at_once() {
    let (mut near, far, endpoint, relay) = relayed(Harm::default());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let error = near.send_chunks(&ChunkSet::from(0..1_000_000), &mut Source::default()).unwrap_err();
            assert!(matches!(error, LinkError::Broken(_)) && error.is_passing(), "{error}");
        });
        std::thread::sleep(Duration::from_millis(200));
        drop(relay);
    });
    drop((far, endpoint));
}

#[test]
fn a_peer_that_is_silent_is_given_up() {
    let (mut near, _far, _endpoint) = whole();
    near.set_idle_limit(Duration::from_millis(30));
    assert!(matches!(near.recv(Duration::from_millis(30)), Err(LinkError::Silent(_))));
    let error = near.recv_chunks(&mut ChunkSet::from(0..1), &mut Sink::default()).unwrap_err();
    assert!(matches!(error, LinkError::Silent(_)) && error.is_passing(), "{error}");
    let error = near.send_chunks(&ChunkSet::from(0..1_000_000), &mut Source::default()).unwrap_err();
    assert!(matches!(error, LinkError::Silent(_)), "{error}");
}

#[test]
fn a_peer_that_only_says_that_it_works_is_given_up() {
    let (mut near, mut far, _endpoint) = whole();
    near.set_work_limit(Duration::from_millis(30));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) && far.send(&Message::Working).is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let error = near.send_chunks(&ChunkSet::from(0..1_000_000), &mut Source::default()).unwrap_err();
        is_over.store(true, Ordering::Relaxed);
        assert!(matches!(error, LinkError::Stalled(_)) && error.is_passing(), "{error}");
    });
}

#[test]
fn a_closer_ends_a_wait_and_tells_the_peer() {
    let (mut near, mut far, _endpoint) = whole();
    let closer = near.closer().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(matches!(near.recv(WAIT), Err(LinkError::Closed))));
        std::thread::sleep(Duration::from_millis(50));
        closer.close();
        assert!(matches!(far.recv(WAIT), Err(LinkError::Closed)));
    });
    assert!(matches!(near.send(&Message::Working), Err(LinkError::Closed)));
}

#[test]
fn what_was_said_before_the_end_is_heard() {
    let (mut near, mut far, _endpoint) = whole();
    for _ in 0..10 {
        near.send(&Message::Working).unwrap();
    }
    near.finish();
    drop(near);
    std::thread::sleep(Duration::from_millis(50));
    for _ in 0..10 {
        assert_eq!(far.recv(WAIT).unwrap(), Message::Working);
    }
    assert!(matches!(far.recv(WAIT), Err(LinkError::Closed)));
}

#[test]
fn a_server_of_another_version_is_named() {
    if crate::HAS_KEY {
        // Anybody could say that: see `keys`.
        return;
    }
    let server = UdpSocket::bind(localhost()).unwrap();
    let address = server.local_addr().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 2048];
            let (len, from) = server.recv_from(&mut buffer).unwrap();
            let Packet::Init { client_cid, echo, .. } = Packet::parse(&buffer[..len]).unwrap() else {
                panic!()
            };
            let mut answer = Vec::new();
            packet::version(&mut answer, client_cid, echo);
            answer.truncate(answer.len() - 4);
            answer[4] = 9;
            packet::seal(&mut answer, 0);
            server.send_to(&answer, from).unwrap();
        });
        let mut link = connect(address);
        let error = link.recv(WAIT).unwrap_err();
        assert!(matches!(error, LinkError::Version(9)), "{error}");
    });
}

#[test]
fn chunks_that_nobody_asked_for_end_the_link() {
    let (mut near, mut far, _endpoint) = whole();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut wanted = ChunkSet::from(0..10);
            let error = far.recv_chunks(&mut wanted, &mut Sink::default()).unwrap_err();
            assert!(matches!(error, LinkError::Misbehaved(_)) && error.is_peers_fault(), "{error}");
            drop(far);
        });
        let error = near.send_chunks(&ChunkSet::from(5..2000), &mut Source::default()).unwrap_err();
        assert!(matches!(error, LinkError::Closed), "{error}");
    });
}

#[test]
fn garbage_copies_and_spoofed_datagrams_change_nothing() {
    let (mut near, mut far, endpoint, relay) = relayed(Harm { longest: Some(1472), ..Harm::default() });
    let server = endpoint.local_addr();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let stranger = UdpSocket::bind(localhost()).unwrap();
            stranger.set_nonblocking(true).unwrap();
            let mut count = 0_u32;
            while !over.load(Ordering::Relaxed) {
                for datagram in relay.kept().iter().take(50) {
                    // As it was, cut short, damaged, with another number, and with a hole punched into it.
                    let _ = stranger.send_to(datagram, server);
                    let _ = stranger.send_to(&datagram[..datagram.len() / 2], server);
                    let mut changed = datagram.clone();
                    count = count.wrapping_add(0x1_2345);
                    let at = count as usize % changed.len();
                    changed[at] ^= 0x55;
                    let _ = stranger.send_to(&changed, server);
                    let _ = stranger.send_to(&count.to_be_bytes().repeat(20), server);
                    let _ = stranger.send_to(&[], server);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        scope.spawn(|| {
            near.send_chunks(&ChunkSet::from(0..3000), &mut Source::default()).unwrap();
            near.send(&Message::End(Part::Chunks)).unwrap();
            assert_eq!(near.recv(WAIT).unwrap(), Message::Working);
        });
        let _over = Over(&over);
        let (mut missing, mut sink) = (ChunkSet::from(0..3000), Sink::default());
        far.recv_chunks(&mut missing, &mut sink).unwrap();
        assert!(missing.is_empty() && sink.whole().len() == 3000);
        assert_eq!(far.recv(WAIT).unwrap(), Message::End(Part::Chunks));
        far.send(&Message::Working).unwrap();
    });
}

#[test]
fn a_late_copy_of_the_first_packets_opens_nothing() {
    let (mut near, mut far, mut server, relay) = relayed(Harm::default());
    near.send(&Message::Working).unwrap();
    assert_eq!(far.recv(WAIT).unwrap(), Message::Working);
    near.finish();
    far.finish();
    drop((near, far));
    std::thread::sleep(Duration::from_millis(50));
    let copies = relay.kept();
    drop(relay);
    let again = UdpSocket::bind(localhost()).unwrap();
    for copy in copies {
        again.send_to(&copy, server.local_addr()).unwrap();
    }
    std::thread::sleep(Duration::from_millis(50));
    assert!(nobody_came(&mut server));
}

#[test]
fn those_who_say_nothing_are_served_by_nobody_and_keep_nobody_out() {
    let mut server = endpoint();
    // More than may wait.
    let mut crowd: Vec<_> = (0..200).map(|_| connect(server.local_addr())).collect();
    assert!(nobody_came(&mut server));
    let mut near = connect(server.local_addr());
    let mut far = meet(&mut near, &mut server);
    far.send(&Message::Working).unwrap();
    assert_eq!(near.recv(WAIT).unwrap(), Message::Working);
    // Those who were there first have made way.
    assert!(matches!(crowd[0].recv(WAIT), Err(LinkError::Closed)));
    // Those who still are, may say something.
    assert!(matches!(crowd[199].recv(Duration::ZERO), Err(LinkError::Silent(_))));
    meet(&mut crowd[199], &mut server);
}

#[test]
fn who_says_nothing_in_time_is_not_waited_for() {
    let server = endpoint_with(&UdpOptions { handshake_limit: Duration::from_millis(200), ..options() });
    let mut near = connect(server.local_addr());
    assert!(matches!(near.recv(WAIT), Err(LinkError::Closed)));
    drop(server);
}

#[test]
fn who_is_not_to_be_heard_any_more_can_still_be_told_why() {
    let (mut near, mut far, _server) = whole();
    let closer = far.closer().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            assert!(matches!(far.recv(WAIT), Err(LinkError::Closed)));
            far.send(&Message::Refuse { refusal: Refusal::Busy, text: "others" }).unwrap();
            far.finish();
        });
        closer.deafen();
        waiting.join().unwrap();
    });
    assert!(matches!(near.recv(WAIT), Err(LinkError::Refused { .. })));
}
