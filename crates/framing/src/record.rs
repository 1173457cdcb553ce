//! Records: what the pages of long lists are made of.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use crate::manifest::{Entry, EntryKind, MAX_PATH_LEN};
use crate::wire::{Reader, WireError, put_counted, put_text};
use crate::{Checksum, Digest, MAX_MESSAGE_LEN, MAX_TEXT_LEN};

/// Something that stands many times in a message.
pub trait Record<'a>: Sized {
    /// Reads one from the front.
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError>;
    /// Appends it.
    fn write(&self, out: &mut Vec<u8>);
}

/// A run of records, borrowed from the message they came in, or from a [`PageBuilder`].
///
/// A decoded page was read through once, so its iterator ends only where the page does.
pub struct Page<'a, T> {
    bytes: &'a [u8],
    records: PhantomData<T>,
}

impl<T> Clone for Page<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Page<'_, T> {}

impl<T> PartialEq for Page<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<T> Eq for Page<'_, T> {}

impl<'a, T: Record<'a>> Page<'a, T> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let bytes = reader.rest();
        let mut records = Reader::new(bytes);
        while !records.is_empty() {
            T::read(&mut records)?;
        }
        Ok(Self { bytes, records: PhantomData })
    }

    pub(crate) const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records, in order.
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'a, T> {
        let mut records = Reader::new(self.bytes);
        std::iter::from_fn(move || if records.is_empty() { None } else { T::read(&mut records).ok() })
    }
}

impl<'a, T: Record<'a> + fmt::Debug> fmt::Debug for Page<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Collects records into pages that fit a message.
#[derive(Debug)]
pub struct PageBuilder<T> {
    bytes: Vec<u8>,
    records: PhantomData<T>,
}

impl<T> Default for PageBuilder<T> {
    fn default() -> Self {
        Self { bytes: Vec::new(), records: PhantomData }
    }
}

impl<T> PageBuilder<T> {
    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the next record might not fit any more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() + MAX_RECORD_LEN > MAX_MESSAGE_LEN - 1
    }

    /// Empties it for the next page.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Adds a record. The page must not be full.
    pub fn push<'a>(&mut self, record: &T)
    where
        T: Record<'a>,
    {
        record.write(&mut self.bytes);
    }

    /// What is in it.
    #[must_use]
    pub fn page<'a, 'b, U: Record<'b>>(&'b self) -> Page<'b, U>
    where
        T: Record<'a>,
    {
        Page { bytes: &self.bytes, records: PhantomData }
    }
}

/// The most bytes of one record.
const MAX_RECORD_LEN: usize = 64 + MAX_PATH_LEN + MAX_TEXT_LEN;

/// 16 bytes: first chunk, number of chunks (at least 1).
impl Record<'_> for Range<u64> {
    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let start = reader.u64()?;
        let count = reader.u64()?;
        match start.checked_add(count) {
            Some(end) if count > 0 => Ok(start..end),
            _ => Err(WireError::Invalid { field: "number of chunks", value: count }),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.start.to_be_bytes());
        out.extend_from_slice(&(self.end - self.start).to_be_bytes());
    }
}

/// 1 byte kind (1 file, 2 directory), 2 bytes mode, 8 bytes length, 8 bytes seconds, 4 bytes nanoseconds, 2 bytes length of
/// the path, the path.
impl<'a> Record<'a> for Entry<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let code = reader.u8()?;
        let mode = reader.u16()?;
        if mode > 0o777 {
            return Err(WireError::Invalid { field: "mode", value: mode.into() });
        }
        let len = reader.u64()?;
        let kind = match (code, len) {
            (1, len) => EntryKind::File { len },
            (2, 0) => EntryKind::Directory,
            _ => return Err(WireError::Invalid { field: "kind of entry", value: code.into() }),
        };
        let mtime = reader.i64()?;
        let mtime_nanos = reader.u32()?;
        if mtime_nanos >= 1_000_000_000 {
            return Err(WireError::Invalid { field: "time", value: mtime_nanos.into() });
        }
        let path = reader.counted("path", MAX_PATH_LEN)?;
        Ok(Self { kind, mode, mtime, mtime_nanos, path })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(match self.kind {
            EntryKind::File { .. } => 1,
            EntryKind::Directory => 2,
        });
        out.extend_from_slice(&self.mode.to_be_bytes());
        out.extend_from_slice(&self.len().to_be_bytes());
        out.extend_from_slice(&self.mtime.to_be_bytes());
        out.extend_from_slice(&self.mtime_nanos.to_be_bytes());
        put_counted(out, self.path, MAX_PATH_LEN);
    }
}

/// A path that somebody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a>(
    /// Its bytes, not to be trusted.
    pub &'a [u8],
);

/// 2 bytes length, the path.
impl<'a> Record<'a> for Name<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        reader.counted("path", MAX_PATH_LEN).map(Self)
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_counted(out, self.0, MAX_PATH_LEN);
    }
}

/// What the receiver has decided about a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is to be sent, or what of it is missing.
    Take,
    /// It seems to be there already; its digest decides.
    Verify,
    /// It is not wanted: something of that name is there, and stays.
    Keep,
    /// It is refused; the reason comes with its [`Verdict`].
    Refuse,
}

impl Decision {
    const fn code(self) -> u8 {
        match self {
            Self::Take => 1,
            Self::Verify => 2,
            Self::Keep => 3,
            Self::Refuse => 4,
        }
    }
}

/// The same decision about so many entries in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecisionRun {
    /// How many entries, from the first that is not decided yet.
    pub count: u32,
    /// What is decided about them.
    pub decision: Decision,
}

/// 4 bytes count, 1 byte decision.
impl Record<'_> for DecisionRun {
    fn read(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        let count = reader.u32()?;
        let decision = match reader.u8()? {
            1 => Decision::Take,
            2 => Decision::Verify,
            3 => Decision::Keep,
            4 => Decision::Refuse,
            other => return Err(WireError::Invalid { field: "decision", value: other.into() }),
        };
        Ok(Self { count, decision })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.count.to_be_bytes());
        out.push(self.decision.code());
    }
}

/// How reading a file ended on the sending side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentOutcome<'a> {
    /// Its digest over the bytes that were sent.
    Digest(Digest),
    /// It changed while it was read, so what was sent of it is not to be kept as good.
    Changed,
    /// It could not be read.
    Unreadable(&'a str),
}

/// What became of a file on the sending side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent<'a> {
    /// Index in the manifest.
    pub index: u32,
    /// What became of it.
    pub outcome: SentOutcome<'a>,
}

/// 4 bytes index, 1 byte outcome (1 MD5, 2 BLAKE3, 16 changed, 17 unreadable), then the digest, nothing, or counted text.
impl<'a> Record<'a> for Sent<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let index = reader.u32()?;
        let outcome = match reader.u8()? {
            SENT_CHANGED => SentOutcome::Changed,
            SENT_UNREADABLE => SentOutcome::Unreadable(reader.text("reason", MAX_TEXT_LEN)?),
            code => SentOutcome::Digest(read_digest(reader, code)?),
        };
        Ok(Self { index, outcome })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.index.to_be_bytes());
        match self.outcome {
            SentOutcome::Digest(digest) => write_digest(out, &digest),
            SentOutcome::Changed => out.push(SENT_CHANGED),
            SentOutcome::Unreadable(reason) => {
                out.push(SENT_UNREADABLE);
                put_text(out, reason, MAX_TEXT_LEN);
            }
        }
    }
}

/// What became of a file or directory on the receiving side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Written, verified, flushed, and in place under its final name.
    Stored(Digest),
    /// The same content was there already; verified.
    AlreadyThere(Digest),
    /// A directory is there.
    Directory,
    /// Something of that name was there and was kept, as the receiver's settings say.
    Kept,
    /// The digests still differ after every repair; nothing is under the final name.
    Differs(Digest),
    /// The sender said that it changed or could not be read; nothing is under the final name.
    NotSent,
    /// The receiver would not or could not store it.
    Refused(&'a str),
}

/// What became of a file or directory on the receiving side, and its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored<'a> {
    /// Index in the manifest.
    pub index: u32,
    /// What became of it.
    pub verdict: Verdict<'a>,
    /// Its path below the receiver's directory; empty where there is none.
    pub name: &'a [u8],
}

/// 4 bytes index, 1 byte verdict, what belongs to it, counted name.
impl<'a> Record<'a> for Stored<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let index = reader.u32()?;
        let verdict = match reader.u8()? {
            1 => Verdict::Stored(read_coded_digest(reader)?),
            2 => Verdict::AlreadyThere(read_coded_digest(reader)?),
            3 => Verdict::Directory,
            4 => Verdict::Kept,
            5 => Verdict::Differs(read_coded_digest(reader)?),
            6 => Verdict::NotSent,
            7 => Verdict::Refused(reader.text("reason", MAX_TEXT_LEN)?),
            other => return Err(WireError::Invalid { field: "verdict", value: other.into() }),
        };
        let name = reader.counted("path", MAX_PATH_LEN)?;
        Ok(Self { index, verdict, name })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.index.to_be_bytes());
        match self.verdict {
            Verdict::Stored(digest) => {
                out.push(1);
                write_digest(out, &digest);
            }
            Verdict::AlreadyThere(digest) => {
                out.push(2);
                write_digest(out, &digest);
            }
            Verdict::Directory => out.push(3),
            Verdict::Kept => out.push(4),
            Verdict::Differs(digest) => {
                out.push(5);
                write_digest(out, &digest);
            }
            Verdict::NotSent => out.push(6),
            Verdict::Refused(reason) => {
                out.push(7);
                put_text(out, reason, MAX_TEXT_LEN);
            }
        }
        put_counted(out, self.name, MAX_PATH_LEN);
    }
}

const SENT_CHANGED: u8 = 16;
const SENT_UNREADABLE: u8 = 17;

fn read_coded_digest(reader: &mut Reader<'_>) -> Result<Digest, WireError> {
    let code = reader.u8()?;
    read_digest(reader, code)
}

fn read_digest(reader: &mut Reader<'_>, code: u8) -> Result<Digest, WireError> {
    let invalid = WireError::Invalid { field: "checksum", value: code.into() };
    let checksum = Checksum::from_code(code).ok_or(invalid)?;
    Digest::from_bytes(checksum, reader.bytes(checksum.digest_len())?).ok_or(invalid)
}

fn write_digest(out: &mut Vec<u8>, digest: &Digest) {
    out.push(digest.checksum().code());
    out.extend_from_slice(digest.as_bytes());
}
