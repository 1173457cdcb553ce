//! A way to a UDP server that does to datagrams what networks do.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use lab::process::LIMIT;

use crate::scene::Dice;

/// The largest datagram.
const LARGEST: usize = 65_535;
/// How soon a thread notices that it is to end.
const SOON: Duration = Duration::from_millis(20);
/// What sockets are to hold, so that it is the relay and not the kernel that loses something.
const BUFFER: usize = 4 << 20;

/// What happens to datagrams on either way: for how many of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// One bit is another.
    pub(crate) damaged: u64,
    /// Held back until the next one has passed.
    pub(crate) overtaken: u64,
}

/// Passes datagrams between clients and a server. It ends when it is dropped, or when the server's port is closed; its own
/// are closed then too, as the error would come through without it.
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    weather: Weather,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    dice: Dice,
    /// The way back for each client.
    backs: HashMap<SocketAddr, Arc<UdpSocket>>,
    /// Bytes that passed to the server, and how many may.
    passed: u64,
    limit: u64,
    /// Whether something was held up by the limit.
    is_shut: bool,
    is_blocked: bool,
    has_ended: bool,
    /// The first datagrams that passed to the server.
    first: Vec<Vec<u8>>,
}

impl Relay {
    pub(crate) fn new(server: SocketAddr, weather: Weather) -> Self {
        // Its threads have it alone, so that the port is closed when they end.
        let front = Arc::new(socket(server));
        let address = front.local_addr().unwrap();
        let state = State {
            dice: Dice::new(11),
            backs: HashMap::new(),
            passed: 0,
            limit: u64::MAX,
            is_shut: false,
            is_blocked: false,
            has_ended: false,
            first: Vec::new(),
        };
        let shared = Shared { server, weather, state: Mutex::new(state), changed: Condvar::new() };
        let shared = Arc::new(shared);
        let own = shared.clone();
        thread::spawn(move || own.pass_to_server(&front));
        Self { address, shared }
    }

    /// One that lets so many bytes pass to the server.
    pub(crate) fn with_limit(server: SocketAddr, limit: u64) -> Self {
        let relay = Self::new(server, Weather::default());
        relay.shared.state().limit = limit;
        relay
    }

    /// What clients are to take for the server.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until so many bytes have passed to the server.
    pub(crate) fn wait_until_passed(&self, bytes: u64) {
        self.wait_while(|state| state.passed < bytes);
    }

    /// Waits until the limit holds something up.
    pub(crate) fn wait_until_shut(&self) {
        self.wait_while(|state| !state.is_shut);
    }

    fn wait_while(&self, is_so: impl Fn(&State) -> bool) {
        let state = self.shared.state();
        let changed = &self.shared.changed;
        let waited = changed.wait_timeout_while(state, LIMIT, |state| is_so(state)).unwrap().1;
        assert!(!waited.timed_out(), "nothing passes the relay");
    }

    /// Lets so many more bytes pass.
    pub(crate) fn open(&self, bytes: u64) {
        let mut state = self.shared.state();
        state.limit = state.limit.saturating_add(bytes);
        state.is_shut = false;
    }

    /// Lets nothing pass either way, or all again.
    pub(crate) fn block(&self, is_blocked: bool) {
        self.shared.state().is_blocked = is_blocked;
    }

    /// Goes on from another port, as behind a NAT that has forgotten: what comes to the old one is lost.
    pub(crate) fn rebind(&self) {
        self.shared.state().backs.clear();
    }

    /// The first datagrams that passed to the server.
    pub(crate) fn first(&self) -> Vec<Vec<u8>> {
        self.shared.state().first.clone()
    }

    /// Sends the first datagrams that passed to the server again, in the name of every client: how many.
    pub(crate) fn replay(&self) -> usize {
        let state = self.shared.state();
        for back in state.backs.values() {
            state.first.iter().for_each(|datagram| {
                let _ = back.send(datagram);
            });
        }
        state.first.len()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn end(&self) {
        let mut state = self.state();
        state.has_ended = true;
        state.backs.clear();
        self.changed.notify_all();
    }

    fn pass_to_server(self: Arc<Self>, front: &Arc<UdpSocket>) {
        let mut buffer = vec![0; LARGEST];
        let mut held = None;
        while !self.state().has_ended {
            let Ok((len, client)) = front.recv_from(&mut buffer) else { continue };
            let Some(back) = self.back_of(client, front) else { continue };
            self.pass(&mut buffer[..len], &mut held, true, |datagram| {
                let sent = back.send(datagram);
                // Whoever asks first is told.
                if sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
                    self.end();
                }
                sent
            });
        }
    }

    fn pass_to_client(self: Arc<Self>, back: &Arc<UdpSocket>, front: &UdpSocket, client: SocketAddr) {
        let mut buffer = vec![0; LARGEST];
        let mut held = None;
        loop {
            let received = back.recv(&mut buffer);
            if !self.state().backs.get(&client).is_some_and(|current| Arc::ptr_eq(current, back)) {
                return;
            }
            match received {
                Ok(len) => {
                    self.pass(&mut buffer[..len], &mut held, false, |datagram| {
                        front.send_to(datagram, client)
                    });
                }
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return self.end(),
                Err(_) => {}
            }
        }
    }

    /// The socket that stands for a client; `None` when the relay has ended.
    fn back_of(self: &Arc<Self>, client: SocketAddr, front: &Arc<UdpSocket>) -> Option<Arc<UdpSocket>> {
        let mut state = self.state();
        if state.has_ended {
            return None;
        }
        if let Some(back) = state.backs.get(&client) {
            return Some(back.clone());
        }
        let back = Arc::new(socket(self.server));
        back.connect(self.server).unwrap();
        state.backs.insert(client, back.clone());
        let (own, other, front) = (self.clone(), back.clone(), front.clone());
        thread::spawn(move || own.pass_to_client(&other, &front, client));
        Some(back)
    }

    /// Sends a datagram on, or what becomes of it.
    fn pass(
        &self,
        datagram: &mut [u8],
        held: &mut Option<Vec<u8>>,
        to_server: bool,
        send: impl Fn(&[u8]) -> io::Result<usize>,
    ) {
        let (copies, is_overtaken) = {
            let mut state = self.state();
            if state.is_blocked {
                return;
            }
            if to_server {
                let passed = state.passed + datagram.len() as u64;
                if passed > state.limit {
                    state.is_shut = true;
                    self.changed.notify_all();
                    return;
                }
                state.passed = passed;
                self.changed.notify_all();
                if state.first.len() < 200 {
                    state.first.push(datagram.to_vec());
                }
            }
            let weather = self.weather;
            let mut happens = |per_mille| state.dice.below(1000) < per_mille;
            let copies = if happens(weather.lost) { 0 } else { 1 + usize::from(happens(weather.doubled)) };
            let is_overtaken = happens(weather.overtaken);
            if happens(weather.damaged) && !datagram.is_empty() {
                let bit = state.dice.below(8 * datagram.len() as u64) as usize;
                datagram[bit / 8] ^= 1 << (bit % 8);
            }
            (copies, is_overtaken)
        };
        // It is a network: what can't be sent is lost.
        for _ in 0..copies {
            if is_overtaken && held.is_none() {
                *held = Some(datagram.to_vec());
            } else {
                let _ = send(datagram);
            }
        }
        if copies > 0
            && !is_overtaken
            && let Some(late) = held.take()
        {
            let _ = send(&late);
        }
    }
}

/// A socket of this machine, on a free port, of the address family of `like`.
fn socket(like: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::new(like.ip(), 0)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    // As much as the system allows.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, BUFFER);
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, BUFFER);
    socket
}
