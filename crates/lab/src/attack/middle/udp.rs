//! Between clients and a UDP socket.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{Piece, SOON, Shared, Way};

/// What sockets are to hold, so that it is the network and not the kernel that loses something.
const BUFFER: usize = 4 << 20;

/// A client, and the socket that stands for it.
struct Session {
    number: usize,
    client: SocketAddr,
    front: UdpSocket,
    back: UdpSocket,
    passed: [AtomicUsize; 2],
}

/// Listens for clients: where.
pub(super) fn listen(shared: &Arc<Shared>) -> io::Result<SocketAddr> {
    let front = socket()?;
    let address = front.local_addr()?;
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let mut sessions: HashMap<SocketAddr, Arc<Session>> = HashMap::new();
        let mut buffer = vec![0; 65_535];
        while !shared.has_ended() {
            let Ok((len, client)) = front.recv_from(&mut buffer) else { continue };
            let number = sessions.len();
            if let std::collections::hash_map::Entry::Vacant(place) = sessions.entry(client) {
                let Ok(session) = begin(&shared, &front, client, number) else { continue };
                place.insert(session);
            }
            if let Some(session) = sessions.get(&client) {
                session.pass(&shared, Way::Up, &buffer[..len]);
            }
        }
    });
    Ok(address)
}

fn begin(
    shared: &Arc<Shared>,
    front: &UdpSocket,
    client: SocketAddr,
    number: usize,
) -> io::Result<Arc<Session>> {
    let back = socket()?;
    back.connect(shared.server)?;
    let session = Session { number, client, front: front.try_clone()?, back, passed: Default::default() };
    let session = Arc::new(session);
    let (own, shared) = (Arc::clone(&session), Arc::clone(shared));
    thread::spawn(move || {
        let mut buffer = vec![0; 65_535];
        while !shared.has_ended() {
            if let Ok(len) = own.back.recv(&mut buffer) {
                own.pass(&shared, Way::Down, &buffer[..len]);
            }
        }
    });
    Ok(session)
}

impl Session {
    fn pass(&self, shared: &Shared, way: Way, bytes: &[u8]) {
        let index = self.passed[way as usize].fetch_add(1, Ordering::Relaxed);
        let piece = Piece { session: self.number, way, index, bytes: bytes.to_vec() };
        for (way, bytes) in shared.judge(piece) {
            // What can't be sent is lost.
            let _ = match way {
                Way::Up => self.back.send(&bytes),
                Way::Down => self.front.send_to(&bytes, self.client),
            };
        }
    }
}

fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(SOON))?;
    // As much as the system allows.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, BUFFER);
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, BUFFER);
    Ok(socket)
}
