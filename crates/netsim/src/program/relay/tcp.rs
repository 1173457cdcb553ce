//! Streams. Each piece of a stream that is read is one packet to the model; where that would be lost, the stream stalls.
//!
//! Four threads a connection: one each way reads, asks the model when the piece is due and queues it, and one waits for
//! that time and writes. The queue between them has an end, so a sender that is faster than the link has to wait.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use netsim::{Cause, CorruptKind, Direction, Fate, Faults};

use super::{STALL, Shared, lock};

/// What a packet carries on Ethernet.
const PIECE: usize = 1448;

/// Pieces that may be under way in one direction of one connection: 1.5 MB.
const UNDER_WAY: usize = 1024;

/// The most connections at once; more are closed as they come.
const MAX_CONNECTIONS: usize = 4096;

const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// A relay's threads do little, and there are many.
const STACK: usize = 128 << 10;

/// Something on its way, and when it is due.
enum Flight {
    Piece(Duration, Vec<u8>),
    /// The sender has said all.
    End(Duration),
    /// The connection is cut.
    Cut(Duration),
}

/// Listens, and relays each connection on threads of its own.
pub(super) fn listen(listen: SocketAddr, to: SocketAddr, shared: &Arc<Shared>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen)?;
    let local = listener.local_addr()?;
    let shared = Arc::clone(shared);
    let open = Arc::new(AtomicUsize::new(0));
    spawn(move || {
        for client in listener.incoming() {
            if shared.is_over() {
                return;
            }
            let Ok(client) = client else {
                // Out of descriptors, most likely: others will be given back.
                thread::sleep(Duration::from_millis(10));
                continue;
            };
            let (shared, place) = (Arc::clone(&shared), Place::take(&open));
            if let Some(place) = place {
                // Without a thread the connection is closed, as it is here.
                let _ = spawn(move || relay(&client, to, &shared, &place));
            }
        }
    })?;
    Ok(local)
}

/// One of the connections that there may be at once.
struct Place(Weak<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let before = open.fetch_add(1, Ordering::Relaxed);
        let place = Self(Arc::downgrade(open));
        (before < MAX_CONNECTIONS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(open) = self.0.upgrade() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().stack_size(STACK).spawn(work).map(|_| ())
}

/// One connection, from its beginning to its end.
fn relay(client: &TcpStream, to: SocketAddr, shared: &Shared, _place: &Place) {
    let server = match TcpStream::connect_timeout(&to, CONNECT_WAIT) {
        Ok(server) => server,
        Err(error) => {
            say!("cannot connect to {to}: {error}");
            return cut(client);
        }
    };
    for stream in [client, &server] {
        // Pieces are to leave when they are due.
        let _ = stream.set_nodelay(true);
    }
    thread::scope(|scope| {
        for (direction, from, into) in [(Direction::Up, client, &server), (Direction::Down, &server, client)]
        {
            let (queue, flights) = sync_channel(UNDER_WAY);
            let builder = || thread::Builder::new().stack_size(STACK);
            let reads = builder().spawn_scoped(scope, move || read(direction, from, &queue, shared));
            let writes =
                builder().spawn_scoped(scope, move || write(direction, &flights, from, into, shared));
            if reads.is_err() || writes.is_err() {
                cut(client);
                cut(&server);
            }
        }
    });
}

fn read(direction: Direction, mut from: &TcpStream, queue: &SyncSender<Flight>, shared: &Shared) {
    let mut buffer = [0; PIECE];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => {
                let _ = queue.send(Flight::Cut(shared.now()));
                return;
            }
        };
        let flight = enter(direction, buffer[..length].to_vec(), shared);
        let cut = matches!(flight, Flight::Cut(_));
        // Nobody writes any more where the connection is over.
        if queue.send(flight).is_err() || cut {
            return;
        }
    }
    let delay = lock(&shared.links[direction as usize]).faults().delay;
    let _ = queue.send(Flight::End(shared.now() + delay));
}

/// What becomes of a piece.
fn enter(direction: Direction, mut piece: Vec<u8>, shared: &Shared) -> Flight {
    let now = shared.now();
    let mut link = lock(&shared.links[direction as usize]);
    let verdict = link.enter(now, piece.len());
    // As if it had arrived the second time that it was sent.
    let mended = now + link.queued(now) + link.faults().delay + STALL;
    let due = match verdict.fate {
        Fate::Dropped(Cause::Blackout) => light_again(link.faults(), now) + link.faults().delay,
        Fate::Dropped(Cause::Loss | Cause::Queue) => mended,
        Fate::Delivered { first, .. } if first.reset => return Flight::Cut(first.at),
        Fate::Delivered { first, .. } => match first.damage {
            Some(damage) if damage.kind() == CorruptKind::Bits => mended,
            Some(damage) => {
                damage.apply(&mut piece);
                first.at
            }
            None => first.at,
        },
    };
    Flight::Piece(due, piece)
}

/// When the blackouts that it is dark in now are over.
fn light_again(faults: &Faults, now: Duration) -> Duration {
    let mut time = now;
    while let Some(window) = faults.blackouts.iter().find(|window| window.contains(time)) {
        time = window.start.saturating_add(window.length);
    }
    time
}

fn write(
    direction: Direction,
    flights: &Receiver<Flight>,
    from: &TcpStream,
    mut into: &TcpStream,
    shared: &Shared,
) {
    // A stream keeps its order: what stalls, stalls what is behind it.
    let mut last = Duration::ZERO;
    let mut wait = |due: Duration| {
        last = last.max(due);
        thread::sleep(last.saturating_sub(shared.now()));
        last
    };
    for flight in flights {
        match flight {
            Flight::Piece(due, piece) => {
                let due = wait(due);
                let written = into.write_all(&piece);
                shared.handed_over(direction, due, written.is_ok());
                if written.is_err() {
                    // So that the reader does not go on either.
                    return cut(from);
                }
            }
            Flight::End(due) => {
                wait(due);
                let _ = into.shutdown(Shutdown::Write);
            }
            Flight::Cut(due) => {
                wait(due);
                cut(into);
                return cut(from);
            }
        }
    }
}

/// Ends a connection with a reset, at once, whoever else uses it.
fn cut(stream: &TcpStream) {
    if rustix::net::connect_unspec(stream).is_err() {
        let _ = stream.shutdown(Shutdown::Both);
    }
}
