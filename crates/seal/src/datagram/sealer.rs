//! What seals the packets of a connection, and what opens them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use framing::packet::{CRC_LEN, DATA_HEADER_LEN, PLAIN_HEADER_LEN, field, restore_pn};

use super::{CONNECT_LEN, HELLO_LEN, PHASE_LEN, PLAIN_LEN, be32, has_version, kind};
use crate::cipher::{Cipher, Secret, TAG_LEN};

/// The secrets of one direction: that of the newest phase that was used, and of the one before it.
#[derive(Debug)]
struct Phases {
    /// The number of the newest phase.
    newest: u64,
    ciphers: [Option<Arc<Cipher>>; 2],
}

impl Phases {
    fn new(secret: &Secret) -> Self {
        Self { newest: 0, ciphers: [Some(Arc::new(Cipher::new(secret))), None] }
    }

    /// The cipher of a packet number; of the next phase it is made, but not taken for used.
    fn find(&self, pn: u64) -> Option<Arc<Cipher>> {
        let phase = pn / PHASE_LEN;
        let [newest, before] = &self.ciphers;
        if phase == self.newest + 1 {
            return newest.as_ref().map(|newest| Arc::new(Cipher::new(&newest.next_secret())));
        }
        if phase == self.newest {
            newest.clone()
        } else if phase + 1 == self.newest {
            before.clone()
        } else {
            None
        }
    }

    /// Takes note that a packet of this number was good.
    fn used(&mut self, pn: u64, cipher: &Arc<Cipher>) {
        if pn / PHASE_LEN > self.newest {
            let before = self.ciphers[0].replace(Arc::clone(cipher));
            self.ciphers[1] = before;
            self.newest += 1;
        }
    }
}

/// Seals what goes out. Several threads may.
#[derive(Debug)]
pub struct Sealer {
    phases: Mutex<Phases>,
    /// The number after the highest that was sealed.
    pub(super) next: AtomicU64,
    /// On a client.
    hello: Option<[u8; HELLO_LEN]>,
}

impl Sealer {
    pub(super) fn new(secret: &Secret, hello: Option<[u8; HELLO_LEN]>) -> Self {
        Self { phases: Mutex::new(Phases::new(secret)), next: AtomicU64::new(0), hello }
    }

    /// The number that has this lower half, and its cipher. Numbers leave in about the order in which they are given.
    fn number(&self, low: u32) -> Option<(u64, Arc<Cipher>)> {
        let pn = restore_pn(self.next.load(Ordering::Relaxed).checked_sub(1), low);
        self.next.fetch_max(pn + 1, Ordering::Relaxed);
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        let cipher = phases.find(pn)?;
        phases.used(pn, &cipher);
        Some((pn, cipher))
    }

    /// Seals the clear packet that `packets` ends with, from `start` on, where it lies. What can't be sealed is taken away.
    ///
    /// Each packet number must be sealed only once.
    pub fn seal(&self, packets: &mut Vec<u8>, start: usize) {
        if self.try_seal(packets, start).is_none() {
            packets.truncate(start);
        }
    }

    fn try_seal(&self, packets: &mut Vec<u8>, start: usize) -> Option<()> {
        let kind = packets.get(start)?.checked_add(kind::SEALED)?;
        let header = match kind {
            kind::CONNECT => {
                let at = start + field::CONNECT_TOKEN.end;
                packets.get(at..)?;
                packets.splice(at..at, self.hello?);
                CONNECT_LEN
            }
            kind::DATA => DATA_HEADER_LEN,
            // Nothing else has a number to be sealed with, or is made in this way.
            _ => return None,
        };
        packets[start] = kind;
        packets.truncate(packets.len().checked_sub(CRC_LEN)?);
        let (header, body) = packets[start..].split_at_mut_checked(header)?;
        let low = u32::from_be_bytes(*header.last_chunk()?);
        let (pn, cipher) = self.number(low)?;
        let tag = cipher.seal_in_place(pn, header, body);
        packets.extend_from_slice(&tag);
        Some(())
    }

    /// Appends the sealed form of a clear Data packet, whose checksum need not be right.
    pub fn seal_data(&self, clear: &[u8], out: &mut Vec<u8>) -> bool {
        let Some((header, rest)) = clear.split_first_chunk::<DATA_HEADER_LEN>() else { return false };
        let Some((body, _)) = rest.split_last_chunk::<CRC_LEN>() else { return false };
        let mut header = *header;
        header[0] = kind::DATA;
        self.put(&header, be32(&header, field::PN), body, out)
    }

    /// Appends the sealed form of a clear Plain packet.
    pub fn seal_plain(&self, clear: &[u8], out: &mut Vec<u8>) -> bool {
        let Some((header, payload)) = clear.split_first_chunk::<PLAIN_HEADER_LEN>() else { return false };
        let mut header = *header;
        header[0] = kind::PLAIN;
        self.put(&header[..PLAIN_LEN], be32(&header, field::PN), payload, out)
    }

    fn put(&self, header: &[u8], low: u32, body: &[u8], out: &mut Vec<u8>) -> bool {
        let Some((pn, cipher)) = self.number(low) else { return false };
        out.extend_from_slice(header);
        let start = out.len();
        out.resize(start + body.len() + TAG_LEN, 0);
        cipher.seal(pn, header, body, &mut out[start..]);
        true
    }
}

/// Seals the clear Init that `packets` ends with, from `start` on, where it lies. What is no Init is taken away.
pub fn seal_init(hello: &[u8; HELLO_LEN], packets: &mut Vec<u8>, start: usize) {
    if packets.get(start).is_none_or(|kind| kind.checked_add(kind::SEALED) != Some(kind::INIT)) {
        packets.truncate(start);
        return;
    }
    packets.truncate(start + field::ECHO.end);
    packets[start] = kind::INIT;
    packets.extend_from_slice(hello);
}

/// Opens what comes in.
#[derive(Debug)]
pub struct Opener {
    phases: Phases,
    /// The highest number that was good.
    pub(super) largest: Option<u64>,
}

impl Opener {
    pub(super) fn new(secret: &Secret) -> Self {
        Self { phases: Phases::new(secret), largest: None }
    }

    /// Opens a packet where it lies, for [`parse`](super::parse): whether it is as it was sealed. It may have come before.
    pub fn open(&mut self, packet: &mut [u8]) -> bool {
        let opened = self.try_open(packet).is_some();
        if let Some(kind) = packet.first_mut() {
            *kind = if opened { *kind + kind::OPENED } else { kind::NONE };
        }
        opened
    }

    fn try_open(&mut self, packet: &mut [u8]) -> Option<()> {
        let (at, header) = match *packet.first()? {
            kind::CONNECT if has_version(packet) => (CONNECT_LEN - 4, CONNECT_LEN),
            kind::DATA => (field::PN.start, DATA_HEADER_LEN),
            kind::PLAIN => (field::PN.start, PLAIN_LEN),
            _ => return None,
        };
        let (header, sealed) = packet.split_at_mut_checked(header)?;
        let (body, tag) = sealed.split_at_mut_checked(sealed.len().checked_sub(TAG_LEN)?)?;
        let low = u32::from_be_bytes(*header.get(at..)?.first_chunk()?);
        let pn = restore_pn(self.largest, low);
        let cipher = self.phases.find(pn)?;
        cipher.open_in_place(pn, header, body, tag).ok()?;
        self.phases.used(pn, &cipher);
        self.largest = self.largest.max(Some(pn));
        Some(())
    }
}
