//! The transports, and the programs that speak them.

use std::fmt;

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `tcp-server` and `tcp-client`.
    Tcp,
    /// `udp-server` and `udp-client`.
    Udp,
}

impl Transport {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// The name of its server.
    #[must_use]
    pub const fn server(self) -> &'static str {
        match self {
            Self::Tcp => "tcp-server",
            Self::Udp => "udp-server",
        }
    }

    /// The name of its client.
    #[must_use]
    pub const fn client(self) -> &'static str {
        match self {
            Self::Tcp => "tcp-client",
            Self::Udp => "udp-client",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
