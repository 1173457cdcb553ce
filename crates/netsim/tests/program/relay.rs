//! The relay, which works everywhere.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{User, netsim};

/// A relay that runs.
struct Relay {
    child: Child,
    address: SocketAddr,
    room: tempfile::TempDir,
}

impl Relay {
    fn start(protocol: &str, to: SocketAddr, faults: &[&str]) -> Self {
        let room = tempfile::tempdir().unwrap();
        let mut child = netsim(User::Myself)
            .args([
                "relay",
                "--proto",
                protocol,
                "--listen",
                "127.0.0.1:0",
                "--to",
                &to.to_string(),
                "--stats-json",
            ])
            .arg(room.path().join("stats.json"))
            .args(faults)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.next().unwrap().unwrap();
        let address =
            ready.split(" on ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
        thread::spawn(move || lines.for_each(drop));
        Self { child, address, room }
    }

    /// Ends it as a person would, and gives its statistics.
    fn end(mut self) -> Value {
        let status = Command::new("kill").args(["-s", "INT", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success() && self.child.wait().unwrap().success());
        serde_json::from_str(&std::fs::read_to_string(self.room.path().join("stats.json")).unwrap()).unwrap()
    }
}

/// Sends back what it is sent.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || {
                std::io::copy(&mut &stream, &mut &stream).map(|_| stream.shutdown(Shutdown::Write))
            });
        }
    });
    address
}

/// What comes back for these bytes.
fn echo(address: SocketAddr, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    thread::scope(|scope| {
        let mut writer = stream.try_clone()?;
        scope.spawn(move || writer.write_all(bytes).and_then(|()| writer.shutdown(Shutdown::Write)));
        let mut back = Vec::new();
        stream.read_to_end(&mut back).map(|_| back)
    })
}

#[test]
fn a_thousand_connections() {
    let relay = Relay::start("tcp", echo_server(), &["--delay", "5ms", "--jitter", "5ms"]);
    let address = relay.address;
    thread::scope(|scope| {
        for lane in 0..50_usize {
            scope.spawn(move || {
                for turn in 0..20_usize {
                    let length = (lane * 20 + turn) * 37 % 20_011;
                    let bytes = (0..length).map(|at| ((at * (lane + 1)) >> 3) as u8).collect::<Vec<_>>();
                    assert!(echo(address, &bytes).unwrap() == bytes, "{lane} {turn}");
                }
            });
        }
    });
    let stats = relay.end();
    assert_eq!((&stats["up"]["refused"], &stats["down"]["refused"]), (&0.into(), &0.into()), "{stats}");
    assert_eq!(stats["up"]["sent"], stats["up"]["entered"]);
}

#[test]
fn a_stream_stalls_where_a_packet_would_be_lost() {
    let relay = Relay::start("tcp", echo_server(), &["--up", "loss=at:1"]);
    let began = Instant::now();
    assert_eq!(echo(relay.address, b"one").unwrap(), b"one");
    let quick = began.elapsed();
    let began = Instant::now();
    assert_eq!(echo(relay.address, b"two").unwrap(), b"two");
    let slow = began.elapsed();
    assert!(slow >= Duration::from_millis(200), "{quick:?} {slow:?}");
    assert_eq!(relay.end()["up"]["lost"], 1);
}

#[test]
fn a_stream_is_cut_by_a_reset_and_damaged_neutrally() {
    let relay = Relay::start("tcp", echo_server(), &["--up", "reset=at:0"]);
    let error = echo(relay.address, b"hello").expect_err("it is cut");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(echo(relay.address, b"hello").unwrap(), b"hello");
    relay.end();
    let relay = Relay::start("tcp", echo_server(), &["--up", "corrupt=100%:neutral"]);
    assert_eq!(echo(relay.address, b"aabb").unwrap(), b"bbaa");
    relay.end();
}

#[test]
fn a_server_that_is_not_there() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let relay = Relay::start("tcp", free, &[]);
    assert!(!echo(relay.address, b"hello").is_ok_and(|back| !back.is_empty()));
    relay.end();
}

#[test]
fn a_stream_stays_whole_whatever_happens() {
    let faults = [
        "--loss=2%",
        "--dup=20%",
        "--reorder=20%:1ms-9ms",
        "--jitter=5ms:reorders",
        "--rate=20mbit",
        "--queue=200p",
        "--corrupt=2%:bits",
    ];
    let relay = Relay::start("tcp", echo_server(), &faults);
    let bytes = (0..100_000_u32).flat_map(u32::to_be_bytes).collect::<Vec<_>>();
    assert!(echo(relay.address, &bytes).unwrap() == bytes);
    let stats = relay.end();
    assert_eq!(stats["up"]["refused"], 0);
}

#[test]
fn datagrams_are_lost_doubled_and_damaged() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let faults = ["--up", "loss=10% dup=10% corrupt=10%:fixup", "--delay", "2ms", "--seed", "3"];
    let relay = Relay::start("udp", server.local_addr().unwrap(), &faults);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(relay.address).unwrap();
    let sender = thread::spawn(move || {
        for _ in 0..1000 {
            client.send(&[7; 100]).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        client
    });
    let (mut good, mut damaged) = (0_u64, 0_u64);
    let mut buffer = [0; 200];
    let mut peer = None;
    while let Ok((length, from)) = server.recv_from(&mut buffer) {
        peer = Some(from);
        assert_eq!(length, 100);
        let whole = buffer[..length].iter().all(|&byte| byte == 7);
        (good, damaged) = (good + u64::from(whole), damaged + u64::from(!whole));
        server.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    }
    let client = sender.join().unwrap();
    server.send_to(b"back", peer.unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(client.recv(&mut buffer).unwrap(), 4);
    let stats = relay.end();
    let up = |field: &str| stats["up"][field].as_u64().unwrap();
    assert_eq!((up("entered"), up("sent")), (1000, good + damaged), "{stats}");
    assert_eq!((up("delivered"), up("corrupted")), (good + damaged, damaged));
    assert!((50..150).contains(&up("lost")) && (50..150).contains(&up("duplicated")));
    assert_eq!(stats["down"]["sent"], 1);
}
