//! The frame: what a byte stream is cut into.
//!
//! | offset | length | field         | meaning                                                        |
//! |--------|--------|---------------|----------------------------------------------------------------|
//! | 0      | 2      | magic         | `54 44`, "TD"                                                  |
//! | 2      | 1      | version       | 1                                                              |
//! | 3      | 1      | kind          | 1 message, 2 chunk                                             |
//! | 4      | 4      | length        | bytes of payload that follow the header                        |
//! | 8      | 8      | chunk number  | of a chunk; 0 in a message                                     |
//! | 16     | 4      | payload CRC   | CRC-32C of the payload                                         |
//! | 20     | 4      | header CRC    | CRC-32C of bytes 0 to 19                                       |
//!
//! All numbers are big-endian. The first three bytes keep their meaning in every version.

use std::ops::Range;

use crate::{CHUNK_LEN, MAX_MESSAGE_LEN, crc32c};

/// Where each field of the header lies.
pub mod field {
    use std::ops::Range;

    /// The two bytes that every frame starts with.
    pub const MAGIC: Range<usize> = 0..2;
    /// Version of the protocol.
    pub const VERSION: Range<usize> = MAGIC.end..MAGIC.end + 1;
    /// What the payload is.
    pub const KIND: Range<usize> = VERSION.end..VERSION.end + 1;
    /// Bytes of payload.
    pub const LENGTH: Range<usize> = KIND.end..KIND.end + 4;
    /// The chunk's number within the transfer.
    pub const CHUNK: Range<usize> = LENGTH.end..LENGTH.end + 8;
    /// CRC-32C of the payload.
    pub const PAYLOAD_CRC: Range<usize> = CHUNK.end..CHUNK.end + 4;
    /// CRC-32C of everything before it.
    pub const HEADER_CRC: Range<usize> = PAYLOAD_CRC.end..PAYLOAD_CRC.end + 4;
}

/// Bytes in a frame's header.
pub const HEADER_LEN: usize = field::HEADER_CRC.end;
/// The first two bytes of every frame.
pub const MAGIC: [u8; 2] = *b"TD";
/// The version of the protocol that this library speaks.
pub const VERSION: u8 = 1;
/// Bytes in the longest frame.
pub const MAX_FRAME_LEN: usize = HEADER_LEN + MAX_MESSAGE_LEN;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A [`Message`](crate::Message).
    Message,
    /// One chunk of a file.
    Chunk,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::Message => 1,
            Self::Chunk => 2,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Message),
            2 => Some(Self::Chunk),
            _ => None,
        }
    }

    const fn max_payload(self) -> usize {
        match self {
            Self::Message => MAX_MESSAGE_LEN,
            Self::Chunk => CHUNK_LEN,
        }
    }
}

/// Why bytes are not a frame. The stream can't be read on after any of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first two bytes are not a frame's.
    #[error("not a frame: it starts with {0:02x?}")]
    NotAFrame([u8; 2]),
    /// The other side speaks another version of the protocol.
    #[error("protocol version {0}, this side speaks version {VERSION}")]
    Version(u8),
    /// The header's own checksum is wrong.
    #[error("a frame header is damaged")]
    HeaderDamaged,
    /// A kind of frame that version 1 does not have.
    #[error("unknown frame kind {0:#04x}")]
    UnknownKind(u8),
    /// A payload longer than its kind may have, or an empty one.
    #[error("a frame of {0} bytes, which its kind cannot have")]
    Length(u32),
}

/// The fields of a frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the payload is.
    pub kind: Kind,
    /// Bytes of payload, 1 to the kind's limit.
    pub length: usize,
    /// The chunk's number; 0 in a message.
    pub chunk: u64,
    /// CRC-32C of the payload.
    pub payload_crc: u32,
}

impl Header {
    /// Writes the header, its own checksum included.
    pub fn emit(&self, out: &mut [u8; HEADER_LEN]) {
        out[field::MAGIC].copy_from_slice(&MAGIC);
        out[field::VERSION.start] = VERSION;
        out[field::KIND.start] = self.kind.code();
        out[field::LENGTH].copy_from_slice(&(self.length as u32).to_be_bytes());
        out[field::CHUNK].copy_from_slice(&self.chunk.to_be_bytes());
        out[field::PAYLOAD_CRC].copy_from_slice(&self.payload_crc.to_be_bytes());
        let crc = crc32c(&out[..field::HEADER_CRC.start]);
        out[field::HEADER_CRC].copy_from_slice(&crc.to_be_bytes());
    }

    /// Reads a header from the start of `bytes`: `None` wants more of them.
    ///
    /// What is wrong is found as soon as its bytes are there, so the result does not depend on how a stream was cut.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        if let Some(magic) = bytes.first_chunk::<2>()
            && *magic != MAGIC
        {
            return Err(FrameError::NotAFrame(*magic));
        }
        if let Some(&version) = bytes.get(field::VERSION.start)
            && version != VERSION
        {
            return Err(FrameError::Version(version));
        }
        let Some(bytes) = bytes.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        if be32(bytes, field::HEADER_CRC) != crc32c(&bytes[..field::HEADER_CRC.start]) {
            return Err(FrameError::HeaderDamaged);
        }
        let code = bytes[field::KIND.start];
        let kind = Kind::from_code(code).ok_or(FrameError::UnknownKind(code))?;
        let length = be32(bytes, field::LENGTH);
        if length == 0 || length as usize > kind.max_payload() {
            return Err(FrameError::Length(length));
        }
        let mut chunk = [0; 8];
        chunk.copy_from_slice(&bytes[field::CHUNK]);
        Ok(Some(Self {
            kind,
            length: length as usize,
            chunk: u64::from_be_bytes(chunk),
            payload_crc: be32(bytes, field::PAYLOAD_CRC),
        }))
    }
}

fn be32(bytes: &[u8; HEADER_LEN], at: Range<usize>) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at]);
    u32::from_be_bytes(number)
}

/// Fills in the header of a frame whose payload already stands behind [`HEADER_LEN`] reserved bytes.
///
/// Does nothing to a slice that has no room for a header.
pub fn seal(kind: Kind, chunk: u64, frame: &mut [u8]) {
    if let Some((header, payload)) = frame.split_first_chunk_mut::<HEADER_LEN>() {
        Header { kind, length: payload.len(), chunk, payload_crc: crc32c(payload) }.emit(header);
    }
}

/// One whole frame, borrowed from the bytes it was found in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The header's fields.
    pub header: Header,
    /// What the frame carries; see [`Frame::is_intact`].
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Finds the frame that `bytes` start with: `None` wants more of them.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>, FrameError> {
        let Some(header) = Header::parse(bytes)? else { return Ok(None) };
        Ok(bytes.get(HEADER_LEN..HEADER_LEN + header.length).map(|payload| Self { header, payload }))
    }

    /// Bytes of the whole frame.
    #[must_use]
    pub fn len(&self) -> usize {
        HEADER_LEN + self.payload.len()
    }

    /// Whether the frame has no payload; [`Frame::parse`] never makes such a one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// Whether the payload has the checksum that its header names.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        crc32c(self.payload) == self.header.payload_crc
    }
}
