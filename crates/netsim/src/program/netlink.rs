//! The four requests to the kernel's routing socket that two ends of a link take: rtnetlink(7).

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::libc;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};

/// The routing socket of this thread's network namespace.
#[derive(Debug)]
pub(super) struct Routing(OwnedFd);

/// How an interface is to be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Interface {
    /// The longest packet, if it is not the kernel's default.
    pub(super) mtu: Option<u32>,
    /// How many packets may wait to be read from it.
    pub(super) queue: Option<u32>,
    /// Its address of the link layer.
    pub(super) address: Option<[u8; 6]>,
    /// Whether it sends without asking for its peer's address of the link layer.
    pub(super) without_arp: bool,
}

impl Routing {
    pub(super) fn open() -> io::Result<Self> {
        // No protocol is the first one: NETLINK_ROUTE.
        Ok(Self(rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None)?))
    }

    /// Sets an interface up and running.
    pub(super) fn bring_up(&self, index: u32, interface: Interface) -> io::Result<()> {
        let arp = if interface.without_arp { libc::IFF_NOARP as u32 } else { 0 };
        let mut request = Request::new(libc::RTM_NEWLINK, 0);
        request.interface(index, libc::IFF_UP as u32 | arp, libc::IFF_UP as u32 | arp);
        if let Some(mtu) = interface.mtu {
            request.attribute(libc::IFLA_MTU, &mtu.to_ne_bytes());
        }
        if let Some(queue) = interface.queue {
            request.attribute(libc::IFLA_TXQLEN, &queue.to_ne_bytes());
        }
        if let Some(address) = interface.address {
            request.attribute(libc::IFLA_ADDRESS, &address);
        }
        self.ask(request)
    }

    /// Gives an interface an IPv4 address in a network of 2^(32 - `prefix`) addresses.
    pub(super) fn add_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut request = Request::new(libc::RTM_NEWADDR, (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16);
        // struct ifaddrmsg: family, prefix length, flags, scope, interface.
        request.bytes.extend([libc::AF_INET as u8, prefix, 0, 0]);
        request.bytes.extend(index.to_ne_bytes());
        request.attribute(libc::IFA_LOCAL, &address.octets());
        request.attribute(libc::IFA_ADDRESS, &address.octets());
        self.ask(request)
    }

    /// Makes a pair of Ethernet interfaces: `here` in this namespace, `there` in another.
    pub(super) fn add_pair(&self, here: &str, there: &str, namespace: BorrowedFd<'_>) -> io::Result<()> {
        /// VETH_INFO_PEER of linux/veth.h.
        const PEER: u16 = 1;
        let mut peer = Request { bytes: Vec::new() };
        peer.interface(0, 0, 0);
        peer.attribute(libc::IFLA_IFNAME, &with_zero(there));
        peer.attribute(libc::IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        let mut data = Request { bytes: Vec::new() };
        data.attribute(PEER, &peer.bytes);
        let mut info = Request { bytes: Vec::new() };
        info.attribute(libc::IFLA_INFO_KIND, b"veth");
        info.attribute(libc::IFLA_INFO_DATA, &data.bytes);
        let mut request = Request::new(libc::RTM_NEWLINK, (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16);
        request.interface(0, 0, 0);
        request.attribute(libc::IFLA_IFNAME, &with_zero(here));
        request.attribute(libc::IFLA_LINKINFO, &info.bytes);
        self.ask(request)
    }

    fn ask(&self, mut request: Request) -> io::Result<()> {
        let length = request.bytes.len() as u32;
        request.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        rustix::net::send(&self.0, &request.bytes, SendFlags::empty())?;
        let mut answer = [0; 4096];
        let (length, _) = rustix::net::recv(&self.0, &mut answer[..], RecvFlags::empty())?;
        // struct nlmsghdr (16 bytes, the type after the length), then the error's number, negative, or 0.
        let word = |at: usize| answer[..length].get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>());
        match word(16).map(|bytes| i32::from_ne_bytes(*bytes)) {
            Some(0) => Ok(()),
            Some(error) => Err(io::Error::from_raw_os_error(-error)),
            None => Err(io::Error::other("the routing socket answered with too few bytes")),
        }
    }
}

/// A request, or a part of one.
struct Request {
    bytes: Vec<u8>,
}

impl Request {
    fn new(kind: u16, flags: u16) -> Self {
        // struct nlmsghdr: length (filled in when it is sent), type, flags, sequence, port.
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
        bytes.extend([0; 8]);
        Self { bytes }
    }

    /// struct ifinfomsg: family, type, index, flags, which of them count.
    fn interface(&mut self, index: u32, flags: u32, change: u32) {
        self.bytes.extend([0; 4]);
        self.bytes.extend(index.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(change.to_ne_bytes());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend((4 + value.len() as u16).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
    }
}

fn with_zero(name: &str) -> Vec<u8> {
    name.bytes().chain([0]).collect()
}
