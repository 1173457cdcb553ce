//! What a program needs to know of its transport.

use std::net::SocketAddr;

use link::{ConnectError, Link, Listener, TcpEndpoint, TcpLink, TcpOptions};

/// A transport that a server can listen with; also the flags of its own.
pub trait Bind: clap::Args {
    /// Where a server listens unless it is told otherwise.
    const LISTEN: &'static str;

    /// Listens on `address`; port 0 takes a free one.
    fn bind(&self, address: SocketAddr) -> Result<Box<dyn Listener>, ConnectError>;
}

/// A transport that a client can connect with; also the flags of its own.
pub trait Connect: clap::Args {
    /// The server that a client turns to unless it is told otherwise.
    const SERVER: &'static str;
    /// The port of a server that was given without one.
    const PORT: u16;

    /// Connects to `server`, a host and a port.
    fn connect(&self, server: &str) -> Result<Box<dyn Link>, ConnectError>;
}

/// TCP, and its flags.
#[derive(Debug, clap::Args)]
pub struct TcpFlags {
    /// The kernel's congestion control for the connection, such as bbr or cubic [default: the system's]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Network")]
    congestion: Option<String>,
}

impl TcpFlags {
    fn options(&self) -> TcpOptions {
        TcpOptions { congestion: self.congestion.clone() }
    }
}

impl Bind for TcpFlags {
    const LISTEN: &'static str = "127.0.0.1:8120";

    fn bind(&self, address: SocketAddr) -> Result<Box<dyn Listener>, ConnectError> {
        Ok(Box::new(TcpEndpoint::bind(address, &self.options())?))
    }
}

impl Connect for TcpFlags {
    const SERVER: &'static str = "127.0.0.1:8120";
    const PORT: u16 = 8120;

    fn connect(&self, server: &str) -> Result<Box<dyn Link>, ConnectError> {
        Ok(Box::new(TcpLink::connect(server, &self.options())?))
    }
}
