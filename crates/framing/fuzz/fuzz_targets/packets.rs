//! A packet that is read is written as the same bytes, and so is each of its frames, as far as there is only one way to
//! write it; where there are more, what was written is read as the same again.
//!
//! Input: a byte that says how much room an acknowledgement has when it is written once more, one of which the lowest bit
//! says whether the checksum is made right, and the datagram. Without that a fuzzer would hardly ever find a right one.

#![no_main]

use framing::packet::{
    self, Ack, AckFields, CRC_LEN, Frame, INIT_LEN, MAX_ACK_RANGES, MAX_CHUNK, MAX_PART_LEN,
    PLAIN_HEADER_LEN, Packet, UNITS_PER_CHUNK, VERSION, field,
};
use framing::{CHUNK_LEN, crc32c};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [room, mode, datagram @ ..] = input else { return };
    let mut datagram = datagram.to_vec();
    if mode & 1 == 1 {
        make_checksum_right(&mut datagram);
    }
    let destination = packet::destination(&datagram);
    let Ok(parsed) = Packet::parse(&datagram) else { return };
    assert_eq!(destination.is_none(), matches!(parsed, Packet::Init { .. }));
    check_packet(&parsed, &datagram);
    if let Packet::Data { frames, .. } | Packet::Connect { frames, .. } = parsed {
        check_frames(frames, usize::from(*room));
    }
});

fn make_checksum_right(datagram: &mut Vec<u8>) {
    // A Plain packet has one behind its header.
    if datagram.first() == Some(&0xc6) {
        if let Some(head) = datagram.first_chunk_mut::<PLAIN_HEADER_LEN>() {
            let crc = crc32c(&head[..field::PLAIN_HEADER_CRC.start]);
            head[field::PLAIN_HEADER_CRC].copy_from_slice(&crc.to_be_bytes());
        }
    } else if datagram.len() >= CRC_LEN {
        datagram.truncate(datagram.len() - CRC_LEN);
        packet::seal(datagram, 0);
    }
}

fn check_packet(packet: &Packet<'_>, datagram: &[u8]) {
    let mut out = Vec::new();
    match *packet {
        Packet::Init { version, client_cid, echo } => {
            packet::init(&mut out, version, client_cid, echo);
            assert_eq!(out[..field::ECHO.end], datagram[..field::ECHO.end]);
            assert!(version != VERSION || datagram.len() == INIT_LEN);
            return;
        }
        Packet::Version { version, .. } if version != VERSION => return,
        Packet::Version { client_cid, echo, .. } => packet::version(&mut out, client_cid, echo),
        Packet::Retry { client_cid, server_cid, echo, token } => {
            packet::retry(&mut out, client_cid, server_cid, echo, &token);
        }
        Packet::Connect { server_cid, client_cid, token, pn, frames } => {
            packet::begin_connect(&mut out, server_cid, client_cid, &token, pn.into());
            out.extend_from_slice(frames);
            packet::seal(&mut out, 0);
        }
        Packet::Data { cid, pn, frames } => {
            packet::begin_data(&mut out, cid, pn.into());
            out.extend_from_slice(frames);
            packet::seal(&mut out, 0);
        }
        Packet::Reset { cid, pn, crc } => packet::reset(&mut out, cid, pn, crc),
        Packet::Plain { cid, pn, chunk, payload, intact } => {
            assert!(chunk < MAX_CHUNK && (1..=CHUNK_LEN).contains(&payload.len()));
            packet::plain(&mut out, cid, pn.into(), chunk, payload);
            let same = out[field::PLAIN_PAYLOAD_CRC] == datagram[field::PLAIN_PAYLOAD_CRC];
            assert_eq!(same, intact);
            out[field::PLAIN_PAYLOAD_CRC].copy_from_slice(&datagram[field::PLAIN_PAYLOAD_CRC]);
        }
    }
    assert_eq!(out, datagram);
}

fn check_frames(body: &[u8], room: usize) {
    let mut frames = packet::frames(body);
    for frame in frames.by_ref() {
        let Ok(frame) = frame else { break };
        let _ = format!("{frame:?}");
        let mut out = Vec::new();
        match frame {
            Frame::Padding(len) => packet::put_padding(&mut out, len),
            Frame::Ping => packet::put_ping(&mut out),
            Frame::Ack(ack) => {
                check_ack(&ack, room);
                continue;
            }
            Frame::Control { offset, bytes } => packet::put_control(&mut out, offset, bytes),
            Frame::Part { chunk, unit, payload } => {
                assert!(chunk < MAX_CHUNK && u64::from(unit) < UNITS_PER_CHUNK);
                assert!((1..=MAX_PART_LEN).contains(&payload.len()));
                packet::put_part_header(&mut out, chunk, unit);
                out.extend_from_slice(payload);
            }
            Frame::AckPolicy { floor, max_delay_us, max_bytes } => {
                packet::put_ack_policy(&mut out, floor, max_delay_us, max_bytes);
            }
            Frame::Challenge(bytes) => packet::put_challenge(&mut out, bytes),
            Frame::Response(bytes) => packet::put_response(&mut out, bytes),
            Frame::Close { code, reason } => packet::put_close(&mut out, code, reason),
            Frame::Datagram(bytes) => {
                packet::put_datagram_header(&mut out);
                out.extend_from_slice(bytes);
            }
        }
        let again: Vec<_> = packet::frames(&out).collect();
        assert_eq!(again, [Ok(frame)]);
    }
    assert_eq!(frames.next(), None);
}

fn check_ack(ack: &Ack<'_>, room: usize) {
    let ranges: Vec<_> = ack.ranges().collect();
    assert!((1..=MAX_ACK_RANGES).contains(&ranges.len()));
    assert_eq!(*ranges[0].end(), ack.largest);
    assert!(ranges.iter().all(|range| range.start() <= range.end()));
    assert!(ranges.windows(2).all(|pair| pair[1].end() + 1 < *pair[0].start()));

    let fields = AckFields {
        largest: ack.largest,
        ack_delay_us: ack.ack_delay_us,
        credit: ack.credit,
        control_credit: ack.control_credit,
        pair_time_us: ack.pair_time_us,
        pair_bytes: ack.pair_bytes,
        ce: ack.ce,
    };
    let mut out = Vec::new();
    let taken = packet::put_ack(&mut out, &fields, ranges.iter().cloned(), room);
    assert!(taken == 1 || out.len() <= room);
    match packet::frames(&out).next() {
        Some(Ok(Frame::Ack(again))) => assert!(again.ranges().eq(ranges[..taken].iter().cloned())),
        other => panic!("{other:?}"),
    }
}
