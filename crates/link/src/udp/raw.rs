//! A UDP socket for datagrams of any content.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use quinn_udp::{BATCH_SIZE, RecvMeta};
use rustix::event::PollFlags;

use super::UdpOptions;
use super::socket::{Port, Unsent};
use crate::ConnectError;
use crate::ready::wait;

/// Bytes of a slot: the most that one receive gives.
const SLOT_LEN: usize = 64 * 1024;

/// A UDP socket that carries datagrams as they are, in fragments where they are longer than the path's packets.
#[derive(Debug)]
pub struct RawPort {
    port: Port,
    /// Whom it is connected to.
    peer: Option<SocketAddr>,
    /// Whether it has every address of this machine.
    is_wild: bool,
}

/// A datagram that came.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// The address of ours that it was sent to, where that is not clear.
    pub to: Option<IpAddr>,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// What a wait for datagrams came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Datagrams came.
    Datagrams,
    /// The deadline came first.
    Deadline,
    /// The wait was broken off.
    Woken,
}

/// What datagrams are received into.
#[derive(Debug)]
pub struct Slots {
    bytes: Vec<u8>,
    meta: [RecvMeta; BATCH_SIZE],
    used: usize,
    is_wild: bool,
}

impl Default for Slots {
    fn default() -> Self {
        let meta = [RecvMeta::default(); BATCH_SIZE];
        Self { bytes: vec![0; SLOT_LEN * BATCH_SIZE], meta, used: 0, is_wild: false }
    }
}

impl Slots {
    /// The datagrams that came with the last receive.
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.bytes.chunks(SLOT_LEN).zip(&self.meta).take(self.used).flat_map(|(slot, meta)| {
            let bytes = slot.get(..meta.len).unwrap_or_default();
            let to = meta.dst_ip.filter(|_| self.is_wild);
            // The kernel may have joined several; one without bytes is a datagram, too.
            let stride = meta.stride.max(1);
            let starts = (0..bytes.len().max(1)).step_by(stride);
            starts.map(move |start| {
                let end = bytes.len().min(start + stride);
                Datagram { from: meta.addr, to, bytes: bytes.get(start..end).unwrap_or_default() }
            })
        })
    }
}

impl RawPort {
    /// A socket for all peers, at this address; port 0 takes a free one.
    pub fn bind(address: SocketAddr, options: &UdpOptions) -> Result<Self, ConnectError> {
        let port = Port::bind(address)?;
        let is_wild = port.local_addr().ip().is_unspecified();
        Ok(Self::new(port, None, is_wild, options)?)
    }

    /// A socket for one peer: `server`, a name or address with a port, of which the first address counts that this machine
    /// has a way to.
    pub fn connect(server: &str, options: &UdpOptions) -> Result<Self, ConnectError> {
        let lookup = |error| ConnectError::Lookup { server: server.to_owned(), error };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in server.to_socket_addrs().map_err(lookup)? {
            match Port::connect(address) {
                Ok(port) => return Ok(Self::new(port, Some(address), false, options)?),
                Err(error) => last = error,
            }
        }
        Err(ConnectError::Connect { server: server.to_owned(), error: last })
    }

    fn new(port: Port, peer: Option<SocketAddr>, is_wild: bool, options: &UdpOptions) -> io::Result<Self> {
        port.allow_fragments()?;
        if let Some(advice) = port.advice() {
            options.say(&advice);
        }
        Ok(Self { port, peer, is_wild })
    }

    /// Its own address.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.port.local_addr()
    }

    /// Whom it is connected to, if it is.
    #[must_use]
    pub const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Sends a datagram, from this address if one is given. What the network does not take is lost, as it may be further on;
    /// only an answer that nobody listens there, and a datagram that is too long for any network, are errors.
    pub fn send(&self, to: SocketAddr, from: Option<IpAddr>, bytes: &[u8]) -> io::Result<()> {
        match self.port.send(to, from, bytes, bytes.len()) {
            Ok(()) | Err(Unsent::Lost) => Ok(()),
            Err(Unsent::Refused) => Err(io::ErrorKind::ConnectionRefused.into()),
            Err(Unsent::TooBig) => Err(io::Error::from(rustix::io::Errno::MSGSIZE)),
        }
    }

    /// Waits until datagrams come, the deadline, or `wake` can be read; gives what came in `slots`.
    pub fn receive(
        &self,
        slots: &mut Slots,
        deadline: Option<Instant>,
        wake: Option<BorrowedFd<'_>>,
    ) -> io::Result<Ready> {
        loop {
            slots.used = self.take(slots)?;
            if slots.used > 0 {
                // Who is flooded shall still hear that it is to stop.
                let now = Some(Instant::now());
                let woken = wake.map_or(Ok([false]), |wake| wait(&[(&wake, PollFlags::IN)], now))?[0];
                return Ok(if woken { Ready::Woken } else { Ready::Datagrams });
            }
            let own = (&self.port as _, PollFlags::IN);
            let [ready, woken] = match &wake {
                Some(wake) => wait(&[own, (wake, PollFlags::IN)], deadline)?,
                None => [wait(&[own], deadline)?[0], false],
            };
            match (ready, woken) {
                (_, true) => return Ok(Ready::Woken),
                (true, false) => {}
                (false, false) => return Ok(Ready::Deadline),
            }
        }
    }

    fn take(&self, slots: &mut Slots) -> io::Result<usize> {
        slots.is_wild = self.is_wild;
        let mut free = slots.bytes.chunks_mut(SLOT_LEN);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(free.next().unwrap_or_default()));
        self.port.recv(&mut slices, &mut slots.meta)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn local(options: &UdpOptions) -> (RawPort, SocketAddr) {
        let port = RawPort::bind(([127, 0, 0, 1], 0).into(), options).unwrap();
        let address = port.local_addr();
        (port, address)
    }

    fn receive(port: &RawPort, slots: &mut Slots) -> Vec<(SocketAddr, Vec<u8>)> {
        assert_eq!(port.receive(slots, Some(Instant::now() + LIMIT), None).unwrap(), Ready::Datagrams);
        slots.datagrams().map(|datagram| (datagram.from, datagram.bytes.to_vec())).collect()
    }

    #[test]
    fn datagrams_of_every_length_go_both_ways() {
        let options = UdpOptions::default();
        let (port, address) = local(&options);
        let far = RawPort::connect(&address.to_string(), &options).unwrap();
        let mut slots = Slots::default();
        for len in [0, 1, 4096, 65_507] {
            let sent = vec![len as u8; len];
            far.send(address, None, &sent).unwrap();
            let came = receive(&port, &mut slots);
            assert_eq!(came.len(), 1, "{len}");
            let (from, bytes) = &came[0];
            assert!(*bytes == sent, "{len}");
            port.send(*from, None, &sent).unwrap();
            let back = receive(&far, &mut slots);
            assert!(back.len() == 1 && back[0] == (address, sent), "{len}");
        }
        assert!(far.send(address, None, &[0; 65_508]).is_err());
    }

    #[test]
    fn what_the_kernel_joins_is_taken_apart() {
        let options = UdpOptions::default();
        let (port, address) = local(&options);
        let far = Port::connect(address).unwrap();
        let bytes: Vec<u8> = (0..250).collect();
        far.send(address, None, &bytes, 100).unwrap();
        let mut slots = Slots::default();
        let mut came = Vec::new();
        while came.len() < 3 {
            came.extend(receive(&port, &mut slots).into_iter().map(|(_, bytes)| bytes));
        }
        assert_eq!(came, bytes.chunks(100).collect::<Vec<_>>());
    }

    #[test]
    fn waiting_ends_in_time_and_when_woken() {
        let (port, address) = local(&UdpOptions::default());
        let mut slots = Slots::default();
        let now = Some(Instant::now());
        assert_eq!(port.receive(&mut slots, now, None).unwrap(), Ready::Deadline);
        assert_eq!(slots.datagrams().count(), 0);
        let wake = UdpSocket::bind("127.0.0.1:0").unwrap();
        wake.send_to(b"x", wake.local_addr().unwrap()).unwrap();
        let wake = Some(std::os::fd::AsFd::as_fd(&wake));
        assert_eq!(port.receive(&mut slots, None, wake).unwrap(), Ready::Woken);
        // Even when there is always something to receive.
        port.send(address, None, b"x").unwrap();
        assert_eq!(port.receive(&mut slots, None, wake).unwrap(), Ready::Woken);
    }

    #[test]
    fn nobody_is_noticed() {
        let (port, address) = local(&UdpOptions::default());
        drop(port);
        let far = RawPort::connect(&address.to_string(), &UdpOptions::default()).unwrap();
        assert_eq!(far.peer(), Some(address));
        let refused = (0..50).find_map(|_| {
            let sent = far.send(address, None, b"x").err();
            sent.or_else(|| far.receive(&mut Slots::default(), Some(Instant::now()), None).err())
        });
        assert_eq!(refused.map(|error| error.kind()), Some(io::ErrorKind::ConnectionRefused));
    }
}
