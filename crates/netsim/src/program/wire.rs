//! The two ends that the emulator sits between: a network namespace with one interface each, and its packets.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};

use anyhow::{Context as _, Result, bail};

use super::kernel::{self, LONGEST_IN_RING, PacketReceiver, PacketSender};
use super::namespaces::{NetNamespace, set_sysctl};
use super::netlink::{Interface, Routing};

/// The client's address, in a network of 256 with the server's.
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The server's.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const PREFIX: u8 = 24;

/// What the interface is called at both ends.
const INTERFACE: &str = "net0";

/// How many packets may wait for the emulator to read them from a TUN device.
const TUN_QUEUE: u32 = 10_000;

/// How packets come to the emulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    Tun,
    Packet,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tun => "tun",
            Self::Packet => "packet",
        })
    }
}

/// Both ends.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) backend: Backend,
    /// Why it is not the better one.
    pub(super) instead: Option<String>,
    pub(super) ends: Ends,
    /// The client's, then the server's.
    pub(super) ports: [(Receiver, Sender); 2],
}

/// What is at the ends.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) client: End,
    pub(super) server: End,
}

/// One end.
#[derive(Debug)]
pub(super) struct End {
    pub(super) namespace: NetNamespace,
    pub(super) watch: Watch,
}

/// What the kernel tells of an end's network. The files are open, so any thread can read them.
#[derive(Debug)]
pub(super) struct Watch {
    devices: File,
    sockets: Vec<File>,
}

/// Where packets come from.
#[derive(Debug)]
pub(super) enum Receiver {
    Tun(File),
    Packets(PacketReceiver),
}

/// Where packets go to.
#[derive(Debug)]
pub(super) enum Sender {
    Tun(File),
    Packets(PacketSender),
}

impl Wire {
    /// Makes both ends, by the backend asked for or else by the first that works.
    pub(super) fn new(backend: Option<Backend>, mtu: u32) -> Result<Self> {
        if backend != Some(Backend::Packet) {
            match Self::by_tun(mtu) {
                Ok(wire) => return Ok(wire),
                Err(error) if backend == Some(Backend::Tun) => return Err(error),
                Err(error) => {
                    let instead = Some(format!("{error:#}"));
                    return Ok(Self { instead, ..Self::by_packets(mtu)? });
                }
            }
        }
        Self::by_packets(mtu)
    }

    fn by_tun(mtu: u32) -> Result<Self> {
        let end = |address| {
            let namespace = NetNamespace::new()?;
            let (device, watch) = namespace.inside(|| {
                let device = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .custom_flags(nonblocking())
                    .open("/dev/net/tun")
                    .context("cannot open /dev/net/tun")?;
                kernel::attach_tun(&device, INTERFACE).context("cannot make a TUN device")?;
                let interface = Interface { mtu: Some(mtu), queue: Some(TUN_QUEUE), ..Interface::default() };
                Ok((device, set_up(address, interface)?))
            })?;
            let port = (Receiver::Tun(device.try_clone()?), Sender::Tun(device));
            Ok::<_, anyhow::Error>((End { namespace, watch }, port))
        };
        Ok(Self::from_ends(Backend::Tun, end(CLIENT)?, end(SERVER)?))
    }

    /// Two pairs of interfaces, of which the near ends are in a third network, with the emulator's sockets on them.
    fn by_packets(mtu: u32) -> Result<Self> {
        if mtu as usize > LONGEST_IN_RING {
            bail!(
                "an MTU of {mtu} bytes needs the tun backend; the packet backend has {LONGEST_IN_RING} at most"
            );
        }
        let middle = NetNamespace::new()?;
        let end = |near: &str, address: Ipv4Addr| {
            let namespace = NetNamespace::new()?;
            let link_layer = link_layer_address(address);
            let port = middle.inside(|| {
                let routing = Routing::open()?;
                routing
                    .add_pair(near, INTERFACE, namespace.handle())
                    .context("cannot make a pair of Ethernet interfaces (veth)")?;
                kernel::switch_offloads_off(near)
                    .context("cannot switch the offloads of an interface off")?;
                let index = nix::net::if_::if_nametoindex(near)?;
                without_ipv6(near);
                let interface = Interface { mtu: Some(mtu), without_arp: true, ..Interface::default() };
                routing.bring_up(index, interface).context("cannot set an interface up")?;
                kernel::open_packets(index, link_layer).context("cannot open a packet socket")
            })?;
            let watch = namespace.inside(|| {
                kernel::switch_offloads_off(INTERFACE)
                    .context("cannot switch the offloads of an interface off")?;
                let interface = Interface {
                    mtu: Some(mtu),
                    address: Some(link_layer),
                    without_arp: true,
                    ..Interface::default()
                };
                set_up(address, interface)
            })?;
            let (receiver, sender) = port;
            let port = (Receiver::Packets(receiver), Sender::Packets(sender));
            Ok::<_, anyhow::Error>((End { namespace, watch }, port))
        };
        Ok(Self::from_ends(Backend::Packet, end("client", CLIENT)?, end("server", SERVER)?))
    }

    fn from_ends(
        backend: Backend,
        client: (End, (Receiver, Sender)),
        server: (End, (Receiver, Sender)),
    ) -> Self {
        let ((client, client_port), (server, server_port)) = (client, server);
        Self { backend, instead: None, ends: Ends { client, server }, ports: [client_port, server_port] }
    }
}

/// Makes this namespace's interface ready.
fn set_up(address: Ipv4Addr, interface: Interface) -> Result<Watch> {
    let index = nix::net::if_::if_nametoindex(INTERFACE).context("the interface is not there")?;
    let routing = Routing::open()?;
    without_ipv6(INTERFACE);
    routing.add_address(index, address, PREFIX).context("cannot give an interface its address")?;
    routing.bring_up(index, interface).context("cannot set an interface up")?;
    // So that ping works without rights of its own. Where that fails, ping says so.
    let group = rustix::process::getegid().as_raw();
    let _ = set_sysctl("net/ipv4/ping_group_range", &format!("{group} {group}"));
    let open = |name: &str| {
        let path = format!("/proc/thread-self/net/{name}");
        File::open(&path).with_context(|| format!("cannot open {path}"))
    };
    let sockets = ["tcp", "tcp6", "udp", "udp6"].into_iter().filter_map(|name| open(name).ok()).collect();
    Ok(Watch { devices: open("dev")?, sockets })
}

/// Its neighbour discovery would be packets that nobody sent. A kernel without IPv6 has no such file.
fn without_ipv6(interface: &str) {
    let _ = set_sysctl(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "1");
}

/// Administered locally, and with the IP address in it.
fn link_layer_address(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0, a, b, c, d]
}

fn nonblocking() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits() as i32
}

impl Watch {
    /// How many packets its interface had no room for, because the emulator did not fetch them in time.
    pub(super) fn dropped(&self) -> u64 {
        let text = read_again(&self.devices);
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix("net0:"));
        // Eight columns of what was received, then bytes, packets, errors and drops of what was sent.
        let column = line.and_then(|line| line.split_whitespace().nth(11));
        column.and_then(|column| column.parse().ok()).unwrap_or(0)
    }

    /// What listens here: each TCP socket that accepts, each UDP socket that is bound and not connected, whether it can
    /// be reached from the other end, and its port.
    pub(super) fn listeners(&self) -> Vec<Listener> {
        self.sockets
            .iter()
            .flat_map(|file| read_again(file).lines().filter_map(listener).collect::<Vec<_>>())
            .collect()
    }
}

/// A socket that waits to be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) port: u16,
    pub(super) loopback_only: bool,
}

/// A line of `/proc/net/tcp` and its like: number, local address, remote address, state.
fn listener(line: &str) -> Option<Listener> {
    let mut columns = line.split_whitespace().skip(1);
    let (local, _, state) = (columns.next()?, columns.next()?, columns.next()?);
    let (address, port) = local.split_once(':')?;
    // 0A is a TCP socket that listens, 07 a UDP socket that is not connected. The address is in the machine's order.
    let loopback_only = match address.len() {
        8 => address.get(6..)? == "7F",
        _ => address == "00000000000000000000000001000000",
    };
    let port = u16::from_str_radix(port, 16).ok().filter(|&port| port > 0)?;
    matches!(state, "0A" | "07").then_some(Listener { port, loopback_only })
}

/// The file from its start: the kernel writes it anew.
fn read_again(file: &File) -> String {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    while let Ok(length @ 1..) = file.read_at(&mut part, bytes.len() as u64) {
        bytes.extend(&part[..length]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Receiver {
    /// The next packet, in `buffer`, and its length; `None` where there is none yet.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self {
            Self::Tun(device) => match device.read(buffer) {
                Ok(length) => Ok(Some(length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error),
            },
            Self::Packets(socket) => Ok(socket.receive(buffer)),
        }
    }

    /// How many packets were dropped because the emulator did not fetch them in time, beside those that the interface's
    /// own counter has.
    pub(super) fn dropped(&self) -> u64 {
        match self {
            Self::Tun(_) => 0,
            Self::Packets(socket) => socket.dropped().unwrap_or(0),
        }
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tun(device) => device.as_fd(),
            Self::Packets(socket) => socket.as_fd(),
        }
    }
}

impl Sender {
    pub(super) fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        match self {
            Self::Tun(device) => device.write(packet).map(|_| ()),
            Self::Packets(socket) => socket.send(packet).map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_of_proc_net() {
        let line = |local: &str, state: &str| {
            listener(&format!("   0: {local} 00000000:0000 {state} 00000000:00000000"))
        };
        let found = |port, loopback_only| Some(Listener { port, loopback_only });
        assert_eq!(line("00000000:1FB8", "0A"), found(8120, false));
        assert_eq!(line("0100007F:1FB8", "0A"), found(8120, true));
        assert_eq!(line("02004D0A:1FB9", "07"), found(8121, false));
        assert_eq!(line("00000000000000000000000001000000:0050", "0A"), found(80, true));
        assert_eq!(line("00000000000000000000000000000000:0050", "0A"), found(80, false));
        assert_eq!(line("00000000:1FB8", "01"), None);
        assert_eq!(line("00000000:0000", "07"), None);
        assert_eq!(listener("  sl  local_address rem_address   st tx_queue rx_queue"), None);
    }
}
