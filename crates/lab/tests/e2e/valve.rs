//! A line to a server that stops in the middle of a transfer, until it is told to go on.
//!
//! Over TCP what is under way waits at it; over UDP it is lost.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use lab::Transport;

use crate::relay::Relay;

/// Passes what one client after the other says to a server up to so many bytes in all, and nothing more then.
pub(crate) enum Valve {
    Tcp(Pipe),
    Udp(Relay),
}

impl Valve {
    pub(crate) fn new(transport: Transport, server: SocketAddr, limit: u64) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp(Pipe::new(server, limit)),
            Transport::Udp => Self::Udp(Relay::with_limit(server, limit)),
        }
    }

    /// What clients are to take for the server.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Tcp(pipe) => pipe.address,
            Self::Udp(relay) => relay.address(),
        }
    }

    /// Waits until nothing passes any more.
    pub(crate) fn wait_until_shut(&self) {
        match self {
            Self::Tcp(pipe) => pipe.wait_until_shut(),
            Self::Udp(relay) => relay.wait_until_shut(),
        }
    }

    /// Lets so many more bytes pass.
    pub(crate) fn open(&self, bytes: u64) {
        match self {
            Self::Tcp(pipe) => pipe.open(bytes),
            Self::Udp(relay) => relay.open(bytes),
        }
    }
}

pub(crate) struct Pipe {
    address: SocketAddr,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    passed: u64,
    limit: u64,
}

impl Pipe {
    fn new(server: SocketAddr, limit: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let gate = Arc::new(Gate::default());
        gate.state.lock().unwrap().limit = limit;
        let own = Arc::clone(&gate);
        // It ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                // Where there is no server the client finds its connection closed.
                if let Ok(server) = TcpStream::connect(server) {
                    connect(client, server, &own).unwrap();
                }
            }
        });
        Self { address, gate }
    }

    fn wait_until_shut(&self) {
        let state = self.gate.state.lock().unwrap();
        drop(self.gate.changed.wait_while(state, |state| state.passed < state.limit).unwrap());
    }

    fn open(&self, bytes: u64) {
        let mut state = self.gate.state.lock().unwrap();
        state.limit = state.limit.saturating_add(bytes);
        self.gate.changed.notify_all();
    }
}

impl Gate {
    /// Waits until something may pass: how much.
    fn wait(&self) -> usize {
        let state = self.state.lock().unwrap();
        let state = self.changed.wait_while(state, |state| state.passed == state.limit).unwrap();
        usize::try_from(state.limit - state.passed).unwrap()
    }

    fn passed(&self, bytes: usize) {
        self.state.lock().unwrap().passed += bytes as u64;
        self.changed.notify_all();
    }
}

fn connect(mut client: TcpStream, mut server: TcpStream, gate: &Arc<Gate>) -> io::Result<()> {
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let gate = Arc::clone(gate);
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let most = gate.wait().min(buffer.len());
            match client.read(&mut buffer[..most]) {
                Ok(read @ 1..) if server.write_all(&buffer[..read]).is_ok() => gate.passed(read),
                _ => break,
            }
        }
        let _ = server.shutdown(Shutdown::Both);
    });
    Ok(())
}
