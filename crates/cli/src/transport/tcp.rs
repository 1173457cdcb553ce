//! TCP, and its flags.

use std::net::SocketAddr;
use std::time::Duration;

use link::raw::RawStream;
use link::{ConnectError, Link, Listener, Note, TcpEndpoint, TcpLink, TcpOptions};
use seal::Key;

use super::{Bind, Connect, RawLink, RawListener};

/// TCP, and its flags.
#[derive(Debug, clap::Args)]
pub struct TcpFlags {
    /// The kernel's congestion control for the connection, such as bbr or cubic [default: the system's]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Network")]
    congestion: Option<String>,
}

impl TcpFlags {
    fn options(&self) -> TcpOptions {
        TcpOptions { congestion: self.congestion.clone(), ..TcpOptions::default() }
    }
}

impl Bind for TcpFlags {
    const LISTEN: &'static str = "127.0.0.1:8120";

    fn bind(
        &self,
        address: SocketAddr,
        key: Option<&Key>,
        handshake_limit: Duration,
        note: Note,
    ) -> Result<Box<dyn Listener>, ConnectError> {
        let options = TcpOptions { key: key.cloned(), handshake_limit, note: Some(note), ..self.options() };
        Ok(Box::new(TcpEndpoint::bind(address, &options)?))
    }

    const RAW_HAS_CLIENTS: bool = true;

    fn check_raw(&self) -> Result<(), String> {
        Ok(())
    }

    fn bind_raw(&self, address: SocketAddr, _note: Note) -> Result<RawListener, ConnectError> {
        Ok(RawListener::Streams(TcpEndpoint::bind(address, &self.options())?))
    }
}

impl Connect for TcpFlags {
    const SERVER: &'static str = "127.0.0.1:8120";
    const PORT: u16 = 8120;

    fn connect(&self, server: &str, key: Option<&Key>, _note: Note) -> Result<Box<dyn Link>, ConnectError> {
        let options = TcpOptions { key: key.cloned(), ..self.options() };
        Ok(Box::new(TcpLink::connect(server, &options)?))
    }

    fn check_raw(&self) -> Result<(), String> {
        Ok(())
    }

    fn connect_raw(&self, server: &str, _note: Note) -> Result<RawLink, ConnectError> {
        Ok(RawLink::Stream(RawStream::connect(server, &self.options())?))
    }
}
