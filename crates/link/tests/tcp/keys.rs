//! Keys: who has it is heard, and nobody else, whatever they do to the bytes on the way.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use seal::{HELLO_LEN, Initiator, KEY_LEN, Key};

use super::server::{Server, hello};
use super::*;

fn options(byte: u8) -> TcpOptions {
    TcpOptions { key: Some(Key::from_bytes([byte; KEY_LEN])), ..TcpOptions::default() }
}

/// Both ends of a link through somebody on the way, who has said something.
fn link_through(server: &Server, address: SocketAddr) -> (TcpLink, Box<dyn Link>) {
    let mut near = TcpLink::connect(&address.to_string(), &options(1)).unwrap();
    near.send(&Message::Working).unwrap();
    let mut far = server.link();
    assert_eq!(far.recv(WAIT).unwrap(), Message::Working);
    (near, far)
}

/// Says `bytes` to a server, and gives all that it answers until it closes.
fn answer_to(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    answer
}

/// What passes between two sides, for who sits between them.
type Spy = Arc<dyn Fn(bool, usize, &mut Vec<u8>) + Send + Sync>;

/// Somebody on the way, who hands `tamper` all bytes: whether they come from the client, what came before, and themselves.
fn man_in_the_middle(server: SocketAddr, tamper: Spy) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let client = listener.accept().unwrap().0;
        let server = TcpStream::connect(server).unwrap();
        let pass = |is_client: bool, mut from: TcpStream, mut to: TcpStream| {
            let (mut before, mut buffer) = (0, [0; 4099]);
            while let Ok(read @ 1..) = from.read(&mut buffer) {
                let mut bytes = buffer[..read].to_vec();
                tamper(is_client, before, &mut bytes);
                before += read;
                if to.write_all(&bytes).is_err() {
                    break;
                }
            }
            // One of them may be gone.
            let _ = to.shutdown(std::net::Shutdown::Write);
        };
        std::thread::scope(|scope| {
            let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            scope.spawn(move || pass(false, down, up));
            pass(true, client, server);
        });
    });
    (address, thread)
}

#[test]
fn chunks_and_messages_cross_each_other_sealed() {
    let (near, far) = whole(&options(1));
    cross(near, far);
}

#[test]
fn nothing_can_be_read_on_the_way() {
    let server = Server::start(&options(1));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let see = seen.clone();
    let (address, relay) = man_in_the_middle(
        server.address,
        Arc::new(move |_, _, bytes| see.lock().unwrap().extend_from_slice(bytes)),
    );
    let mut near = TcpLink::connect(&address.to_string(), &options(1)).unwrap();
    near.send(&hello()).unwrap();
    let mut far = server.link();
    assert_eq!(far.recv(WAIT).unwrap(), hello());
    far.send(&hello()).unwrap();
    assert_eq!(near.recv(WAIT).unwrap(), hello());
    let mut store = Store::default();
    near.send_chunks(&ChunkSet::from(1..50), &mut store).unwrap();
    far.recv_chunks(&mut ChunkSet::from(1..50), &mut Store::default()).unwrap();
    drop((near, far));
    relay.join().unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.len() > 49 * CHUNK_LEN);
    // A chunk of `content` is one byte over and over, most of it.
    let is_plain = |window: &[u8]| window.iter().all(|byte| *byte == window[0]);
    assert!(!seen.windows(16).any(is_plain));
    let has = |text: &[u8]| seen.windows(text.len()).any(|window| window == text);
    assert!(!has(b"a-program") && !has(b"TD\x01"));
}

#[test]
fn whatever_is_wrong_the_server_says_nothing_at_all() {
    let server = Server::start(&options(1));
    let (_, good) = Initiator::begin(&Key::from_bytes([1; KEY_LEN])).unwrap();
    let (_, other) = Initiator::begin(&Key::from_bytes([2; KEY_LEN])).unwrap();
    let mut tries =
        vec![other.to_vec(), b"GET / HTTP/1.1\r\n\r\n".to_vec(), message(&hello()), vec![0; 100_000]];
    for at in 0..HELLO_LEN {
        let mut changed = good;
        changed[at] ^= 1 << (at % 8);
        tries.push(changed.to_vec());
    }
    for bytes in tries {
        assert_eq!(answer_to(&server, &bytes), b"", "{:?}", &bytes[..8]);
    }
    server.assert_sound(&options(1));
}

#[test]
fn other_keys_and_missing_ones_are_told_apart() {
    let server = Server::start(&options(1));
    let address = server.address.to_string();
    let error = TcpLink::connect(&address, &options(2)).unwrap_err();
    assert!(matches!(error, ConnectError::KeysDiffer { .. }) && !error.is_passing(), "{error}");
    let mut keyless = TcpLink::connect(&address, &TcpOptions::default()).unwrap();
    keyless.send(&hello()).unwrap();
    let error = keyless.recv(WAIT).unwrap_err();
    assert!(matches!(error, LinkError::Unanswered), "{error}");
    server.assert_sound(&options(1));

    let server = Server::start(&TcpOptions::default());
    let address = server.address.to_string();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let error = TcpLink::connect(&address, &options(1)).unwrap_err();
            assert!(matches!(error, ConnectError::Keyless { .. }) && !error.is_passing(), "{error}");
        });
        let mut far = server.link();
        far.send(&hello()).unwrap();
        let error = far.recv(WAIT).unwrap_err();
        assert!(matches!(error, LinkError::Keyed), "{error}");
    });
}

#[test]
fn a_server_that_only_pretends_to_have_the_key_is_not_believed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let pretend = |reply: fn(&[u8]) -> Vec<u8>| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut stream = listener.accept().unwrap().0;
                let mut hello = [0; HELLO_LEN];
                stream.read_exact(&mut hello).unwrap();
                stream.write_all(&reply(&hello)).unwrap();
            });
            TcpLink::connect(&address, &options(1)).unwrap_err()
        })
    };
    let error = pretend(<[u8]>::to_vec);
    assert!(matches!(error, ConnectError::KeysDiffer { .. }), "reflected: {error}");
    let error = pretend(|_| [b"TDS\x01", &[9; HELLO_LEN - 4][..]].concat());
    assert!(matches!(error, ConnectError::KeysDiffer { .. }), "made up: {error}");
    let error = pretend(|_| b"TDS\x02 and what a later version may say".to_vec());
    assert!(
        matches!(error, ConnectError::Handshake { .. }) && error.to_string().contains("version 2"),
        "{error}"
    );
    let error = pretend(|_| b"SSH-2.0-x\r\n".to_vec());
    assert!(matches!(error, ConnectError::Handshake { .. }), "{error}");
}

#[test]
fn what_is_changed_on_the_way_ends_the_link_before_it_is_heard() {
    for (is_client, at) in [(true, 98_usize), (true, 140), (true, 5000), (false, 60), (false, 5000)] {
        let server = Server::start(&options(1));
        let tamper = move |from_client: bool, before: usize, bytes: &mut Vec<u8>| {
            if from_client == is_client
                && let Some(byte) = at.checked_sub(before).and_then(|at| bytes.get_mut(at))
            {
                *byte ^= 0x10;
            }
        };
        let (address, relay) = man_in_the_middle(server.address, Arc::new(tamper));
        let (near, far) = link_through(&server, address);
        let mut near: Box<dyn Link> = Box::new(near);
        let (mut from, mut to) =
            if is_client { (near, far) } else { (far, std::mem::replace(&mut near, to_nowhere())) };
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // The other side may break it off before all is sent.
                let _ = from.send_chunks(&ChunkSet::from(1..20), &mut Store::default());
                from.finish();
            });
            let mut store = Store::default();
            let error = to.recv_chunks(&mut ChunkSet::from(1..20), &mut store).unwrap_err();
            assert!(matches!(error, LinkError::Damaged(_)) && error.is_passing(), "{error}");
            assert!(store.chunks.is_empty(), "nothing of a record is heard before its seal is checked");
            drop(to);
        });
        relay.join().unwrap();
    }
}

fn to_nowhere() -> Box<dyn Link> {
    Box::new(half().0)
}

#[test]
fn what_was_recorded_is_worth_nothing_later() {
    let server = Server::start(&options(1));
    let said = Arc::new(Mutex::new(Vec::new()));
    let record = said.clone();
    let (address, relay) = man_in_the_middle(
        server.address,
        Arc::new(move |from_client, _, bytes| {
            if from_client {
                record.lock().unwrap().extend_from_slice(bytes);
            }
        }),
    );
    let mut near = TcpLink::connect(&address.to_string(), &options(1)).unwrap();
    near.send(&hello()).unwrap();
    assert_eq!(server.link().recv(WAIT).unwrap(), hello());
    drop(near);
    relay.join().unwrap();
    let said = said.lock().unwrap().clone();
    // All of it, and its handshake alone: the second is answered, and neither comes in.
    for (said, answer) in [(&said[..], HELLO_LEN), (&said[..HELLO_LEN], HELLO_LEN)] {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(said).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), answer);
    }
    server.assert_sound(&options(1));
}

#[test]
fn who_begins_and_does_not_go_on_is_dropped_in_time() {
    let limit = Duration::from_millis(300);
    let server = Server::start(&TcpOptions { handshake_limit: limit, ..options(1) });
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(b"TDS\x01").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let ended = stream.read(&mut [0; 10]);
    assert!(matches!(&ended, Err(error) if error.kind() == ErrorKind::ConnectionReset), "{ended:?}");
}
