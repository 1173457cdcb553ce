// What both `main.rs`, without a key, and `sealed.rs`, with one, consist of.

mod datagrams;
mod hostile;
mod relay;
mod store;
mod transfer;

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use framing::Message;
use link::{Link, Listener, UdpEndpoint, UdpLink, UdpOptions};
use seal::{KEY_LEN, Key};

const WAIT: Duration = Duration::from_secs(20);

/// The settings that each test begins with.
fn options() -> UdpOptions {
    UdpOptions { key: HAS_KEY.then(|| Key::from_bytes([1; KEY_LEN])), ..UdpOptions::default() }
}

fn endpoint_with(options: &UdpOptions) -> UdpEndpoint {
    UdpEndpoint::bind("127.0.0.1:0".parse().unwrap(), options).unwrap()
}

fn endpoint() -> UdpEndpoint {
    endpoint_with(&options())
}

fn accept(endpoint: &mut UdpEndpoint) -> Box<dyn Link> {
    let (wake, _keep) = UnixStream::pair().unwrap();
    endpoint.accept(wake.as_fd()).unwrap().unwrap()
}

fn connect(server: impl ToString) -> UdpLink {
    UdpLink::connect(&server.to_string(), &options()).unwrap()
}

/// The other end of a link, which nobody gets before something was said.
fn meet(link: &mut UdpLink, endpoint: &mut UdpEndpoint) -> Box<dyn Link> {
    link.send(&Message::Working).unwrap();
    let mut far = accept(endpoint);
    assert_eq!(far.recv(WAIT).unwrap(), Message::Working);
    far
}

/// Both ends of a link, and what listens.
fn whole_with(options: &UdpOptions) -> (UdpLink, Box<dyn Link>, UdpEndpoint) {
    let mut endpoint = endpoint_with(options);
    let server = endpoint.local_addr().to_string();
    let mut link = UdpLink::connect(&server, options).unwrap();
    let far = meet(&mut link, &mut endpoint);
    (link, far, endpoint)
}

fn whole() -> (UdpLink, Box<dyn Link>, UdpEndpoint) {
    whole_with(&options())
}

fn mtu(mtu: u16) -> UdpOptions {
    UdpOptions { mtu: Some(mtu), ..options() }
}

/// A link through a relay that does this to its datagrams.
fn relayed(harm: relay::Harm) -> (UdpLink, Box<dyn Link>, UdpEndpoint, relay::Relay) {
    let mut endpoint = endpoint();
    let relay = relay::Relay::new(endpoint.local_addr(), harm);
    let mut link = connect(relay.address());
    let far = meet(&mut link, &mut endpoint);
    (link, far, endpoint, relay)
}

fn localhost() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Says that something is over, also when a test fails in the middle.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
