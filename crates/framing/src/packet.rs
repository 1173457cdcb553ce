//! The packet: what one UDP datagram holds.
//!
//! The first byte of a packet is its kind. Its last four bytes are the CRC-32C of all bytes before them, except in
//! [`Packet::Plain`], which has a checksum behind its header and another one of its payload.
//!
//! | kind    | byte | layout behind the kind                                                                     |
//! |---------|------|--------------------------------------------------------------------------------------------|
//! | Init    | `c1` | 3 magic, 1 version, 4 client cid, 8 echo, 43 zeros, 4 CRC                                  |
//! | Retry   | `c2` | 3 magic, 1 version, 4 client cid, 4 server cid, 8 echo, 24 token, 4 CRC                    |
//! | Connect | `c3` | 3 magic, 1 version, 4 server cid, 4 client cid, 24 token, 4 packet number, frames, 4 CRC   |
//! | Data    | `c4` | 4 cid, 4 packet number, frames, 4 CRC                                                      |
//! | Reset   | `c5` | 4 cid, 4 packet number, 4 CRC of the packet that this one answers, 4 CRC                   |
//! | Plain   | `c6` | 4 cid, 4 packet number, 8 chunk, 4 CRC of the 17 bytes so far, 4 CRC of the payload, payload |
//! | Version | `c7` | 3 magic, 1 version, 4 client cid, 8 echo, 4 CRC                                            |
//!
//! The number before a field is its length in bytes; [`field`] says where each one lies. All numbers are big-endian. In
//! every version Init and Version keep the layout that they have here, as far as their echo and with their CRC at the end.

mod ack;
mod frame;
mod number;
mod varint;
mod write;

pub use ack::{Ack, AckFields, put_ack};
pub use frame::{
    Frame, Frames, control_header_len, frames, part_header_len, put_ack_policy, put_challenge, put_close,
    put_control, put_datagram_header, put_padding, put_part_header, put_ping, put_response,
};
pub use number::restore_pn;
pub use write::{begin_connect, begin_data, init, plain, reset, retry, seal, version};

use std::ops::Range;

use crate::{CHUNK_LEN, crc32c};

/// Where each field of a packet lies.
pub mod field {
    use std::ops::Range;

    use super::{MAGIC as MAGIC_BYTES, TOKEN_LEN};

    /// What the packet is.
    pub const KIND: Range<usize> = 0..1;

    /// Of Data, Reset and Plain: the connection id.
    pub const CID: Range<usize> = KIND.end..KIND.end + 4;
    /// Of Data, Reset and Plain: the low half of a packet number.
    pub const PN: Range<usize> = CID.end..CID.end + 4;
    /// Of Reset: the last four bytes of the packet that it answers.
    pub const RESET_CRC: Range<usize> = PN.end..PN.end + 4;
    /// Of Plain: the chunk's number.
    pub const PLAIN_CHUNK: Range<usize> = PN.end..PN.end + 8;
    /// Of Plain: CRC-32C of everything before it.
    pub const PLAIN_HEADER_CRC: Range<usize> = PLAIN_CHUNK.end..PLAIN_CHUNK.end + 4;
    /// Of Plain: CRC-32C of the payload.
    pub const PLAIN_PAYLOAD_CRC: Range<usize> = PLAIN_HEADER_CRC.end..PLAIN_HEADER_CRC.end + 4;

    /// Of Init, Retry, Connect and Version: bytes that are always the same.
    pub const MAGIC: Range<usize> = KIND.end..KIND.end + MAGIC_BYTES.len();
    /// Of the same: version of the protocol.
    pub const VERSION: Range<usize> = MAGIC.end..MAGIC.end + 1;
    /// Of the same: the connection id that the receiver goes by, the client's in all but Connect.
    pub const FIRST_CID: Range<usize> = VERSION.end..VERSION.end + 4;
    /// Of Retry and Connect: the connection id of the side that sent it.
    pub const SECOND_CID: Range<usize> = FIRST_CID.end..FIRST_CID.end + 4;
    /// Of Init and Version: what the client gave to recognise the answer by.
    pub const ECHO: Range<usize> = FIRST_CID.end..FIRST_CID.end + 8;
    /// Of Retry: the same.
    pub const RETRY_ECHO: Range<usize> = SECOND_CID.end..SECOND_CID.end + 8;
    /// Of Retry: what proves the client's address.
    pub const RETRY_TOKEN: Range<usize> = RETRY_ECHO.end..RETRY_ECHO.end + TOKEN_LEN;
    /// Of Connect: the same.
    pub const CONNECT_TOKEN: Range<usize> = SECOND_CID.end..SECOND_CID.end + TOKEN_LEN;
    /// Of Connect: the low half of its packet number.
    pub const CONNECT_PN: Range<usize> = CONNECT_TOKEN.end..CONNECT_TOKEN.end + 4;
}

/// The version of the protocol that this library speaks.
pub const VERSION: u8 = 1;
/// What the packets have behind their kind that begin or refuse a connection.
pub const MAGIC: [u8; 3] = *b"TDU";
/// Bytes in an Init packet.
pub const INIT_LEN: usize = 64;
/// Bytes in a Retry packet.
pub const RETRY_LEN: usize = field::RETRY_TOKEN.end + CRC_LEN;
/// Bytes in a Version packet.
pub const VERSION_LEN: usize = field::ECHO.end + CRC_LEN;
/// Bytes in a Reset packet. It answers only packets that are longer, so two sides can't answer each other for ever.
pub const RESET_LEN: usize = field::RESET_CRC.end + CRC_LEN;
/// Bytes in a token.
pub const TOKEN_LEN: usize = 24;
/// Bytes before the frames of a Data packet.
pub const DATA_HEADER_LEN: usize = field::PN.end;
/// Bytes before the frames of a Connect packet.
pub const CONNECT_HEADER_LEN: usize = field::CONNECT_PN.end;
/// Bytes before the payload of a Plain packet.
pub const PLAIN_HEADER_LEN: usize = field::PLAIN_PAYLOAD_CRC.end;
/// Bytes of the checksum that a packet ends with.
pub const CRC_LEN: usize = 4;
/// Bytes in a unit, the smallest piece of a chunk that is sent alone. Only the last unit of a file may be shorter.
pub const UNIT_LEN: usize = 128;
/// Units in a chunk. Only the last chunk of a file may have fewer.
pub const UNITS_PER_CHUNK: u64 = (CHUNK_LEN / UNIT_LEN) as u64;
/// The most bytes of a part: as many as a chunk has.
pub const MAX_PART_LEN: usize = CHUNK_LEN;
/// All chunk numbers on UDP are below this, so that a unit's number fits a varint.
pub const MAX_CHUNK: u64 = 1 << 48;
/// The most ranges of an acknowledgement.
pub const MAX_ACK_RANGES: usize = 1024;
/// Code of a close: the conversation is over, or this side can't go on with it.
pub const CLOSE_DONE: u64 = 0;
/// Code of a close: the other side broke the protocol.
pub const CLOSE_PROTOCOL: u64 = 1;
/// The most bytes of the reason for the end of a connection.
pub const MAX_REASON_LEN: usize = 256;

/// One packet whose checksum was right, borrowed from its datagram.
///
/// Packet numbers are the low halves of the real ones, see [`restore_pn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A client wants to connect.
    Init {
        /// The version that it speaks. Any: what is behind the echo is another version's own affair.
        version: u8,
        /// The connection id that packets to this client shall carry.
        client_cid: u32,
        /// To be sent back, so that the client recognises the answer.
        echo: u64,
    },
    /// The server's answer to Init, for which it keeps nothing.
    Retry {
        /// The client's connection id.
        client_cid: u32,
        /// The connection id that packets to this server shall carry.
        server_cid: u32,
        /// What Init held.
        echo: u64,
        /// Proves the client's address.
        token: [u8; TOKEN_LEN],
    },
    /// Data of a client that has heard no Data packet of the server yet.
    Connect {
        /// The server's connection id, from Retry.
        server_cid: u32,
        /// The client's connection id.
        client_cid: u32,
        /// From Retry.
        token: [u8; TOKEN_LEN],
        /// Its number.
        pn: u32,
        /// See [`frames`].
        frames: &'a [u8],
    },
    /// What a connection consists of.
    Data {
        /// The connection id of the side that it goes to.
        cid: u32,
        /// Its number.
        pn: u32,
        /// See [`frames`].
        frames: &'a [u8],
    },
    /// "I know no such connection."
    Reset {
        /// The connection id of the packet that this one answers.
        cid: u32,
        /// The number of that packet.
        pn: u32,
        /// The last four bytes of that packet.
        crc: u32,
    },
    /// A whole chunk in one datagram, without repair.
    Plain {
        /// The connection id of the side that it goes to.
        cid: u32,
        /// Its number.
        pn: u32,
        /// The chunk's number, below [`MAX_CHUNK`].
        chunk: u64,
        /// 1 to [`CHUNK_LEN`] bytes.
        payload: &'a [u8],
        /// Whether the payload has its checksum. The header has its own in any case.
        intact: bool,
    },
    /// The server's answer to an Init of a version that it does not speak.
    Version {
        /// The one that it speaks.
        version: u8,
        /// The client's connection id.
        client_cid: u32,
        /// What Init held.
        echo: u64,
    },
}

/// Why a datagram is not a packet. It is dropped; nothing follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Fewer bytes than its kind has at least.
    #[error("a packet is cut short")]
    Short,
    /// A kind of packet that there is none of.
    #[error("unknown packet kind {0:#04x}")]
    Kind(u8),
    /// The checksum is wrong; in a Plain packet the one of the header.
    #[error("a packet is damaged")]
    Checksum,
    /// It is not of this protocol.
    #[error("not a packet: its magic is wrong")]
    Magic,
    /// The other side speaks another version of the protocol.
    #[error("protocol version {0}, this side speaks version {VERSION}")]
    Version(u8),
    /// Its checksum is right and its content can't be.
    #[error("a packet has an impossible {0}")]
    Malformed(&'static str),
}

/// The first byte of each packet.
mod kind {
    pub(super) const INIT: u8 = 0xc1;
    pub(super) const RETRY: u8 = 0xc2;
    pub(super) const CONNECT: u8 = 0xc3;
    pub(super) const DATA: u8 = 0xc4;
    pub(super) const RESET: u8 = 0xc5;
    pub(super) const PLAIN: u8 = 0xc6;
    pub(super) const VERSION: u8 = 0xc7;
}

impl<'a> Packet<'a> {
    /// Reads the packet that a datagram is, and checks its checksum.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, PacketError> {
        match *datagram.first().ok_or(PacketError::Short)? {
            kind::DATA => parse_data(datagram),
            kind::PLAIN => parse_plain(datagram),
            kind::CONNECT => parse_connect(datagram),
            kind::INIT => parse_init(datagram),
            kind::RETRY => parse_retry(datagram),
            kind::RESET => parse_reset(datagram),
            kind::VERSION => parse_version(datagram),
            other => Err(PacketError::Kind(other)),
        }
    }
}

/// The connection id that a packet is to be given to, read without checking anything but the length it needs. An Init has
/// none.
#[must_use]
pub fn destination(datagram: &[u8]) -> Option<u32> {
    let at = match *datagram.first()? {
        kind::DATA | kind::PLAIN | kind::RESET => field::CID,
        kind::CONNECT | kind::RETRY | kind::VERSION => field::FIRST_CID,
        _ => return None,
    };
    datagram.get(at)?.first_chunk().copied().map(u32::from_be_bytes)
}

fn parse_data(datagram: &[u8]) -> Result<Packet<'_>, PacketError> {
    let body = checked(datagram)?;
    let (head, frames) = body.split_first_chunk::<DATA_HEADER_LEN>().ok_or(PacketError::Short)?;
    Ok(Packet::Data { cid: be32(head, field::CID), pn: be32(head, field::PN), frames })
}

fn parse_plain(datagram: &[u8]) -> Result<Packet<'_>, PacketError> {
    let (head, payload) = datagram.split_first_chunk::<PLAIN_HEADER_LEN>().ok_or(PacketError::Short)?;
    if crc32c(&head[..field::PLAIN_HEADER_CRC.start]) != be32(head, field::PLAIN_HEADER_CRC) {
        return Err(PacketError::Checksum);
    }
    let chunk = be64(head, field::PLAIN_CHUNK);
    if chunk >= MAX_CHUNK {
        return Err(PacketError::Malformed("chunk number"));
    }
    if payload.is_empty() || payload.len() > CHUNK_LEN {
        return Err(PacketError::Malformed("length"));
    }
    let intact = crc32c(payload) == be32(head, field::PLAIN_PAYLOAD_CRC);
    Ok(Packet::Plain { cid: be32(head, field::CID), pn: be32(head, field::PN), chunk, payload, intact })
}

fn parse_connect(datagram: &[u8]) -> Result<Packet<'_>, PacketError> {
    check_magic(datagram)?;
    let body = checked(datagram)?;
    check_version(body)?;
    let (head, frames) = body.split_first_chunk::<CONNECT_HEADER_LEN>().ok_or(PacketError::Short)?;
    Ok(Packet::Connect {
        server_cid: be32(head, field::FIRST_CID),
        client_cid: be32(head, field::SECOND_CID),
        token: array(head, field::CONNECT_TOKEN),
        pn: be32(head, field::CONNECT_PN),
        frames,
    })
}

fn parse_init(datagram: &[u8]) -> Result<Packet<'_>, PacketError> {
    check_magic(datagram)?;
    let head = datagram.first_chunk::<INIT_LEN>().ok_or(PacketError::Short)?;
    checked(datagram)?;
    let version = head[field::VERSION.start];
    if version == VERSION && datagram.len() != INIT_LEN {
        return Err(PacketError::Malformed("length"));
    }
    Ok(Packet::Init { version, client_cid: be32(head, field::FIRST_CID), echo: be64(head, field::ECHO) })
}

fn parse_retry(datagram: &[u8]) -> Result<Packet<'_>, PacketError> {
    check_magic(datagram)?;
    check_version(checked(datagram)?)?;
    let packet = exactly::<RETRY_LEN>(datagram)?;
    Ok(Packet::Retry {
        client_cid: be32(packet, field::FIRST_CID),
        server_cid: be32(packet, field::SECOND_CID),
        echo: be64(packet, field::RETRY_ECHO),
        token: array(packet, field::RETRY_TOKEN),
    })
}

fn parse_reset(datagram: &[u8]) -> Result<Packet<'_>, PacketError> {
    checked(datagram)?;
    let packet = exactly::<RESET_LEN>(datagram)?;
    Ok(Packet::Reset {
        cid: be32(packet, field::CID),
        pn: be32(packet, field::PN),
        crc: be32(packet, field::RESET_CRC),
    })
}

fn parse_version(datagram: &[u8]) -> Result<Packet<'_>, PacketError> {
    check_magic(datagram)?;
    checked(datagram)?;
    let packet = exactly::<VERSION_LEN>(datagram)?;
    Ok(Packet::Version {
        version: packet[field::VERSION.start],
        client_cid: be32(packet, field::FIRST_CID),
        echo: be64(packet, field::ECHO),
    })
}

/// All of a packet but its checksum, which is right.
fn checked(datagram: &[u8]) -> Result<&[u8], PacketError> {
    let (body, crc) = datagram.split_last_chunk::<CRC_LEN>().ok_or(PacketError::Short)?;
    if crc32c(body) == u32::from_be_bytes(*crc) { Ok(body) } else { Err(PacketError::Checksum) }
}

fn check_magic(datagram: &[u8]) -> Result<(), PacketError> {
    let magic = datagram.get(field::MAGIC).ok_or(PacketError::Short)?;
    if *magic == MAGIC { Ok(()) } else { Err(PacketError::Magic) }
}

fn check_version(body: &[u8]) -> Result<(), PacketError> {
    match *body.get(field::VERSION.start).ok_or(PacketError::Short)? {
        VERSION => Ok(()),
        other => Err(PacketError::Version(other)),
    }
}

/// A packet of a kind that has just one length.
fn exactly<const LEN: usize>(datagram: &[u8]) -> Result<&[u8; LEN], PacketError> {
    match datagram.split_first_chunk::<LEN>() {
        Some((packet, [])) => Ok(packet),
        Some(_) => Err(PacketError::Malformed("length")),
        None => Err(PacketError::Short),
    }
}

// The ranges are constants of `field` and lie within the layouts that they are used with.

fn array<const N: usize, const LEN: usize>(bytes: &[u8; LEN], at: Range<usize>) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at]);
    field
}

fn be32<const LEN: usize>(bytes: &[u8; LEN], at: Range<usize>) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

fn be64<const LEN: usize>(bytes: &[u8; LEN], at: Range<usize>) -> u64 {
    u64::from_be_bytes(array(bytes, at))
}
