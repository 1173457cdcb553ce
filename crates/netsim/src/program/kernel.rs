//! The system calls that no crate wraps: a TUN device, offloads, and packets to and from an interface. All that is unsafe
//! in netsim is here.
#![expect(unsafe_code, reason = "ioctls, packet sockets and their ring have no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use nix::libc;

/// Makes `file`, an open `/dev/net/tun`, the TUN device `name` of this thread's network namespace. Packets are whole IP
/// packets, segmented and with their checksums, because no offload is asked for.
pub(super) fn attach_tun(file: &File, name: &str) -> io::Result<()> {
    let mut request = interface_request(name);
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the request is a whole ifreq, which the kernel reads and writes within its bounds.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) }).map(|_| ())
}

/// Switches everything off with which an interface of this thread's network namespace leaves checksums and segmentation
/// to someone later.
pub(super) fn switch_offloads_off(name: &str) -> io::Result<()> {
    // ETHTOOL_SRXCSUM, _STXCSUM, _SSG, _STSO, _SGSO and _SGRO of linux/ethtool.h.
    const SETTINGS: [u32; 6] = [0x15, 0x17, 0x19, 0x1f, 0x24, 0x2c];
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    for setting in SETTINGS {
        let mut value = [setting, 0_u32];
        let mut request = interface_request(name);
        request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
        // SAFETY: the request points to an ethtool_value, two u32, that outlives the call.
        let done =
            checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) });
        match done {
            Err(error) if error.raw_os_error() != Some(libc::EOPNOTSUPP) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Lets this thread run as soon as it has something to do, whatever else there is. The kernel keeps a share of each second
/// for the others all the same.
pub(super) fn run_before_all_others() -> io::Result<()> {
    let lowest_of_these = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameter is a whole sched_param, which is only read.
    checked(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest_of_these) }).map(|_| ())
}

fn interface_request(name: &str) -> libc::ifreq {
    // SAFETY: an ifreq is plain data, for which all zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays 0.
    for (to, &from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.as_bytes()) {
        *to = from as libc::c_char;
    }
    request
}

/// The IPv4 packets that come to one interface, through a ring that is shared with the kernel.
#[derive(Debug)]
pub(super) struct PacketReceiver {
    socket: OwnedFd,
    ring: NonNull<u8>,
    next: usize,
}

/// What sends IPv4 packets out of one interface, to one address of the link layer.
#[derive(Debug)]
pub(super) struct PacketSender {
    socket: OwnedFd,
    to: libc::sockaddr_ll,
}

// SAFETY: the ring is only reached through the one owner of the receiver.
unsafe impl Send for PacketReceiver {}

/// Bytes that a packet may have in the ring, with the kernel's header before it.
const SLOT: usize = 2048;
const SLOTS: usize = 8192;
/// The longest packet that a slot holds.
pub(super) const LONGEST_IN_RING: usize = SLOT - 128;
const BLOCK: usize = 1 << 16;

/// Opens an interface of this thread's network namespace. `to` is the address of the link layer that packets go to.
pub(super) fn open_packets(interface: u32, to: [u8; 6]) -> io::Result<(PacketReceiver, PacketSender)> {
    // SAFETY: plain system calls on a descriptor that is owned from the moment it is known.
    let socket = unsafe {
        let flags = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // No protocol yet: nothing is received before the ring is there and the interface chosen.
        OwnedFd::from_raw_fd(checked(libc::socket(libc::AF_PACKET, flags, 0))?)
    };
    let ring = map_ring(&socket)?;
    let receiver = PacketReceiver { socket, ring, next: 0 };
    // SAFETY: a sockaddr_ll is plain data, for which all zeros are valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_IP as u16).to_be();
    address.sll_ifindex = interface as i32;
    // SAFETY: the address is a whole sockaddr_ll of the length given.
    checked(unsafe {
        libc::bind(receiver.socket.as_raw_fd(), (&raw const address).cast(), length_of(&address))
    })?;
    address.sll_halen = 6;
    address.sll_addr[..6].copy_from_slice(&to);
    let sender = PacketSender { socket: receiver.socket.try_clone()?, to: address };
    Ok((receiver, sender))
}

fn map_ring(socket: &OwnedFd) -> io::Result<NonNull<u8>> {
    let request = libc::tpacket_req {
        tp_block_size: BLOCK as u32,
        tp_block_nr: (SLOT * SLOTS / BLOCK) as u32,
        tp_frame_size: SLOT as u32,
        tp_frame_nr: SLOTS as u32,
    };
    set_option(socket, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V2 as libc::c_int))?;
    set_option(socket, libc::PACKET_RX_RING, &request)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh mapping of as many bytes as the ring was just made with.
    let at = unsafe {
        libc::mmap(std::ptr::null_mut(), SLOT * SLOTS, protection, libc::MAP_SHARED, socket.as_raw_fd(), 0)
    };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(at.cast()).ok_or_else(|| io::Error::other("a ring at address 0"))
}

fn set_option<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let value: *const T = value;
    // SAFETY: the value is read for as many bytes as its type has.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, value.cast(), size_of::<T>() as u32)
    };
    checked(done).map(|_| ())
}

impl PacketReceiver {
    /// The next packet, copied into `buffer`, and its length; `None` where there is none yet.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        // SAFETY: `next` is less than SLOTS, so the slot lies in the mapping; its header is aligned as SLOT is. While its
        // status says that it is the program's, the kernel does not touch it.
        let length = unsafe {
            let slot = self.ring.as_ptr().add(self.next * SLOT);
            let status = AtomicU32::from_ptr(slot.cast());
            if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
                return None;
            }
            let header = &*slot.cast::<libc::tpacket2_hdr>();
            let begin = usize::from(header.tp_net).min(SLOT);
            let length = (header.tp_snaplen as usize).min(SLOT - begin).min(buffer.len());
            std::ptr::copy_nonoverlapping(slot.add(begin), buffer.as_mut_ptr(), length);
            fence(Ordering::Release);
            status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
            length
        };
        self.next = (self.next + 1) % SLOTS;
        Some(length)
    }

    /// How many packets the kernel had no slot for since this was last asked.
    pub(super) fn dropped(&self) -> io::Result<u64> {
        let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = length_of(&stats);
        // SAFETY: the kernel writes at most `length` bytes into the whole struct.
        let done = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut length,
            )
        };
        checked(done).map(|_| u64::from(stats.tp_drops))
    }
}

impl AsFd for PacketReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for PacketReceiver {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this address and length, and ends here once.
        unsafe { libc::munmap(self.ring.as_ptr().cast(), SLOT * SLOTS) };
    }
}

impl PacketSender {
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<usize> {
        // SAFETY: the packet is read for its length, the address for that of a sockaddr_ll.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                libc::MSG_DONTWAIT,
                (&raw const self.to).cast(),
                length_of(&self.to),
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
    }
}

fn length_of<T>(_: &T) -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
