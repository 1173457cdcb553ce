//! The link over TCP, against peers that are slow, silent, strange or gone.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "tcp/keys.rs"]
mod keys;
#[path = "tcp/porch.rs"]
mod porch;
#[path = "tcp/server.rs"]
mod server;

use std::io::{IoSliceMut, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use framing::frame::{self, Frame, HEADER_LEN, Kind};
use framing::{CHUNK_LEN, ChunkSet, Hello, Message, Part, Refusal};
use link::{
    ChunkRun, ChunkSink, ChunkSource, ConnectError, Filled, Link, LinkError, Listener, Talk, TcpEndpoint,
    TcpLink, TcpOptions,
};

const WAIT: Duration = Duration::from_secs(20);

/// A link, and the bare socket at its other end.
fn half() -> (TcpLink, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let link = TcpLink::connect(&address, &TcpOptions::default()).unwrap();
    (link, listener.accept().unwrap().0)
}

/// Both ends of a link.
fn whole(options: &TcpOptions) -> (TcpLink, Box<dyn Link>) {
    let mut endpoint = TcpEndpoint::bind("127.0.0.1:0".parse().unwrap(), options).unwrap();
    let address = endpoint.local_addr().to_string();
    std::thread::scope(|scope| {
        let near = scope.spawn(move || {
            let mut near = TcpLink::connect(&address, options).unwrap();
            near.send(&Message::Working).unwrap();
            near
        });
        let (wake, _keep) = UnixStream::pair().unwrap();
        let mut far = endpoint.accept(wake.as_fd()).unwrap().unwrap();
        assert_eq!(far.recv(WAIT).unwrap(), Message::Working);
        (near.join().unwrap(), far)
    })
}

fn framed(kind: Kind, chunk: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; HEADER_LEN];
    frame.extend_from_slice(payload);
    frame::seal(kind, chunk, &mut frame);
    frame
}

fn message(message: &Message<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    message.encode(&mut payload);
    framed(Kind::Message, 0, &payload)
}

/// Chunks whose bytes tell their number; remembers what it was told.
#[derive(Default)]
struct Store {
    chunks: Vec<u64>,
    heard: usize,
    to_say: usize,
}

fn content(chunk: u64) -> [u8; CHUNK_LEN] {
    let mut bytes = [chunk as u8; CHUNK_LEN];
    bytes[..8].copy_from_slice(&chunk.to_be_bytes());
    bytes
}

impl Talk for Store {
    fn outgoing(
        &mut self,
        send: &mut dyn FnMut(&Message<'_>) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        if self.to_say > 0 {
            self.to_say -= 1;
            send(&Message::Working)?;
        }
        Ok(())
    }

    fn incoming(&mut self, message: Message<'_>) -> Result<ControlFlow<()>, LinkError> {
        self.heard += 1;
        Ok(if message == Message::End(Part::Chunks) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }
}

impl ChunkSource for Store {
    fn chunk_len(&self, _: u64) -> usize {
        CHUNK_LEN
    }

    fn read(&mut self, first: u64, slots: &mut [IoSliceMut<'_>]) -> Filled {
        if first == 500 {
            return Filled::Skip(510);
        }
        // Never all at once, and never over the place that can't be had.
        let count = slots.len().min(7).min(if first < 500 { (500 - first) as usize } else { usize::MAX });
        for (slot, chunk) in slots[..count].iter_mut().zip(first..) {
            slot.copy_from_slice(&content(chunk));
        }
        Filled::Slots(count)
    }

    fn sent(&mut self, run: ChunkRun) {
        assert_eq!((run.skip(), run.completes()), (0, run.chunks()));
        self.chunks.extend(run.chunks());
    }

    fn reread(&mut self, _: u64, _: &mut [u8]) -> bool {
        unreachable!("the kernel repairs what is lost")
    }
}

impl ChunkSink for Store {
    fn chunk_len(&self, _: u64) -> usize {
        CHUNK_LEN
    }

    fn write(&mut self, run: ChunkRun) -> Result<(), LinkError> {
        for (chunk, payload) in run.chunks().zip(run.payloads()) {
            assert!(payload == content(chunk), "chunk {chunk}");
            self.chunks.push(chunk);
        }
        Ok(())
    }
}

#[test]
fn chunks_and_messages_cross_each_other() {
    let (near, far) = whole(&TcpOptions::default());
    cross(near, far);
}

fn cross(mut near: TcpLink, mut far: Box<dyn Link>) {
    let wanted: ChunkSet = [3..400, 450..2000].into_iter().collect();
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| {
            let mut store = Store { to_say: 20, ..Store::default() };
            near.send_chunks(&wanted, &mut store).unwrap();
            near.send(&Message::End(Part::Chunks)).unwrap();
            // What was said at the end is still heard.
            while store.heard < 10 {
                assert_eq!(near.recv(WAIT).unwrap(), Message::Working);
                store.heard += 1;
            }
            store
        });
        let mut store = Store { to_say: 10, ..Store::default() };
        let mut missing = wanted.clone();
        far.recv_chunks(&mut missing, &mut store).unwrap();
        while store.to_say > 0 {
            store.outgoing(&mut |message| far.send(message)).unwrap();
        }
        let sent = sent.join().unwrap();
        let expected: Vec<u64> =
            wanted.ranges().flatten().filter(|chunk| !(500..510).contains(chunk)).collect();
        assert_eq!((&sent.chunks, &store.chunks), (&expected, &expected));
        assert_eq!(missing, ChunkSet::from(500..510), "what could not be had is still wanted");
        assert_eq!(store.heard, 21);
    });
}

#[test]
fn a_stream_in_dribs_gives_the_same_frames() {
    let (mut link, mut peer) = half();
    let mut bytes = message(&Message::Working);
    (0..40).for_each(|chunk| bytes.extend(framed(Kind::Chunk, chunk, &content(chunk))));
    bytes.extend(message(&Message::End(Part::Chunks)));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            peer.set_nodelay(true).unwrap();
            bytes.chunks(997).for_each(|drib| peer.write_all(drib).unwrap());
        });
        let mut store = Store::default();
        let mut wanted = ChunkSet::from(0..41);
        link.recv_chunks(&mut wanted, &mut store).unwrap();
        assert_eq!((store.chunks, store.heard), ((0..40).collect(), 2));
        assert_eq!(wanted, ChunkSet::from(40..41));
    });
}

#[test]
fn a_damaged_chunk_stays_wanted_and_a_damaged_header_ends_the_link() {
    let (mut link, mut peer) = half();
    let mut bytes = framed(Kind::Chunk, 0, &content(0));
    let mut damaged = framed(Kind::Chunk, 1, &content(1));
    damaged[HEADER_LEN + 99] ^= 1;
    bytes.extend(damaged);
    bytes.extend(framed(Kind::Chunk, 2, &content(2)));
    bytes.extend(message(&Message::End(Part::Chunks)));
    let mut header = framed(Kind::Chunk, 3, &content(3));
    header[9] ^= 1;
    bytes.extend(header);
    peer.write_all(&bytes).unwrap();
    let (mut store, mut wanted) = (Store::default(), ChunkSet::from(0..4));
    link.recv_chunks(&mut wanted, &mut store).unwrap();
    assert_eq!((store.chunks.as_slice(), &wanted), (&[0, 2][..], &[1..2, 3..4].into_iter().collect()));
    let error = link.recv_chunks(&mut wanted, &mut store).unwrap_err();
    assert!(matches!(error, LinkError::Damaged(_)) && error.is_passing(), "{error}");
}

#[test]
fn a_peer_that_is_silent_is_given_up() {
    let (mut link, _peer) = half();
    link.set_idle_limit(Duration::from_millis(30));
    assert!(matches!(link.recv(Duration::from_millis(30)), Err(LinkError::Silent(_))));
    let error = link.recv_chunks(&mut ChunkSet::from(0..1), &mut Store::default()).unwrap_err();
    assert!(matches!(error, LinkError::Silent(_)) && error.is_passing(), "{error}");
}

#[test]
fn a_peer_that_does_not_read_is_given_up() {
    let (mut link, _peer) = half();
    link.set_idle_limit(Duration::from_millis(30));
    let error = link.send_chunks(&ChunkSet::from(1000..1_000_000), &mut Store::default()).unwrap_err();
    assert!(matches!(error, LinkError::Silent(_)), "{error}");
}

#[test]
fn a_peer_that_only_says_that_it_works_is_given_up() {
    let (mut link, mut peer) = half();
    link.set_work_limit(Duration::from_millis(30));
    std::thread::scope(|scope| {
        // Until the link is gone.
        scope.spawn(move || while peer.write_all(&message(&Message::Working)).is_ok() {});
        let error = link.send_chunks(&ChunkSet::from(1000..1_000_000), &mut Store::default()).unwrap_err();
        assert!(matches!(error, LinkError::Stalled(_)) && error.is_passing(), "{error}");
        drop(link);
    });
}

#[test]
fn a_peer_that_speaks_something_else_is_quoted() {
    let (mut link, mut peer) = half();
    peer.write_all(b"SSH-2.0-x\r\n").unwrap();
    let error = link.recv(WAIT).unwrap_err();
    assert!(error.to_string().contains("SSH-2.0-x"), "{error}");
    assert!(!error.is_passing() && error.is_peers_fault());
}

#[test]
fn a_refusal_is_heard_while_chunks_are_sent_and_after_the_peer_hung_up() {
    for chunks in [1..100_000_u64, 1..2] {
        let (mut link, mut peer) = half();
        let refusal = Message::Refuse { refusal: Refusal::NoSpace, text: "no room" };
        peer.write_all(&message(&refusal)).unwrap();
        drop(peer);
        let sent = link.send_chunks(&chunks.into(), &mut Store::default());
        let error = sent.and_then(|()| link.recv(WAIT).map(|_| ())).unwrap_err();
        assert!(matches!(error, LinkError::Refused { refusal: Refusal::NoSpace, .. }), "{error}");
    }
}

#[test]
fn closing_it_from_another_thread_ends_a_wait() {
    let (mut link, _peer) = half();
    let closer = link.closer().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || link.recv(WAIT).map(|_| ()));
        closer.close();
        let ended = waiting.join().unwrap();
        assert!(matches!(ended, Err(LinkError::Closed | LinkError::Unanswered | LinkError::Broken(_))));
    });
}

#[test]
fn who_is_not_to_be_heard_any_more_can_still_be_told_why() {
    for has_key in [false, true] {
        let key = has_key.then(|| seal::Key::from_bytes([1; seal::KEY_LEN]));
        let (mut near, mut far) = whole(&TcpOptions { key, ..TcpOptions::default() });
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
}

#[test]
fn finishing_waits_until_the_peer_has_taken_everything() {
    let (mut link, mut peer) = half();
    link.send(&Message::Hello(Hello { features: 0, software: "x" })).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Bytes that nobody reads would make the kernel throw away what the peer was sent.
            peer.write_all(&[0; 1000]).unwrap();
            let mut heard = Vec::new();
            peer.read_to_end(&mut heard).unwrap();
            assert!(Frame::parse(&heard).unwrap().is_some());
            drop(peer);
        });
        link.finish();
        drop(link);
    });
}

#[test]
fn nobody_there_and_no_such_name_and_no_such_congestion_control() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let error = TcpLink::connect(&free, &TcpOptions::default()).unwrap_err();
    assert!(matches!(error, ConnectError::Connect { .. }) && error.is_passing(), "{error}");
    let error = TcpLink::connect("no port", &TcpOptions::default()).unwrap_err();
    assert!(matches!(error, ConnectError::Lookup { .. }), "{error}");
    let options = TcpOptions { congestion: Some("carrier-pigeon".to_owned()), ..TcpOptions::default() };
    let error = TcpEndpoint::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap_err();
    assert!(error.to_string().contains("carrier-pigeon"), "{error}");
}

#[test]
fn over_tcp_a_datagram_is_a_message_and_its_time_is_told() {
    let (mut near, mut far) = whole(&TcpOptions::default());
    let packet = |number| Message::Packet(framing::Packet { number, sent: 5, filler: &[1, 2, 3] });
    let began = std::time::Instant::now();
    for number in 0..100 {
        assert!(far.send_datagram(&packet(number)).unwrap());
    }
    far.send(&Message::Stop).unwrap();
    for number in 0..100 {
        let arrival = near.recv_any(WAIT).unwrap().unwrap();
        assert_eq!(arrival.message, packet(number));
        assert!(arrival.at >= began);
    }
    assert_eq!(near.recv(WAIT).unwrap(), Message::Stop);
    assert!(near.recv_any(Duration::from_millis(10)).unwrap().is_none());
    assert_eq!((near.max_datagram(), near.datagrams_missed()), (32_768, 0));
    drop(far);
    assert!(matches!(near.recv_any(WAIT), Err(LinkError::Closed)));
}
