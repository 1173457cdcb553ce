//! What the commands at the two ends do: this test program, started again by netsim with a role.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::json;

pub(crate) const CHUNK: usize = 4096;
pub(crate) const CHUNKS: usize = 128;
const SERVER: &str = "10.77.0.2:8120";

/// Marks the last datagrams.
const END: usize = usize::MAX;

#[test]
#[ignore = "it is a role that the other tests give this program"]
fn role() {
    match std::env::var("NETSIM_TEST_ROLE").as_deref() {
        Ok("tcp-server") => tcp_server(),
        Ok("tcp-client") => tcp_client(),
        Ok("reset-server") => reset_server(),
        Ok("reset-client") => reset_client(),
        Ok("udp-server") => udp_server(),
        Ok("udp-client") => udp_client(CHUNKS, CHUNK + 16, Duration::from_millis(4)),
        Ok("small-udp-client") => udp_client(3000, 100, Duration::from_micros(100)),
        _ => {}
    }
}

/// Half a MiB whose every word differs from its neighbours.
pub(crate) fn content(chunk: usize) -> impl Iterator<Item = u8> {
    (0..CHUNK / 4).flat_map(move |word| {
        (chunk.wrapping_mul(CHUNK).wrapping_add(word) as u32).wrapping_mul(0x9e37_79b1).to_be_bytes()
    })
}

fn report(value: &serde_json::Value) {
    let path = std::env::var("NETSIM_TEST_REPORT").unwrap();
    std::fs::write(path, value.to_string()).unwrap();
}

/// A counter of `/proc/net/snmp` of this network.
fn counter(protocol: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/net/snmp").unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut both = names.split(' ').zip(values.split(' '));
    both.find(|(found, _)| *found == name).and_then(|(_, value)| value.parse().ok()).unwrap()
}

fn tcp_server() {
    let listener = TcpListener::bind(SERVER).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let expected = (0..CHUNKS).flat_map(content);
    report(&json!({
        "length": bytes.len(),
        "same": bytes.iter().copied().eq(expected),
        "checksum_errors": counter("Tcp", "InCsumErrors"),
    }));
    stream.write_all(b"done").unwrap();
}

fn tcp_client() {
    let mut stream = TcpStream::connect(SERVER).unwrap();
    let bytes = (0..CHUNKS).flat_map(content).collect::<Vec<_>>();
    stream.write_all(&bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"done");
}

fn reset_server() {
    let listener = TcpListener::bind(SERVER).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let error = std::io::copy(&mut stream, &mut std::io::sink()).expect_err("it is reset");
    report(&json!({ "error": format!("{:?}", error.kind()) }));
}

/// Writes for ever, which ends with an error.
fn reset_client() {
    let mut stream = TcpStream::connect(SERVER).unwrap();
    while stream.write_all(&[0; 1000]).is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Counts datagrams until the end is marked or nothing has come for a while.
fn udp_server() {
    let socket = UdpSocket::bind(SERVER).unwrap();
    let (mut arrived, mut wrong, mut twice) = (std::collections::BTreeSet::new(), 0, 0);
    let mut buffer = [0; 65_536];
    let waiting = loop {
        let (length, peer) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(_) if !arrived.is_empty() => break None,
            Err(error) => panic!("{error}"),
        };
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let datagram = &buffer[..length];
        let number = usize::from_be_bytes(*datagram.first_chunk().unwrap());
        if number == END {
            break Some(peer);
        }
        twice += u64::from(!arrived.insert(number));
        let expected = content(number).take(length - 16);
        wrong += u64::from(!datagram[16..].iter().copied().eq(expected) || datagram[8..16] != [7; 8]);
    };
    report(&json!({
        "arrived": arrived.len(),
        "wrong": wrong,
        "twice": twice,
        "checksum_errors": counter("Udp", "InCsumErrors"),
        "overflows": counter("Udp", "RcvbufErrors"),
    }));
    // Whoever has the answer ends, and netsim ends us.
    if let Some(peer) = waiting {
        let _ = socket.send_to(b"done", peer);
    }
}

/// Sends that many datagrams of that length, then marks of the end until one is answered.
fn udp_client(count: usize, length: usize, pause: Duration) {
    let socket = UdpSocket::bind("10.77.0.1:0").unwrap();
    socket.connect(SERVER).unwrap();
    for number in 0..count {
        let mut datagram = number.to_be_bytes().to_vec();
        datagram.extend([7; 8]);
        datagram.extend(content(number).take(length - 16));
        socket.send(&datagram).unwrap();
        std::thread::sleep(pause);
    }
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    // The answer may be lost. Then the server, which listened before this client was started, is gone already.
    let answered = (0..100).any(|_| {
        let sent = socket.send(&END.to_be_bytes()).and_then(|_| socket.recv(&mut [0; 16]));
        sent.is_ok() || sent.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    });
    assert!(answered, "the server did not answer");
}
