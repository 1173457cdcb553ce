//! What a program needs to know of its transport.

mod tcp;
mod udp;

use std::net::SocketAddr;
use std::time::Duration;

use link::raw::{RawPort, RawStream};
use link::{ConnectError, Link, Listener, Note, TcpEndpoint};
use seal::Key;
use session::raw;

pub use tcp::TcpFlags;
pub use udp::{UdpClientFlags, UdpFlags};

/// Where a server without a protocol of its own takes what comes.
#[derive(Debug)]
pub enum RawListener {
    /// Streams of bytes.
    Streams(TcpEndpoint),
    /// Datagrams.
    Datagrams(RawPort),
}

/// How a client without a protocol of its own reaches a server.
#[derive(Debug)]
pub enum RawLink {
    /// By a stream of bytes.
    Stream(RawStream),
    /// By datagrams, sent like this.
    Datagrams(RawPort, raw::Plan),
}

/// A transport that a server can listen with; also the flags of its own.
pub trait Bind: clap::Args {
    /// Where a server listens unless it is told otherwise.
    const LISTEN: &'static str;

    /// What is wrong with the flags together, if something is.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Listens on `address`; port 0 takes a free one. With a key only those who have it come in. A client may take
    /// `handshake_limit` until it has greeted.
    fn bind(
        &self,
        address: SocketAddr,
        key: Option<&Key>,
        handshake_limit: Duration,
        note: Note,
    ) -> Result<Box<dyn Listener>, ConnectError>;

    /// Whether clients without a protocol come and go, or there is nothing but datagrams.
    const RAW_HAS_CLIENTS: bool;

    /// What is wrong with the flags when no protocol is spoken, if something is.
    fn check_raw(&self) -> Result<(), String>;

    /// Listens on `address` for clients that speak no protocol.
    fn bind_raw(&self, address: SocketAddr, note: Note) -> Result<RawListener, ConnectError>;
}

/// A transport that a client can connect with; also the flags of its own.
pub trait Connect: clap::Args + Send + Sync + 'static {
    /// The server that a client turns to unless it is told otherwise.
    const SERVER: &'static str;
    /// The port of a server that was given without one.
    const PORT: u16;
    /// Lines of examples of its own flags, for help; CLIENT stands for the program.
    const EXAMPLES: &'static str = "";

    /// What is wrong with the flags together, if something is.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Whether chunks are to be sent once each, and not repaired.
    fn is_plain(&self) -> bool {
        false
    }

    /// What is to be said to somebody who fetches with flags that have no part in it, if there are such.
    fn idle_when_receiving(&self) -> Option<&'static str> {
        None
    }

    /// Connects to `server`, a host and a port, which has the same key, or none.
    fn connect(&self, server: &str, key: Option<&Key>, note: Note) -> Result<Box<dyn Link>, ConnectError>;

    /// What is wrong with the flags when no protocol is spoken, if something is.
    fn check_raw(&self) -> Result<(), String>;

    /// Connects to `server` to speak no protocol.
    fn connect_raw(&self, server: &str, note: Note) -> Result<RawLink, ConnectError>;
}
