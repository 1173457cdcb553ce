//! Between two ends of TCP connections.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use seal::{HELLO_LEN, MAGIC, MAX_PLAIN_LEN, RECORD_OVERHEAD};

use super::{Piece, SOON, Shared, Way};

/// Both ends of a connection, to write to.
type Ends = [Mutex<TcpStream>; 2];

/// Listens for clients: where.
pub(super) fn listen(shared: &Arc<Shared>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let mut session = 0;
        while !shared.has_ended() {
            // A client that is gone again is none.
            match listener.accept().and_then(|(client, _)| connect(&shared, &client, session)) {
                Ok(()) => session += 1,
                Err(_) => thread::sleep(SOON),
            }
        }
    });
    Ok(address)
}

fn connect(shared: &Arc<Shared>, client: &TcpStream, session: usize) -> io::Result<()> {
    client.set_nonblocking(false)?;
    let server = TcpStream::connect(shared.server)?;
    let ends = Arc::new([Mutex::new(server.try_clone()?), Mutex::new(client.try_clone()?)]);
    for (way, from) in [(Way::Up, client.try_clone()?), (Way::Down, server)] {
        from.set_nodelay(true)?;
        from.set_read_timeout(Some(SOON))?;
        let (shared, ends) = (Arc::clone(shared), Arc::clone(&ends));
        thread::spawn(move || {
            // However it ends, it ends for both.
            let _ = pass_all(&shared, from, session, way, &ends);
            for end in &*ends {
                let _ = end.lock().unwrap_or_else(PoisonError::into_inner).shutdown(Shutdown::Both);
            }
        });
    }
    Ok(())
}

fn pass_all(shared: &Shared, from: TcpStream, session: usize, way: Way, ends: &Ends) -> io::Result<()> {
    let mut source = Source { stream: from, shared, heard: Vec::new() };
    for index in 0.. {
        let bytes = source.piece(index == 0)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let sent = shared.judge(Piece { session, way, index, bytes });
        if sent.is_empty() {
            return Ok(());
        }
        for (way, bytes) in sent {
            ends[way as usize].lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes)?;
        }
    }
    Ok(())
}

/// What comes from one side.
struct Source<'a> {
    stream: TcpStream,
    shared: &'a Shared,
    heard: Vec<u8>,
}

impl Source<'_> {
    /// The next piece. What is no part of a sealed conversation is one as it comes; nothing at the end.
    fn piece(&mut self, is_first: bool) -> io::Result<Vec<u8>> {
        let least = if is_first { MAGIC.len() } else { 4 };
        let is_whole = self.hear(least)?;
        let len = if !is_whole {
            self.heard.len()
        } else if is_first {
            if self.heard.starts_with(&MAGIC) { HELLO_LEN } else { self.heard.len() }
        } else {
            let len = self.heard.first_chunk().copied().map_or(0, u32::from_be_bytes) as usize;
            if len <= MAX_PLAIN_LEN { len + RECORD_OVERHEAD } else { self.heard.len() }
        };
        self.hear(len)?;
        Ok(self.heard.drain(..len.min(self.heard.len())).collect())
    }

    /// Reads until so many bytes are there: whether they are.
    fn hear(&mut self, len: usize) -> io::Result<bool> {
        let mut buffer = vec![0; 65_536];
        while self.heard.len() < len {
            if self.shared.has_ended() {
                return Err(ErrorKind::Interrupted.into());
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(read) => self.heard.extend_from_slice(&buffer[..read]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
