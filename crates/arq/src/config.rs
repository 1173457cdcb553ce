//! Settings of a connection.

use std::time::Duration;

use crate::Congestion;

/// Settings of a connection.
#[derive(Debug, Clone)]
pub struct Config {
    /// The control law.
    pub congestion: Congestion,
    /// Never to send faster, bits/s on the wire.
    pub max_rate: Option<u64>,
    /// The largest datagram to try, in bytes of UDP payload. At least 1200 are always taken for possible, unless this is
    /// less.
    pub max_datagram: u16,
    /// Bytes of the IP and UDP headers: 28 with IPv4, 48 with IPv6.
    pub overhead: u16,
    /// Bytes that whoever sends a client's first packets puts into each of them besides.
    pub connect_extra: u16,
    /// How long the peer may be silent.
    pub idle_limit: Duration,
    /// Bytes of parts that may wait at this side for being taken.
    pub window: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            congestion: Congestion::default(),
            max_rate: None,
            max_datagram: 65507,
            overhead: 28,
            connect_extra: 0,
            idle_limit: Duration::from_secs(30),
            window: 32 << 20,
        }
    }
}
