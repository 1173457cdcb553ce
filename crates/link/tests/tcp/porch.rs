//! Those who have not said anything yet: they keep nobody out, and are not waited for.

use std::io::ErrorKind;
use std::time::Instant;

use seal::{Initiator, KEY_LEN, Key};

use super::server::{Server, hello};
use super::*;

fn options(has_key: bool) -> TcpOptions {
    TcpOptions { key: has_key.then(|| Key::from_bytes([1; KEY_LEN])), ..TcpOptions::default() }
}

/// What a client begins with, some of it.
fn beginning(has_key: bool) -> Vec<u8> {
    let whole = match has_key {
        true => Initiator::begin(&Key::from_bytes([1; KEY_LEN])).unwrap().1.to_vec(),
        false => message(&hello()),
    };
    whole[..whole.len() - 1].to_vec()
}

#[test]
fn a_crowd_that_says_nothing_whole_is_only_in_its_own_way() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    for has_key in [false, true] {
        let server = Server::start(&options(has_key));
        let begin = beginning(has_key);
        // More than may wait.
        let crowd: Vec<TcpStream> = (0..700)
            .map(|at| {
                let mut stream = TcpStream::connect(server.address).unwrap();
                if at % 2 == 0 {
                    stream.write_all(&begin).unwrap();
                }
                stream
            })
            .collect();
        server.assert_sound(&options(has_key));
        // And those of the crowd that still wait lose nothing by it.
        drop(crowd);
        server.assert_sound(&options(has_key));
    }
}

#[test]
fn who_says_a_byte_now_and_then_is_not_waited_for_any_longer() {
    let limit = Duration::from_millis(300);
    for has_key in [false, true] {
        let server = Server::start(&TcpOptions { handshake_limit: limit, ..options(has_key) });
        let began = Instant::now();
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut bytes = beginning(has_key).into_iter().cycle();
        let ended = loop {
            let _ = stream.write_all(&[bytes.next().unwrap()]);
            match stream.read(&mut [0; 64]) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                ended => break ended,
            }
            // As long as it takes to say all but the last byte.
            if began.elapsed() > WAIT {
                panic!("it is still waited for");
            }
        };
        assert!(matches!(&ended, Err(error) if error.kind() == ErrorKind::ConnectionReset), "{ended:?}");
        assert!(began.elapsed() >= limit);
        server.assert_sound(&options(has_key));
    }
}

#[test]
fn what_was_said_before_it_came_in_is_heard() {
    let server = Server::start(&TcpOptions::default());
    let mut stream = TcpStream::connect(server.address).unwrap();
    let both = [message(&hello()), message(&Message::Echo(b"and more")), message(&Message::Working)].concat();
    let (start, rest) = both.split_at(both.len() - 3);
    stream.write_all(start).unwrap();
    let mut far = server.link();
    assert_eq!(far.recv(WAIT).unwrap(), hello());
    assert_eq!(far.recv(WAIT).unwrap(), Message::Echo(b"and more"));
    stream.write_all(rest).unwrap();
    assert_eq!(far.recv(WAIT).unwrap(), Message::Working);
}

#[test]
fn a_first_message_that_has_no_end_is_not_waited_for() {
    let server = Server::start(&TcpOptions::default());
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(&message(&Message::Echo(&[7; 10_000]))[..9_000]).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
    server.assert_sound(&TcpOptions::default());
}

#[test]
fn what_is_no_frame_comes_in_to_be_answered() {
    let server = Server::start(&TcpOptions::default());
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut far = server.link();
    let error = far.recv(WAIT).unwrap_err();
    assert!(error.to_string().contains("GET / HTTP/1.1"), "{error}");
    far.send(&hello()).unwrap();
    let mut heard = [0; 3];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(&heard[..2], b"TD");
}
