//! A byte stream gives the same frames, and the same error, wherever it is cut.
//!
//! Input: 8 bytes that say where to cut, one byte of which the lowest bit says whether the headers are made right, and the
//! stream. Without that a fuzzer would hardly ever find a header with a right checksum.

#![no_main]

use framing::crc32c;
use framing::frame::{Frame, FrameError, HEADER_LEN, Header, MAGIC, MAX_FRAME_LEN, VERSION, field};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((pieces, rest)) = input.split_first_chunk::<8>() else { return };
    let Some((&mode, stream)) = rest.split_first() else { return };
    let mut stream = stream.to_vec();
    if mode & 1 == 1 {
        make_headers_right(&mut stream);
    }
    let whole = read(&stream, &[stream.len()]);
    let pieces = pieces.map(|piece| usize::from(piece) + 1);
    assert_eq!(read(&stream, &pieces), whole);

    let longest = whole.frames.iter().map(|(_, payload)| HEADER_LEN + payload.len()).max();
    assert!(longest.is_none_or(|len| len <= MAX_FRAME_LEN));
});

/// Gives each header the magic, the version and the checksum it should have; kind, length and number stay as they are.
fn make_headers_right(mut stream: &mut [u8]) {
    while let Some((header, rest)) = stream.split_first_chunk_mut::<HEADER_LEN>() {
        header[field::MAGIC].copy_from_slice(&MAGIC);
        header[field::VERSION.start] = VERSION;
        // Lengths that a short input can have, most of the time.
        if header[field::KIND.start] & 0x80 == 0 {
            header[field::LENGTH.start..field::LENGTH.end - 1].fill(0);
        }
        let crc = crc32c(&header[..field::HEADER_CRC.start]);
        header[field::HEADER_CRC].copy_from_slice(&crc.to_be_bytes());
        let Ok(Some(header)) = Header::parse(header) else { return };
        stream = rest.get_mut(header.length..).unwrap_or_default();
    }
}

#[derive(Debug, PartialEq)]
struct Reading {
    frames: Vec<(Header, Vec<u8>)>,
    /// The bytes that want more, or the error that the stream ends with.
    end: Result<Vec<u8>, FrameError>,
}

/// Reads a stream that comes in pieces of these lengths, over and over.
fn read(stream: &[u8], pieces: &[usize]) -> Reading {
    let mut frames = Vec::new();
    let mut held = Vec::new();
    let mut rest = stream;
    for &piece in pieces.iter().cycle() {
        let (came, later) = rest.split_at(piece.min(rest.len()));
        held.extend_from_slice(came);
        rest = later;
        loop {
            match Frame::parse(&held) {
                Ok(Some(frame)) => {
                    let len = frame.len();
                    frames.push((frame.header, frame.payload.to_vec()));
                    held.drain(..len);
                }
                Ok(None) => break,
                Err(error) => return Reading { frames, end: Err(error) },
            }
        }
        if rest.is_empty() {
            break;
        }
    }
    Reading { frames, end: Ok(held) }
}
