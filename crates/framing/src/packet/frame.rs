//! Frames: what a packet's body is made of.

use std::iter::FusedIterator;

use super::ack::Ack;
use super::varint::{MAX_VARINT, put_varint, read_varint, varint_len};
use super::{MAX_CHUNK, MAX_PART_LEN, MAX_REASON_LEN, UNIT_LEN, UNITS_PER_CHUNK};
use crate::wire::{Reader, WireError};

/// The first byte of each frame.
pub(super) mod kind {
    pub(in crate::packet) const PADDING: u8 = 0x00;
    pub(in crate::packet) const PING: u8 = 0x01;
    pub(in crate::packet) const ACK: u8 = 0x02;
    pub(in crate::packet) const CONTROL: u8 = 0x03;
    pub(in crate::packet) const PART: u8 = 0x04;
    pub(in crate::packet) const ACK_POLICY: u8 = 0x05;
    pub(in crate::packet) const CHALLENGE: u8 = 0x06;
    pub(in crate::packet) const RESPONSE: u8 = 0x07;
    pub(in crate::packet) const CLOSE: u8 = 0x08;
    pub(in crate::packet) const DATAGRAM: u8 = 0x09;
}

/// One frame, borrowed from its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// So many bytes of padding in a row.
    Padding(usize),
    /// Asks for an acknowledgement at once.
    Ping,
    /// Which packets came.
    Ack(Ack<'a>),
    /// A piece of the stream of messages.
    Control {
        /// Where in the stream it begins, in bytes.
        offset: u64,
        /// The piece.
        bytes: &'a [u8],
    },
    /// A piece of a chunk, or of several in a row; see [`put_part_header`].
    Part {
        /// The chunk that it begins in, below [`MAX_CHUNK`].
        chunk: u64,
        /// The unit of that chunk that it begins with, below [`UNITS_PER_CHUNK`].
        unit: u8,
        /// 1 to [`MAX_PART_LEN`] bytes.
        payload: &'a [u8],
    },
    /// How the sender of this frame wants its packets to be acknowledged.
    AckPolicy {
        /// Packets with lower numbers need no acknowledgement any more.
        floor: u64,
        /// The longest that an acknowledgement may wait, in microseconds.
        max_delay_us: u64,
        /// The most bytes (UDP payload) that may come before one is sent.
        max_bytes: u64,
    },
    /// To be sent back: proves that the other side receives at its address.
    Challenge([u8; 8]),
    /// What a challenge held.
    Response([u8; 8]),
    /// The connection is over.
    Close {
        /// Why, for the program; 62 bits.
        code: u64,
        /// Why, for a person: at most [`MAX_REASON_LEN`] bytes.
        reason: &'a str,
    },
    /// Bytes that are not sent again when they are lost.
    Datagram(&'a [u8]),
}

/// The frames of a packet's body, in order.
#[must_use]
pub const fn frames(bytes: &[u8]) -> Frames<'_> {
    Frames { body: Reader::new(bytes) }
}

/// Reads frames one behind the other; ends after the first error. Made by [`frames`].
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    body: Reader<'a>,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.body.is_empty() {
            return None;
        }
        let frame = Frame::read(&mut self.body);
        if frame.is_err() {
            self.body.rest();
        }
        Some(frame)
    }
}

impl FusedIterator for Frames<'_> {}

impl<'a> Frame<'a> {
    fn read(body: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(match body.u8()? {
            kind::PADDING => {
                let zeros = body.clone().rest().iter().take_while(|byte| **byte == kind::PADDING).count();
                body.bytes(zeros)?;
                Self::Padding(1 + zeros)
            }
            kind::PING => Self::Ping,
            kind::ACK => Self::Ack(Ack::read(body)?),
            kind::CONTROL => read_control(body)?,
            kind::PART => read_part(body)?,
            kind::ACK_POLICY => Self::AckPolicy {
                floor: read_varint(body)?,
                max_delay_us: read_varint(body)?,
                max_bytes: read_varint(body)?,
            },
            kind::CHALLENGE => Self::Challenge(body.array()?),
            kind::RESPONSE => Self::Response(body.array()?),
            kind::CLOSE => read_close(body)?,
            kind::DATAGRAM => Self::Datagram(body.rest()),
            other => return Err(WireError::UnknownFrame(other)),
        })
    }
}

fn read_control<'a>(body: &mut Reader<'a>) -> Result<Frame<'a>, WireError> {
    let offset = read_varint(body)?;
    let len = read_varint(body)?;
    let bytes = body.bytes(usize::try_from(len).map_err(|_| WireError::Short)?)?;
    if offset > MAX_VARINT - len {
        return Err(WireError::Invalid { field: "control offset", value: offset });
    }
    Ok(Frame::Control { offset, bytes })
}

fn read_part<'a>(body: &mut Reader<'a>) -> Result<Frame<'a>, WireError> {
    let chunk = read_varint(body)?;
    let unit = body.u8()?;
    let payload = body.rest();
    if u64::from(unit) >= UNITS_PER_CHUNK {
        return Err(WireError::Invalid { field: "unit", value: unit.into() });
    }
    if payload.is_empty() {
        return Err(WireError::Short);
    }
    if payload.len() > MAX_PART_LEN {
        let (value, limit) = (payload.len() as u64, MAX_PART_LEN as u64);
        return Err(WireError::TooLong { field: "part", value, limit });
    }
    // A part that runs on into the next chunk must find it below the limit too.
    let last_unit = usize::from(unit) + (payload.len() - 1) / UNIT_LEN;
    if chunk + last_unit as u64 / UNITS_PER_CHUNK >= MAX_CHUNK {
        return Err(WireError::Invalid { field: "chunk", value: chunk });
    }
    Ok(Frame::Part { chunk, unit, payload })
}

fn read_close<'a>(body: &mut Reader<'a>) -> Result<Frame<'a>, WireError> {
    let code = read_varint(body)?;
    let len = read_varint(body)?;
    if len > MAX_REASON_LEN as u64 {
        return Err(WireError::TooLong { field: "reason", value: len, limit: MAX_REASON_LEN as u64 });
    }
    let reason = body.bytes(len as usize)?;
    let reason = std::str::from_utf8(reason).map_err(|_| WireError::NotText("reason"))?;
    Ok(Frame::Close { code, reason })
}

/// Appends so many bytes of padding.
pub fn put_padding(out: &mut Vec<u8>, len: usize) {
    out.resize(out.len() + len, kind::PADDING);
}

/// Appends a request for an acknowledgement.
pub fn put_ping(out: &mut Vec<u8>) {
    out.push(kind::PING);
}

/// Appends a piece of the control stream: [`control_header_len`] bytes and the piece.
pub fn put_control(out: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    out.push(kind::CONTROL);
    put_varint(out, offset);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Bytes that [`put_control`] puts before a piece of `len` bytes.
#[must_use]
pub const fn control_header_len(offset: u64, len: usize) -> usize {
    1 + varint_len(offset) + varint_len(len as u64)
}

/// Appends all of a part but its payload, 1 to [`MAX_PART_LEN`] bytes, which must follow and end the packet.
///
/// The payload begins with unit `unit` of chunk `chunk`, and runs on into the units and chunks that follow.
pub fn put_part_header(out: &mut Vec<u8>, chunk: u64, unit: u8) {
    out.push(kind::PART);
    put_varint(out, chunk);
    out.push(unit);
}

/// Bytes that [`put_part_header`] appends.
#[must_use]
pub const fn part_header_len(chunk: u64) -> usize {
    1 + varint_len(chunk) + 1
}

/// Appends how this side wants its packets to be acknowledged; see [`Frame::AckPolicy`].
pub fn put_ack_policy(out: &mut Vec<u8>, floor: u64, max_delay_us: u64, max_bytes: u64) {
    out.push(kind::ACK_POLICY);
    put_varint(out, floor);
    put_varint(out, max_delay_us);
    put_varint(out, max_bytes);
}

/// Appends a challenge.
pub fn put_challenge(out: &mut Vec<u8>, challenge: [u8; 8]) {
    out.push(kind::CHALLENGE);
    out.extend_from_slice(&challenge);
}

/// Appends the answer to a challenge: what it held.
pub fn put_response(out: &mut Vec<u8>, challenge: [u8; 8]) {
    out.push(kind::RESPONSE);
    out.extend_from_slice(&challenge);
}

/// Appends the end of the connection; of the reason as many whole characters as [`MAX_REASON_LEN`] bytes hold.
pub fn put_close(out: &mut Vec<u8>, code: u64, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(MAX_REASON_LEN)];
    out.push(kind::CLOSE);
    put_varint(out, code);
    put_varint(out, reason.len() as u64);
    out.extend_from_slice(reason.as_bytes());
}

/// Appends all of a datagram but its payload, which must follow and end the packet.
pub fn put_datagram_header(out: &mut Vec<u8>) {
    out.push(kind::DATAGRAM);
}
