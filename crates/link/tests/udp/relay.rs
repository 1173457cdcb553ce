//! A bad network in a box: passes datagrams on between a client and a server, or does not.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const TICK: Duration = Duration::from_millis(5);
/// Bytes of a datagram that is surely one with a part of a chunk.
const LONG: usize = 1000;

/// What is to be done to datagrams.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Harm {
    /// One in so many is lost, in each direction.
    pub(crate) lose: Option<u64>,
    /// One in so many comes twice.
    pub(crate) double: Option<u64>,
    /// In one of so many a byte is changed.
    pub(crate) damage: Option<u64>,
    /// One in so many waits for the next one.
    pub(crate) delay: Option<u64>,
    /// Datagrams from the server that are longer than this vanish, and those from the client.
    pub(crate) longest: Option<usize>,
}

struct Shared {
    front: UdpSocket,
    back: Mutex<Arc<UdpSocket>>,
    server: Mutex<SocketAddr>,
    client: Mutex<Option<SocketAddr>>,
    harm: Mutex<Harm>,
    stop: AtomicBool,
    dice: AtomicU64,
    passed: AtomicU64,
    /// A few datagrams of the client.
    kept: Mutex<Vec<Vec<u8>>>,
    /// How many long datagrams of the client are still to be held back, and those.
    holds: AtomicU64,
    held: Mutex<Vec<Vec<u8>>>,
}

/// A relay; it stops when it is dropped.
pub(crate) struct Relay {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    pub(crate) fn new(server: SocketAddr, harm: Harm) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").unwrap();
        front.set_read_timeout(Some(TICK)).unwrap();
        let shared = Arc::new(Shared {
            front,
            back: Mutex::new(Arc::new(back())),
            server: Mutex::new(server),
            client: Mutex::default(),
            harm: Mutex::new(harm),
            stop: AtomicBool::default(),
            dice: AtomicU64::new(0x1234_5678_9abc_def1),
            passed: AtomicU64::default(),
            kept: Mutex::default(),
            holds: AtomicU64::default(),
            held: Mutex::default(),
        });
        let (there, thence) = (shared.clone(), shared.clone());
        let threads =
            vec![std::thread::spawn(move || there.forth()), std::thread::spawn(move || thence.back())];
        Self { shared, threads }
    }

    pub(crate) fn address(&self) -> String {
        self.shared.front.local_addr().unwrap().to_string()
    }

    /// Datagrams that were passed on so far.
    pub(crate) fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::Relaxed)
    }

    /// Goes on from another port, as a NAT does that has forgotten the old one.
    pub(crate) fn rebind(&self) {
        *self.shared.back.lock().unwrap() = Arc::new(back());
    }

    /// Does something else to datagrams from now on.
    pub(crate) fn change(&self, harm: Harm) {
        *self.shared.harm.lock().unwrap() = harm;
    }

    /// Passes on to another server.
    pub(crate) fn turn_to(&self, server: SocketAddr) {
        *self.shared.server.lock().unwrap() = server;
    }

    /// Holds back so many of the next long datagrams of the client.
    pub(crate) fn hold(&self, count: u64) {
        self.shared.holds.store(count, Ordering::Relaxed);
    }

    /// Lets them go after all: how many there were.
    pub(crate) fn let_go(&self) -> usize {
        let held = std::mem::take(&mut *self.shared.held.lock().unwrap());
        let server = *self.shared.server.lock().unwrap();
        let back = self.shared.back.lock().unwrap().clone();
        held.iter().filter(|late| back.send_to(late, server).is_ok()).count()
    }

    /// A few datagrams that the client sent.
    pub(crate) fn kept(&self) -> Vec<Vec<u8>> {
        self.shared.kept.lock().unwrap().clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

fn back() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(TICK)).unwrap();
    socket
}

impl Shared {
    fn forth(&self) {
        let mut buffer = vec![0; 65536];
        let mut waiting = None;
        while !self.stop.load(Ordering::Relaxed) {
            let Ok((len, from)) = self.front.recv_from(&mut buffer) else { continue };
            *self.client.lock().unwrap() = Some(from);
            let mut kept = self.kept.lock().unwrap();
            if kept.len() < 200 {
                kept.push(buffer[..len].to_vec());
            }
            drop(kept);
            let less = |left: u64| left.checked_sub(1);
            if len >= LONG && self.holds.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
                self.held.lock().unwrap().push(buffer[..len].to_vec());
                continue;
            }
            let server = *self.server.lock().unwrap();
            let back = self.back.lock().unwrap().clone();
            self.pass(&mut buffer[..len], &mut waiting, |datagram| {
                let _ = back.send_to(datagram, server);
            });
        }
    }

    fn back(&self) {
        let mut buffer = vec![0; 65536];
        let mut waiting = None;
        while !self.stop.load(Ordering::Relaxed) {
            let back = self.back.lock().unwrap().clone();
            let Ok((len, _)) = back.recv_from(&mut buffer) else { continue };
            let Some(client) = *self.client.lock().unwrap() else { continue };
            self.pass(&mut buffer[..len], &mut waiting, |datagram| {
                let _ = self.front.send_to(datagram, client);
            });
        }
    }

    fn pass(&self, datagram: &mut [u8], waiting: &mut Option<Vec<u8>>, send: impl Fn(&[u8])) {
        let harm = *self.harm.lock().unwrap();
        let too_long = harm.longest.is_some_and(|longest| datagram.len() > longest);
        if too_long || self.falls(harm.lose) {
            return;
        }
        if self.falls(harm.damage) {
            let at = self.draw() as usize % datagram.len();
            datagram[at] ^= 1 << (self.draw() % 8);
        }
        self.passed.fetch_add(1, Ordering::Relaxed);
        if waiting.is_none() && self.falls(harm.delay) {
            *waiting = Some(datagram.to_vec());
            return;
        }
        send(datagram);
        if self.falls(harm.double) {
            send(datagram);
        }
        if let Some(late) = waiting.take() {
            send(&late);
        }
    }

    fn falls(&self, one_in: Option<u64>) -> bool {
        one_in.is_some_and(|one_in| self.draw().is_multiple_of(one_in))
    }

    fn draw(&self) -> u64 {
        let mut x = self.dice.load(Ordering::Relaxed);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.dice.store(x, Ordering::Relaxed);
        x >> 11
    }
}
