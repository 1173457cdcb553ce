//! Addresses as people type them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Where a server is: a host, and perhaps a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerAddress {
    host: String,
    port: Option<u16>,
}

impl ServerAddress {
    /// `HOST:PORT`, with this port unless one was given.
    pub(crate) fn with_port(&self, default: u16) -> String {
        format!("{}:{}", self.host, self.port.unwrap_or(default))
    }
}

impl FromStr for ServerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{why}: write it like 192.168.1.7, nas.local:8120 or [::1]:8120");
        if let Ok(ip) = text.parse::<Ipv6Addr>() {
            if let Some(port) = looks_like_port(text, ip) {
                let host = &text[..text.len() - port.len() - 1];
                return Err(format!("it could mean two things: write [{text}] or [{host}]:{port}"));
            }
            return Ok(Self { host: format!("[{text}]"), port: None });
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inside, after) = rest.split_once(']').ok_or_else(|| wrong("a bracket is missing"))?;
                let (ip, _zone) = inside.split_once('%').unwrap_or((inside, ""));
                ip.parse::<Ipv6Addr>().map_err(|_| wrong("that is no IPv6 address"))?;
                let port = match after {
                    "" => None,
                    _ => Some(after.strip_prefix(':').ok_or_else(|| wrong("a colon is missing"))?),
                };
                (format!("[{inside}]"), port)
            }
            None => match text.rsplit_once(':') {
                Some((host, _)) if host.contains(':') => {
                    return Err(wrong("an IPv6 address stands in brackets when a port follows"));
                }
                Some((host, port)) => (host.to_owned(), Some(port)),
                None => (text.to_owned(), None),
            },
        };
        if host.is_empty() {
            return Err(wrong("the host is missing"));
        }
        if !host.starts_with('[') && host.contains(|c: char| "/:[]@".contains(c) || c.is_whitespace()) {
            return Err(wrong("that is no host and port"));
        }
        let port = match port.map(str::parse::<u16>) {
            None => None,
            Some(Ok(port)) if port > 0 => Some(port),
            Some(_) => return Err(wrong("the port must be a number from 1 to 65535")),
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Reads the address that a server is to listen on: `ADDR:PORT` or `localhost:PORT`.
pub(crate) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    if let Some(port) = local {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    const LIKE: &str = "write it like 127.0.0.1:8120, 0.0.0.0:8120 or [::1]:8120";
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    match text.rsplit_once(':') {
        Some((host, port)) if host.contains(':') && !host.starts_with('[') && port.parse::<u16>().is_ok() => {
            Err(format!("an IPv6 address stands in brackets: {LIKE}"))
        }
        Some((host, port))
            if !host.is_empty() && port.parse::<u16>().is_ok() && host.parse::<IpAddr>().is_err() =>
        {
            Err(format!(
                "{host} is no address of this machine; names other than localhost are not looked up: {LIKE}"
            ))
        }
        _ => Err(LIKE.to_owned()),
    }
}

/// What looks like a port at the end of a bare IPv6 address: `::1:8130` is one address, but most likely not meant so.
fn looks_like_port(text: &str, ip: Ipv6Addr) -> Option<&str> {
    let (host, port) = text.rsplit_once(':')?;
    let is_port = port.len() >= 4 && port.parse::<u16>().is_ok_and(|port| port >= 1024);
    let is_whole = host.parse::<Ipv6Addr>().is_ok();
    (is_port && is_whole && !ip.is_loopback()).then_some(port)
}

/// Whether only programs on this machine can be there.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read() {
        let cases = [
            ("127.0.0.1:9", "127.0.0.1:9"),
            ("127.0.0.1", "127.0.0.1:8120"),
            ("nas.local", "nas.local:8120"),
            ("nas.local:65535", "nas.local:65535"),
            ("[::1]:9", "[::1]:9"),
            ("[::1]", "[::1]:8120"),
            ("::1", "[::1]:8120"),
            ("[fe80::1%eth0]:9", "[fe80::1%eth0]:9"),
        ];
        for (typed, used) in cases {
            assert_eq!(
                ServerAddress::from_str(typed).map(|server| server.with_port(8120)),
                Ok(used.to_owned())
            );
        }
    }

    #[test]
    fn what_is_no_server_is_refused() {
        let wrong = [
            "",
            ":8120",
            "host:",
            "host:0",
            "host:65536",
            "host:-1",
            "host:http",
            "[::1",
            "[::1]9",
            "[nas]:9",
            "http://nas",
            "http://nas:9",
            "a b",
            "me@nas",
            "1:2:3:4",
            "::1:8130",
        ];
        for typed in wrong {
            assert!(ServerAddress::from_str(typed).is_err(), "{typed}");
        }
        assert!(ServerAddress::from_str("::1:8130").unwrap_err().contains("[::1]:8130"));
        assert!(ServerAddress::from_str("fe80::zz:8130").unwrap_err().contains("brackets"));
    }

    #[test]
    fn listen_addresses_are_read() {
        assert_eq!(parse_listen("0.0.0.0:0"), Ok(([0, 0, 0, 0], 0).into()));
        assert_eq!(parse_listen("localhost:9"), Ok(([127, 0, 0, 1], 9).into()));
        assert_eq!(parse_listen("[::]:9").map(|address| address.is_ipv6()), Ok(true));
        for typed in ["", "8120", "0.0.0.0", "nas.local:9", "localhost:x", "localhost:65536", "::1:9:"] {
            assert!(parse_listen(typed).is_err(), "{typed}");
        }
    }

    #[test]
    fn loopback_is_known_in_every_dress() {
        for inside in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(is_loopback(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["0.0.0.0", "192.168.1.7", "::", "::ffff:192.168.1.7"] {
            assert!(!is_loopback(outside.parse().unwrap()), "{outside}");
        }
    }
}
