//! The socket: batches of datagrams out and in.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::event::PollFlags;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::ready::wait;

/// Bytes of the socket's buffers that are asked for, each way: what 100 ms at 670 Mbit/s bring while the process does not run.
const BUFFER_LEN: usize = 8 << 20;
/// With less than this, fast links lose datagrams in the kernel.
const LEAST_BUFFER_LEN: usize = 2 << 20;
/// The largest batch for one system call: the largest UDP payload over IPv4.
pub(super) const MAX_BATCH_LEN: usize = 65_507;
/// The most datagrams of a batch: Linux' `UDP_MAX_SEGMENTS` before version 6.
pub(super) const MAX_BATCH: usize = 64;
/// How long a send may wait for room in the socket's buffer. What does not go by then counts as lost on the way.
const SEND_LIMIT: Duration = Duration::from_millis(100);
/// How long to wait when the kernel is short of memory.
const PAUSE: Duration = Duration::from_millis(1);

/// Why datagrams did not go out.
#[derive(Debug)]
pub(super) enum Unsent {
    /// They are longer than the interface takes.
    TooBig,
    /// Nobody listens at the other end. Only of a socket that is connected.
    Refused,
    /// Anything else, such as no route. They count as lost on the way.
    Lost,
}

/// A UDP socket, set up for batches and for datagrams that are not fragmented.
#[derive(Debug)]
pub(super) struct Port {
    socket: UdpSocket,
    /// Held for writing while the socket is not set up for ordinary datagrams.
    state: RwLock<UdpSocketState>,
    local: SocketAddr,
}

impl Port {
    /// A socket for all peers, at this address.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind(&address.into())?;
        Self::new(socket.into())
    }

    /// A socket for one peer only, so that the kernel tells when nobody listens there.
    pub(super) fn connect(peer: SocketAddr) -> io::Result<Self> {
        Self::new(connected(peer)?)
    }

    /// Goes on from the address that this machine would use now, if that has changed since the socket was connected.
    pub(super) fn follow_address(&self) -> io::Result<()> {
        let peer = self.socket.peer_addr()?;
        if connected(peer)?.local_addr()?.ip() == self.socket.local_addr()?.ip() {
            return Ok(());
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        rustix::net::connect_unspec(&self.socket)?;
        self.socket.connect(peer)?;
        // The old address may have made sends fail in ways that look like missing features.
        *state = UdpSocketState::new(UdpSockRef::from(&self.socket))?;
        Ok(())
    }

    fn new(socket: UdpSocket) -> io::Result<Self> {
        let state = RwLock::new(UdpSocketState::new(UdpSockRef::from(&socket))?);
        let local = socket.local_addr()?;
        enlarge(&socket);
        Ok(Self { socket, state, local })
    }

    /// Lets routers, and this machine, cut datagrams of any length into fragments.
    pub(super) fn allow_fragments(&self) -> io::Result<()> {
        fragments::allow(&self.socket, true)
    }

    pub(super) const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The setting of the system that keeps the buffers small, as a command that changes it.
    pub(super) fn advice(&self) -> Option<String> {
        let socket = SockRef::from(&self.socket);
        // Linux reports twice what was asked for, to allow for its own use.
        let small = |len: io::Result<usize>| len.is_ok_and(|len| len / 2 < LEAST_BUFFER_LEN);
        let mut settings = String::new();
        if small(socket.recv_buffer_size()) {
            settings.push_str(&format!(" net.core.rmem_max={BUFFER_LEN}"));
        }
        if small(socket.send_buffer_size()) {
            settings.push_str(&format!(" net.core.wmem_max={BUFFER_LEN}"));
        }
        (!settings.is_empty()).then(|| {
            format!(
                "the system allows only small socket buffers, so a fast link will lose packets here: sudo sysctl -w{settings}"
            )
        })
    }

    /// Sends datagrams of `segment` bytes each, the last one perhaps shorter, from this address if one is given.
    pub(super) fn send(
        &self,
        to: SocketAddr,
        from: Option<IpAddr>,
        datagrams: &[u8],
        segment: usize,
    ) -> Result<(), Unsent> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let fits = datagrams.len() <= MAX_BATCH_LEN && datagrams.len().div_ceil(segment.max(1)) <= MAX_BATCH;
        if datagrams.len() <= segment || (fits && state.max_gso_segments() > 1) {
            match self.send_batch(&state, to, from, datagrams, segment) {
                // Segmentation has just been found not to work: one by one, then.
                Err(Unsent::Lost) if datagrams.len() > segment && state.max_gso_segments() <= 1 => {}
                other => return other,
            }
        }
        datagrams.chunks(segment.max(1)).try_for_each(|one| self.send_batch(&state, to, from, one, segment))
    }

    /// Sends one datagram that routers, and this machine, may cut into fragments.
    pub(super) fn send_fragmented(
        &self,
        to: SocketAddr,
        from: Option<IpAddr>,
        datagram: &[u8],
    ) -> Result<(), Unsent> {
        let state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        fragments::allow(&self.socket, true).map_err(|_| Unsent::Lost)?;
        let sent = self.send_batch(&state, to, from, datagram, datagram.len());
        fragments::allow(&self.socket, false).map_err(|_| Unsent::Lost)?;
        sent
    }

    fn send_batch(
        &self,
        state: &UdpSocketState,
        to: SocketAddr,
        from: Option<IpAddr>,
        datagrams: &[u8],
        segment: usize,
    ) -> Result<(), Unsent> {
        let transmit = Transmit {
            destination: to,
            // The control law heeds the delay, not marks, so it must not ask for any.
            ecn: None,
            contents: datagrams,
            segment_size: (datagrams.len() > segment).then_some(segment),
            src_ip: from,
        };
        let mut refused = false;
        let mut deadline = None;
        loop {
            let Err(error) = state.try_send(UdpSockRef::from(&self.socket), &transmit) else {
                return if refused { Err(Unsent::Refused) } else { Ok(()) };
            };
            match error.kind() {
                // Word of an earlier datagram; this one did not go.
                io::ErrorKind::ConnectionRefused if !refused => refused = true,
                io::ErrorKind::ConnectionRefused => return Err(Unsent::Refused),
                io::ErrorKind::WouldBlock => {
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + SEND_LIMIT);
                    if !wait(&[(&self.socket, PollFlags::OUT)], Some(deadline)).is_ok_and(|[ready]| ready) {
                        return Err(Unsent::Lost);
                    }
                }
                _ if is(&error, rustix::io::Errno::NOBUFS) => {
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + SEND_LIMIT);
                    if Instant::now() >= deadline {
                        return Err(Unsent::Lost);
                    }
                    std::thread::sleep(PAUSE);
                }
                _ if is(&error, rustix::io::Errno::MSGSIZE) => return Err(Unsent::TooBig),
                _ => return Err(Unsent::Lost),
            }
        }
    }

    /// Receives what is there, into as many of the slots as it takes: how many were used, 0 when nothing is there.
    pub(super) fn recv(&self, slots: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> io::Result<usize> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match state.recv(UdpSockRef::from(&self.socket), slots, meta) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(0)
            }
            other => other,
        }
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A socket that is connected to this peer, at the address that the kernel chooses.
fn connected(peer: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr =
        if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(peer)?;
    Ok(socket)
}

fn is(error: &io::Error, errno: rustix::io::Errno) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(errno)
}

/// Asks for large buffers, past the system's limit where this process may. What it gets is what it gets.
fn enlarge(socket: &UdpSocket) {
    let plain = SockRef::from(socket);
    #[cfg(target_os = "linux")]
    let forced = (
        rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, BUFFER_LEN).is_ok(),
        rustix::net::sockopt::set_socket_send_buffer_size_force(socket, BUFFER_LEN).is_ok(),
    );
    #[cfg(not(target_os = "linux"))]
    let forced = (false, false);
    if !forced.0 {
        let _ = plain.set_recv_buffer_size(BUFFER_LEN);
    }
    if !forced.1 {
        let _ = plain.set_send_buffer_size(BUFFER_LEN);
    }
}

/// Whether the kernel may cut datagrams into fragments: a setting of the whole socket, which `quinn-udp` turns off.
#[cfg(target_os = "linux")]
mod fragments {
    use std::io;
    use std::net::UdpSocket;

    use nix::sys::socket::{setsockopt, sockopt};
    use rustix::net::sockopt::{
        Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    };

    pub(super) fn allow(socket: &UdpSocket, allowed: bool) -> io::Result<()> {
        let (four, six) = if allowed {
            (Ipv4PathMtuDiscovery::DONT, Ipv6PathMtuDiscovery::DONT)
        } else {
            (Ipv4PathMtuDiscovery::PROBE, Ipv6PathMtuDiscovery::PROBE)
        };
        // Of an IPv6 socket too, for the IPv4 addresses that it reaches.
        set_ip_mtu_discover(socket, four)?;
        if socket.local_addr()?.is_ipv6() {
            set_ipv6_mtu_discover(socket, six)?;
            setsockopt(socket, sockopt::Ipv6DontFrag, &!allowed)?;
        }
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod fragments {
    use std::io;
    use std::net::UdpSocket;

    pub(super) fn allow(_: &UdpSocket, _: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Port, UdpSocket) {
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        far.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        (Port::connect(far.local_addr().unwrap()).unwrap(), far)
    }

    #[test]
    fn batches_arrive_as_datagrams_with_and_without_segmentation() {
        let (near, far) = pair();
        let to = far.local_addr().unwrap();
        let bytes: Vec<u8> = (0..250).collect();
        let receives_three = || {
            let mut buffer = [0; 1000];
            for part in bytes.chunks(100) {
                let len = far.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..len], part);
            }
        };
        near.send(to, None, &bytes, 100).unwrap();
        receives_three();
        // More segments than any kernel takes in one call: it refuses, as it does where there is no segmentation.
        let state = near.state.read().unwrap();
        let many = vec![0; 60_000];
        assert!(matches!(near.send_batch(&state, to, None, &many, 10), Err(Unsent::Lost)));
        assert_eq!(state.max_gso_segments(), 1);
        drop(state);
        near.send(to, None, &bytes, 100).unwrap();
        receives_three();
    }

    #[test]
    fn an_address_that_is_still_good_is_kept() {
        let (near, far) = pair();
        let before = near.socket.local_addr().unwrap();
        near.follow_address().unwrap();
        assert_eq!(near.socket.local_addr().unwrap(), before);
        near.send_fragmented(far.local_addr().unwrap(), None, b"whole").unwrap();
        let mut buffer = [0; 10];
        assert_eq!(far.recv_from(&mut buffer).unwrap(), (5, before));
        assert_eq!(
            near.advice().is_some(),
            near.advice().is_some_and(|advice| advice.contains("sysctl -w net.core."))
        );
    }
}
