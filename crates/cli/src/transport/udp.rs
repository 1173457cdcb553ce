//! UDP, and its flags.

use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;
use link::raw::RawPort;
use link::{Congestion, ConnectError, Link, Listener, Note, UdpEndpoint, UdpLink, UdpOptions};
use seal::Key;
use session::raw;

use super::{Bind, Connect, RawLink, RawListener};
use crate::units;

/// The smallest IP packet that every IPv6 path carries (RFC 8200 section 5): with less nobody needs to try.
const MIN_MTU: i64 = 1280;

/// Bytes of the headers of a datagram, of IP and UDP.
const IPV4_OVERHEAD: u16 = 20 + 8;
const IPV6_OVERHEAD: u16 = 40 + 8;
/// Bytes in a datagram that speaks no protocol, unless told otherwise: those of a chunk.
const RAW_LEN: u16 = 4096;
/// The most bytes in a datagram over IPv4, and over IPv6 too for simplicity.
const MAX_RAW_LEN: u16 = 65_507;
/// How many bits a second of such datagrams are sent unless told otherwise, as of a plain transfer.
const RAW_RATE: u64 = 100_000_000;

/// UDP, and its flags on either side.
#[derive(Debug, clap::Args)]
pub struct UdpFlags {
    /// What decides how fast chunks are sent from this side [default: bbr]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Network")]
    congestion: Option<CongestionName>,
    /// Never send faster than this: 20mbit, 1.5gbit, 800kbit, 2500000 (bits a second)
    #[arg(long, global = true, value_name = "RATE", value_parser = units::parse_rate, help_heading = "Network")]
    rate: Option<u64>,
    /// The largest IP packet to try the path with, 1280 to 65535 [default: what the network card carries]
    #[arg(
        long,
        global = true,
        value_name = "BYTES",
        value_parser = clap::value_parser!(u16).range(MIN_MTU..),
        help_heading = "Network"
    )]
    mtu: Option<u16>,
}

/// UDP, and its flags on a client.
#[derive(Debug, clap::Args)]
pub struct UdpClientFlags {
    #[command(flatten)]
    both: UdpFlags,
    /// Send each chunk once, in one datagram, at --rate (100mbit), and repair nothing: shows what got lost
    #[arg(long, global = true, help_heading = "Network")]
    plain: bool,
}

/// Values of `--congestion`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CongestionName {
    /// By what the path delivers and how its delay grows: bears random loss, keeps queues short
    Bbr,
    /// As TCP does mostly: slower with every loss
    Cubic,
    /// Always at --rate, whatever happens: only for a path that is yours
    Fixed,
}

impl From<CongestionName> for Congestion {
    fn from(name: CongestionName) -> Self {
        match name {
            CongestionName::Bbr => Self::Bbr,
            CongestionName::Cubic => Self::Cubic,
            CongestionName::Fixed => Self::Fixed,
        }
    }
}

impl UdpFlags {
    fn options(&self, note: Note) -> UdpOptions {
        UdpOptions {
            congestion: self.congestion.map_or(Congestion::Bbr, Congestion::from),
            rate: self.rate,
            mtu: self.mtu,
            note: Some(note),
            ..UdpOptions::default()
        }
    }

    fn check_rate(&self) -> Result<(), String> {
        if self.congestion == Some(CongestionName::Fixed) && self.rate.is_none() {
            return Err(
                "--congestion fixed needs the rate that it is to keep: add --rate, such as --rate 20mbit"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

impl Bind for UdpFlags {
    const LISTEN: &'static str = "127.0.0.1:8121";

    fn check(&self) -> Result<(), String> {
        self.check_rate()
    }

    fn bind(
        &self,
        address: SocketAddr,
        key: Option<&Key>,
        handshake_limit: Duration,
        note: Note,
    ) -> Result<Box<dyn Listener>, ConnectError> {
        let options = UdpOptions { key: key.cloned(), handshake_limit, ..self.options(note) };
        Ok(Box::new(UdpEndpoint::bind(address, &options)?))
    }

    const RAW_HAS_CLIENTS: bool = false;

    fn check_raw(&self) -> Result<(), String> {
        let given = [
            (self.congestion.is_some(), "--congestion"),
            (self.rate.is_some(), "--rate"),
            (self.mtu.is_some(), "--mtu"),
        ];
        match given.into_iter().find(|(is_given, _)| *is_given) {
            Some((_, flag)) => {
                Err(format!("{flag} is about what is sent: a server with --raw only takes and answers"))
            }
            None => Ok(()),
        }
    }

    fn bind_raw(&self, address: SocketAddr, note: Note) -> Result<RawListener, ConnectError> {
        Ok(RawListener::Datagrams(RawPort::bind(address, &self.options(note))?))
    }
}

impl Connect for UdpClientFlags {
    const SERVER: &'static str = "127.0.0.1:8121";
    const PORT: u16 = 8121;
    const EXAMPLES: &'static str = "
  CLIENT --rate 20mbit chamber.mp4           leave room for others
  CLIENT --plain chamber.mp4                 repair nothing, and see what got lost
  CLIENT --raw --mtu 1500 chamber.mp4        datagrams of 1472 bytes instead of 4096";

    fn check(&self) -> Result<(), String> {
        if self.plain && self.both.congestion.is_some() {
            return Err(
                "--plain knows no congestion control: it sends at --rate, whatever is lost".to_owned()
            );
        }
        self.both.check_rate()
    }

    fn is_plain(&self) -> bool {
        self.plain
    }

    fn idle_when_receiving(&self) -> Option<&'static str> {
        let is_given = self.both.rate.is_some() || self.both.congestion.is_some();
        is_given.then_some("--rate and --congestion are about what this side sends; the server's own flags say how fast it gives")
    }

    fn connect(&self, server: &str, key: Option<&Key>, note: Note) -> Result<Box<dyn Link>, ConnectError> {
        Ok(Box::new(UdpLink::connect(server, &UdpOptions { key: key.cloned(), ..self.both.options(note) })?))
    }

    fn check_raw(&self) -> Result<(), String> {
        let given = [(self.plain, "--plain"), (self.both.congestion.is_some(), "--congestion")];
        match given.into_iter().find(|(is_given, _)| *is_given) {
            Some((_, flag)) => Err(format!("{flag} belongs to Tandem's protocol, and --raw speaks none")),
            None => Ok(()),
        }
    }

    fn connect_raw(&self, server: &str, note: Note) -> Result<RawLink, ConnectError> {
        let port = RawPort::connect(server, &self.both.options(note))?;
        let overhead =
            if port.peer().is_some_and(|peer| peer.is_ipv6()) { IPV6_OVERHEAD } else { IPV4_OVERHEAD };
        let len = self.both.mtu.map_or(RAW_LEN, |mtu| mtu - overhead).min(MAX_RAW_LEN);
        let rate = self.both.rate.unwrap_or(RAW_RATE);
        Ok(RawLink::Datagrams(port, raw::Plan { len: len.into(), rate }))
    }
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    fn parse<A: clap::Args>(words: &str) -> Result<A, clap::Error> {
        let command = A::augment_args(Command::new("udp"));
        A::from_arg_matches(
            &command.try_get_matches_from(["udp"].into_iter().chain(words.split_whitespace()))?,
        )
    }

    fn client(words: &str) -> UdpClientFlags {
        parse(words).unwrap()
    }

    #[test]
    fn flags_become_options() {
        let note: Note = std::sync::Arc::new(|_: &link::Notice<'_>| ());
        let flags: UdpFlags = parse("--rate 20mbit --congestion cubic --mtu 9000").unwrap();
        let options = flags.options(note.clone());
        assert_eq!((options.congestion, options.rate), (Congestion::Cubic, Some(20_000_000)));
        assert_eq!(options.mtu, Some(9000));
        let options = parse::<UdpFlags>("").unwrap().options(note);
        assert_eq!((options.congestion, options.rate, options.mtu), (Congestion::Bbr, None, None));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            "--congestion reno",
            "--mtu 1279",
            "--mtu 65536",
            "--mtu x",
            "--rate 20",
            "--rate 20MB",
            "--rate -1mbit",
            "--plain=yes",
        ] {
            assert!(parse::<UdpClientFlags>(words).is_err(), "{words}");
        }
        assert!(parse::<UdpFlags>("--plain").is_err(), "a server does as its client asks");
    }

    #[test]
    fn flags_must_fit_together() {
        for good in
            ["", "--plain", "--plain --rate 1mbit", "--congestion fixed --rate 1mbit", "--congestion bbr"]
        {
            assert_eq!(Connect::check(&client(good)), Ok(()), "{good}");
        }
        let wrong = |words| Connect::check(&client(words)).unwrap_err();
        assert!(wrong("--congestion fixed").contains("add --rate"));
        assert!(
            wrong("--plain --congestion bbr --rate 1mbit").contains("--plain knows no congestion control")
        );
        assert!(Bind::check(&parse::<UdpFlags>("--congestion fixed").unwrap()).is_err());
        assert!(client("--plain").is_plain() && !client("").is_plain());
        assert!(client("--rate 1mbit").idle_when_receiving().is_some());
        assert_eq!(client("--plain --mtu 1500").idle_when_receiving(), None);
    }
}
