//! What strangers cost a UDP server. Alone in its process, whose memory it measures.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use framing::{Message, packet};
use link::{Link, Listener, UdpEndpoint, UdpLink, UdpOptions};

#[test]
fn strangers_cost_nothing_and_are_sent_little() {
    let localhost: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let mut server = UdpEndpoint::bind(localhost, &UdpOptions::default()).unwrap();
    let address = server.local_addr();
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let stranger = UdpSocket::bind(localhost).unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let (mut sent, mut got) = (0, 0);
    let mut buffer = [0; 2048];
    let mut flood = |from: u32, count: u32| {
        for cid in from..from + count {
            let mut init = Vec::new();
            packet::init(&mut init, packet::VERSION, cid, u64::from(cid));
            // Connect with a token that is made up, and a packet of a connection that there is not.
            let mut connect = Vec::new();
            packet::begin_connect(&mut connect, cid, cid, &[7; packet::TOKEN_LEN], 0);
            packet::put_ping(&mut connect);
            packet::seal(&mut connect, 0);
            let mut data = Vec::new();
            packet::begin_data(&mut data, cid, 5);
            packet::put_padding(&mut data, 100);
            packet::seal(&mut data, 0);
            for datagram in [init, connect, data] {
                sent += datagram.len();
                stranger.send_to(&datagram, address).unwrap();
            }
            if cid % 64 == 0 {
                while let Ok(len) = stranger.recv(&mut buffer) {
                    got += len;
                    if len < 40 {
                        break;
                    }
                }
            }
        }
    };
    flood(0, 2000);
    let before = resident();
    flood(2000, 20_000);
    while let Ok(len) = stranger.recv(&mut buffer) {
        got += len;
    }
    assert!(resident() < before + (4 << 20), "{} more", resident() - before);
    assert!(got > 0 && got < 3 * sent, "{got} for {sent}");
    // And nobody came of it, while a client that means it is served.
    let (wake, other) = UnixStream::pair().unwrap();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        drop(other);
    });
    assert!(server.accept(wake.as_fd()).unwrap().is_none());
    let mut near = UdpLink::connect(&address.to_string(), &UdpOptions::default()).unwrap();
    let (wake, _keep) = UnixStream::pair().unwrap();
    near.send(&Message::Working).unwrap();
    let mut far = server.accept(wake.as_fd()).unwrap().unwrap();
    assert_eq!(far.recv(Duration::from_secs(20)).unwrap(), Message::Working);
}
