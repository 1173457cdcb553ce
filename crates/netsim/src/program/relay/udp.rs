//! Datagrams. Each is one packet to the model.
//!
//! One thread takes in what clients send; each client has a socket to the server and a thread that takes in the answers;
//! and one thread hands over what is due.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use netsim::{CorruptKind, Direction};

use super::{Shared, lock};

/// A client that says nothing and is told nothing for so long is forgotten.
const IDLE: Duration = Duration::from_secs(60);

/// The most clients at once; what others send is dropped.
const MAX_CLIENTS: usize = 4096;

/// Bytes that may be under way.
const UNDER_WAY: usize = 256 << 20;

/// The longest datagram.
const LONGEST: usize = 65_536;

const STACK: usize = 192 << 10;

/// What is under way, soonest first.
#[derive(Default)]
struct Sky {
    flights: Mutex<Flights>,
    changed: Condvar,
}

#[derive(Default)]
struct Flights {
    heap: BinaryHeap<Reverse<Flight>>,
    order: u64,
    bytes: usize,
}

struct Flight {
    due: Duration,
    order: u64,
    direction: Direction,
    bytes: Vec<u8>,
    through: Arc<UdpSocket>,
    /// Where the socket is not connected.
    to: Option<SocketAddr>,
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.order) == (other.due, other.order)
    }
}

impl Eq for Flight {}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The clients' sockets to the server. A client's thread takes it out when it has been idle.
type Clients = Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>>;

/// Listens, and relays each client's datagrams.
pub(super) fn listen(listen: SocketAddr, to: SocketAddr, shared: &Arc<Shared>) -> io::Result<SocketAddr> {
    let listener = Arc::new(UdpSocket::bind(listen)?);
    let local = listener.local_addr()?;
    let sky = Arc::new(Sky::default());
    let pilot = (Arc::clone(&sky), Arc::clone(shared));
    spawn(move || hand_over(&pilot.0, &pilot.1))?;
    let shared = Arc::clone(shared);
    spawn(move || take_in(&listener, to, &sky, &shared))?;
    Ok(local)
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().stack_size(STACK).spawn(work).map(|_| ())
}

fn take_in(listener: &Arc<UdpSocket>, to: SocketAddr, sky: &Arc<Sky>, shared: &Arc<Shared>) {
    let clients = Clients::default();
    let mut buffer = vec![0; LONGEST];
    while !shared.is_over() {
        // An answer of ours that could not be delivered is told here as an error; it says nothing about the next datagram.
        let Ok((length, client)) = listener.recv_from(&mut buffer) else { continue };
        let known = lock(&clients).get(&client).cloned();
        let server = match known.map_or_else(|| greet(client, to, &clients, listener, sky, shared), Ok) {
            Ok(server) => server,
            Err(error) => {
                say!("{client} is not relayed: {error}");
                continue;
            }
        };
        sky.enter(Direction::Up, &buffer[..length], &server, None, shared);
    }
}

/// Opens a new client's socket to the server, and starts the thread that takes in the answers.
fn greet(
    client: SocketAddr,
    to: SocketAddr,
    clients: &Clients,
    listener: &Arc<UdpSocket>,
    sky: &Arc<Sky>,
    shared: &Arc<Shared>,
) -> io::Result<Arc<UdpSocket>> {
    if lock(clients).len() >= MAX_CLIENTS {
        return Err(io::Error::other("there are too many clients"));
    }
    let any = match to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let server = Arc::new(UdpSocket::bind(any)?);
    server.connect(to)?;
    server.set_read_timeout(Some(IDLE))?;
    let (answers, clients_of_thread) = (Arc::clone(&server), Arc::clone(clients));
    let (listener, sky, shared) = (Arc::clone(listener), Arc::clone(sky), Arc::clone(shared));
    lock(clients).insert(client, Arc::clone(&server));
    spawn(move || {
        let mut buffer = vec![0; LONGEST];
        loop {
            match answers.recv(&mut buffer) {
                Ok(length) => sky.enter(Direction::Down, &buffer[..length], &listener, Some(client), &shared),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    break;
                }
                // The server is not there, or not yet.
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
        lock(&clients_of_thread).remove(&client);
    })?;
    Ok(server)
}

impl Sky {
    /// Asks the model about a datagram, and puts what arrives of it under way.
    fn enter(
        &self,
        direction: Direction,
        bytes: &[u8],
        through: &Arc<UdpSocket>,
        to: Option<SocketAddr>,
        shared: &Shared,
    ) {
        let verdict = lock(&shared.links[direction as usize]).enter(shared.now(), bytes.len());
        let mut flights = lock(&self.flights);
        for delivery in verdict.deliveries() {
            if delivery.reset {
                // There is no TCP in it.
                lock(&shared.outcomes[direction as usize]).unspoilt += 1;
            }
            let mut bytes = bytes.to_vec();
            match delivery.damage {
                // A kernel would drop it for its checksum.
                Some(damage) if damage.kind() == CorruptKind::Bits => continue,
                Some(damage) if damage.apply(&mut bytes).is_none() => {
                    lock(&shared.outcomes[direction as usize]).unspoilt += 1;
                }
                _ => {}
            }
            if flights.bytes + bytes.len() > UNDER_WAY {
                lock(&shared.outcomes[direction as usize]).overrun += 1;
                continue;
            }
            flights.bytes += bytes.len();
            flights.order += 1;
            let order = flights.order;
            let through = Arc::clone(through);
            flights.heap.push(Reverse(Flight { due: delivery.at, order, direction, bytes, through, to }));
        }
        drop(flights);
        self.changed.notify_one();
    }

    /// Waits for what is due next.
    fn next(&self, shared: &Shared) -> Flight {
        let mut flights = lock(&self.flights);
        loop {
            let next = flights.heap.peek();
            let wait = next.map(|Reverse(flight)| flight.due.saturating_sub(shared.now()));
            if wait == Some(Duration::ZERO)
                && let Some(Reverse(flight)) = flights.heap.pop()
            {
                flights.bytes -= flight.bytes.len();
                return flight;
            }
            flights = match wait {
                None => self.changed.wait(flights).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => {
                    self.changed.wait_timeout(flights, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

fn hand_over(sky: &Sky, shared: &Shared) {
    // As the emulator's threads do.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    while !shared.is_over() {
        let Flight { due, direction, bytes, through, to, .. } = sky.next(shared);
        let sent = match to {
            Some(client) => through.send_to(&bytes, client),
            None => through.send(&bytes),
        };
        shared.handed_over(direction, due, sent.is_ok());
    }
}
