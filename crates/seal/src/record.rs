//! A stream of bytes in sealed records.
//!
//! | offset  | length | field  | meaning                                                     |
//! |---------|--------|--------|-------------------------------------------------------------|
//! | 0       | 4      | length | n, bytes of the stream in this record: 1 to [`MAX_PLAIN_LEN`] |
//! | 4       | n      | body   | these bytes, encrypted                                      |
//! | 4 + n   | 16     | tag    | over length, body and the record's number                   |
//!
//! Records of a direction are numbered from 0; the number is not sent. So a record that is left out, sent again, put at
//! another place or taken from another connection is as wrong as one that was changed.

use crate::cipher::{Cipher, Secret, TAG_LEN};

/// The most bytes of the stream in one record.
pub const MAX_PLAIN_LEN: usize = 128 * 1024;
/// Bytes that a record is longer than what it holds.
pub const RECORD_OVERHEAD: usize = HEADER_LEN + TAG_LEN;

const HEADER_LEN: usize = 4;
/// The records of a direction that share a secret: 8 GiB at most, where AES-GCM allows for 64 GiB at a time.
const PHASE_LEN: u64 = 1 << 16;

/// Why a record is not taken. Nothing that comes after it can be, either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It says that it is empty, or longer than a record may be.
    #[error("a sealed record says that it has {0} bytes")]
    Length(u32),
    /// It is not as it was sealed, or does not belong here.
    #[error("a sealed record was changed, or does not belong here")]
    Forged,
}

/// The length of the record that begins with these bytes, as soon as they say it.
pub fn record_len(bytes: &[u8]) -> Result<Option<usize>, RecordError> {
    let Some(&header) = bytes.first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let len = u32::from_be_bytes(header);
    if len == 0 || len > MAX_PLAIN_LEN as u32 {
        return Err(RecordError::Length(len));
    }
    Ok(Some(len as usize + RECORD_OVERHEAD))
}

/// One direction's numbers and secrets.
#[derive(Debug)]
struct Phases {
    cipher: Cipher,
    /// The number of the next record.
    number: u64,
}

impl Phases {
    fn new(secret: &Secret) -> Self {
        Self { cipher: Cipher::new(secret), number: 0 }
    }

    /// The number of the record that was just sealed or opened is used up.
    fn go_on(&mut self) {
        self.number += 1;
        if self.number.is_multiple_of(PHASE_LEN) {
            self.cipher = Cipher::new(&self.cipher.next_secret());
        }
    }
}

/// Seals what goes out.
#[derive(Debug)]
pub struct Sealer(Phases);

impl Sealer {
    pub(crate) fn new(secret: Secret) -> Self {
        Self(Phases::new(&secret))
    }

    /// Seals `bytes` in records of at most `most` bytes of them, into `records`, which is made longer where that is needed:
    /// how much of it they take.
    pub fn seal(&mut self, bytes: &[u8], most: usize, records: &mut Vec<u8>) -> usize {
        let most = most.clamp(1, MAX_PLAIN_LEN);
        let needed = bytes.len() + bytes.len().div_ceil(most) * RECORD_OVERHEAD;
        if records.len() < needed {
            records.resize(needed, 0);
        }
        let mut rest = &mut records[..needed];
        for plain in bytes.chunks(most) {
            let (record, after) = rest.split_at_mut(plain.len() + RECORD_OVERHEAD);
            let (header, sealed) = record.split_at_mut(HEADER_LEN);
            header.copy_from_slice(&(plain.len() as u32).to_be_bytes());
            self.0.cipher.seal(self.0.number, header, plain, sealed);
            self.0.go_on();
            rest = after;
        }
        needed
    }
}

/// Opens what comes in.
#[derive(Debug)]
pub struct Opener {
    phases: Phases,
    /// What ended the stream.
    failed: Option<RecordError>,
}

impl Opener {
    pub(crate) fn new(secret: Secret) -> Self {
        Self { phases: Phases::new(&secret), failed: None }
    }

    /// Opens a whole record, of the length that [`record_len`] says, into the first bytes of `plain`: how many they are.
    /// `plain` has to have room for them. Once a record was wrong, every other one is, too.
    pub fn open(&mut self, record: &[u8], plain: &mut [u8]) -> Result<usize, RecordError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let opened = self.try_open(record, plain);
        self.failed = opened.err();
        opened
    }

    /// Whether [`Opener::open`] would take this record next. Nothing changes by it.
    #[must_use]
    pub fn would_open(&self, record: &[u8]) -> bool {
        let Ok(Some(len)) = record_len(record) else { return false };
        let Phases { cipher, number } = &self.phases;
        let (header, sealed) = record.split_at(HEADER_LEN);
        let mut plain = vec![0; len - RECORD_OVERHEAD];
        self.failed.is_none()
            && record.len() == len
            && cipher.open(*number, header, sealed, &mut plain).is_ok()
    }

    fn try_open(&mut self, record: &[u8], plain: &mut [u8]) -> Result<usize, RecordError> {
        if record_len(record)? != Some(record.len()) {
            return Err(RecordError::Forged);
        }
        let (header, sealed) = record.split_at(HEADER_LEN);
        let len = sealed.len() - TAG_LEN;
        let plain = plain.get_mut(..len).ok_or(RecordError::Forged)?;
        let opened = self.phases.cipher.open(self.phases.number, header, sealed, plain);
        opened.map_err(|_| RecordError::Forged)?;
        self.phases.go_on();
        Ok(len)
    }
}
