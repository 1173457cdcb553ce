//! Packets, written: each function appends one to a vector that may already hold others.

use super::{CRC_LEN, INIT_LEN, MAGIC, TOKEN_LEN, VERSION, kind};
use crate::crc32c;

/// Appends the first packet of a client: asks the server for a token.
pub fn init(out: &mut Vec<u8>, version: u8, client_cid: u32, echo: u64) {
    let start = out.len();
    put_start(out, kind::INIT, version);
    out.extend_from_slice(&client_cid.to_be_bytes());
    out.extend_from_slice(&echo.to_be_bytes());
    out.resize(start + INIT_LEN - CRC_LEN, 0);
    seal(out, start);
}

/// Appends the answer to [`init`]: the server's connection id and a token that proves the client's address.
pub fn retry(out: &mut Vec<u8>, client_cid: u32, server_cid: u32, echo: u64, token: &[u8; TOKEN_LEN]) {
    let start = out.len();
    put_start(out, kind::RETRY, VERSION);
    out.extend_from_slice(&client_cid.to_be_bytes());
    out.extend_from_slice(&server_cid.to_be_bytes());
    out.extend_from_slice(&echo.to_be_bytes());
    out.extend_from_slice(token);
    seal(out, start);
}

/// Appends the answer to an [`init`] of another version.
pub fn version(out: &mut Vec<u8>, client_cid: u32, echo: u64) {
    let start = out.len();
    put_start(out, kind::VERSION, VERSION);
    out.extend_from_slice(&client_cid.to_be_bytes());
    out.extend_from_slice(&echo.to_be_bytes());
    seal(out, start);
}

/// Appends the answer to a packet of an unknown connection: its connection id, the low half of its number and its checksum.
pub fn reset(out: &mut Vec<u8>, cid: u32, pn: u32, crc: u32) {
    let start = out.len();
    out.push(kind::RESET);
    out.extend_from_slice(&cid.to_be_bytes());
    out.extend_from_slice(&pn.to_be_bytes());
    out.extend_from_slice(&crc.to_be_bytes());
    seal(out, start);
}

/// Appends the header of a packet with frames. They follow, and then [`seal`].
pub fn begin_data(out: &mut Vec<u8>, cid: u32, pn: u64) {
    out.push(kind::DATA);
    out.extend_from_slice(&cid.to_be_bytes());
    put_pn(out, pn);
}

/// Appends the header of a client's packet with frames while it has heard no Data packet of the server. They follow, and
/// then [`seal`].
pub fn begin_connect(out: &mut Vec<u8>, server_cid: u32, client_cid: u32, token: &[u8; TOKEN_LEN], pn: u64) {
    put_start(out, kind::CONNECT, VERSION);
    out.extend_from_slice(&server_cid.to_be_bytes());
    out.extend_from_slice(&client_cid.to_be_bytes());
    out.extend_from_slice(token);
    put_pn(out, pn);
}

/// Ends the packet that began at `start`, the length of `out` before its header, with its checksum.
pub fn seal(out: &mut Vec<u8>, start: usize) {
    let crc = crc32c(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_be_bytes());
}

/// Appends a packet that is a whole chunk and gets no repair. The payload is 1 to [`CHUNK_LEN`](crate::CHUNK_LEN) bytes.
pub fn plain(out: &mut Vec<u8>, cid: u32, pn: u64, chunk: u64, payload: &[u8]) {
    let start = out.len();
    out.push(kind::PLAIN);
    out.extend_from_slice(&cid.to_be_bytes());
    put_pn(out, pn);
    out.extend_from_slice(&chunk.to_be_bytes());
    seal(out, start);
    out.extend_from_slice(&crc32c(payload).to_be_bytes());
    out.extend_from_slice(payload);
}

/// What the packets that begin or refuse a connection start with.
fn put_start(out: &mut Vec<u8>, kind: u8, version: u8) {
    out.push(kind);
    out.extend_from_slice(&MAGIC);
    out.push(version);
}

/// A packet carries the low half of its number; [`restore_pn`](super::restore_pn) finds the rest.
fn put_pn(out: &mut Vec<u8>, pn: u64) {
    out.extend_from_slice(&(pn as u32).to_be_bytes());
}
