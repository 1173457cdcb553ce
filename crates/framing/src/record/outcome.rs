//! What became of a file, on either side.

use super::Record;
use crate::manifest::MAX_PATH_LEN;
use crate::wire::{Reader, WireError, put_counted, put_text};
use crate::{Checksum, Digest, MAX_TEXT_LEN};

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
    /// It was sent plain and did not come whole. What came is written and flushed under a name that says so; this is its
    /// digest.
    Damaged(Digest),
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
            8 => Verdict::Damaged(read_coded_digest(reader)?),
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
            Verdict::Damaged(digest) => {
                out.push(8);
                write_digest(out, &digest);
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
