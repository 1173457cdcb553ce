//! Records: what the pages of long lists are made of.

mod outcome;

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use crate::manifest::{Entry, EntryKind, MAX_PATH_LEN};
use crate::wire::{Reader, WireError, put_counted};
use crate::{MAX_MESSAGE_LEN, MAX_TEXT_LEN};

pub use outcome::{Sent, SentOutcome, Stored, Verdict};

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
#[derive(Debug, Default)]
pub struct PageBuilder {
    bytes: Vec<u8>,
}

impl PageBuilder {
    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the next record might not fit any more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() + MAX_RECORD_LEN > MAX_MESSAGE_LEN - MAX_HEAD_LEN
    }

    /// Empties it for the next page.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Adds a record, of the same kind as all others in it. It must not be full.
    pub fn push<'a>(&mut self, record: &impl Record<'a>) {
        record.write(&mut self.bytes);
    }

    /// What is in it, as the records that were pushed.
    #[must_use]
    pub fn page<'b, T: Record<'b>>(&'b self) -> Page<'b, T> {
        Page { bytes: &self.bytes, records: PhantomData }
    }
}

/// The most bytes of a message before its page: the kind, and the checksum and flag of a `Get`.
const MAX_HEAD_LEN: usize = 3;
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
        if count == 0 {
            return Err(WireError::Invalid { field: "number of entries", value: 0 });
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Checksum, Digest};

    const MD5: [u8; 16] = [0x11; 16];
    const BLAKE3: [u8; 32] = [0x22; 32];

    fn digest(checksum: Checksum) -> Digest {
        let bytes: &[u8] = match checksum {
            Checksum::Md5 => &MD5,
            Checksum::Blake3 => &BLAKE3,
        };
        Digest::from_bytes(checksum, bytes).unwrap()
    }

    fn read<'a, T: Record<'a>>(bytes: &'a [u8]) -> Result<T, WireError> {
        let mut reader = Reader::new(bytes);
        let record = T::read(&mut reader)?;
        reader.finish()?;
        Ok(record)
    }

    /// Parses and emits; refuses each shorter and each longer form.
    fn check<'a, T: Record<'a> + PartialEq + fmt::Debug>(parts: &[&[u8]], record: &T) {
        // Leaked, so that a record may borrow from it for as long as it likes.
        let bytes: &'static [u8] = parts.concat().leak();
        assert_eq!(read::<T>(bytes).as_ref(), Ok(record));
        let mut out = Vec::new();
        record.write(&mut out);
        assert_eq!(out, bytes);
        for cut in 0..bytes.len() {
            assert_eq!(read::<T>(&bytes[..cut]), Err(WireError::Short), "{cut} of {} bytes", bytes.len());
        }
        let longer: &'static [u8] = [bytes, &[0]].concat().leak();
        assert_eq!(read::<T>(longer), Err(WireError::Trailing(1)));
    }

    fn check_invalid<T: Record<'static> + PartialEq + fmt::Debug>(
        parts: &[&[u8]],
        field: &'static str,
        value: u64,
    ) {
        assert_eq!(read::<T>(parts.concat().leak()), Err(WireError::Invalid { field, value }));
    }

    fn check_too_long<T: Record<'static> + PartialEq + fmt::Debug>(
        parts: &[&[u8]],
        field: &'static str,
        limit: usize,
    ) {
        let count = [&(limit as u16 + 1).to_be_bytes()[..]];
        let bytes: &'static [u8] = [parts, &count].concat().concat().leak();
        let expected = WireError::TooLong { field, value: limit as u64 + 1, limit: limit as u64 };
        assert_eq!(read::<T>(bytes), Err(expected));
    }

    const START: &[u8] = &[0, 0, 0, 0, 0, 0, 1, 0];
    const END_OF_NUMBERS: &[u8] = &[0xff; 8];

    #[test]
    fn range() {
        check(&[START, &[0, 0, 0, 0, 0, 0, 0, 5]], &(256..261));
        check(&[START, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xff]], &(256..u64::MAX));
    }

    #[test]
    fn range_of_nothing_or_past_the_last_number_is_refused() {
        check_invalid::<Range<u64>>(&[START, &[0; 8]], "number of chunks", 0);
        check_invalid::<Range<u64>>(&[END_OF_NUMBERS, &[0, 0, 0, 0, 0, 0, 0, 1]], "number of chunks", 1);
        check_invalid::<Range<u64>>(
            &[START, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00]],
            "number of chunks",
            u64::MAX - 255,
        );
    }

    const FILE: &[u8] = &[1, 0x01, 0xa4, 0, 0, 0, 0, 0, 0, 0x10, 0x05];
    const TIME: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3b, 0x9a, 0xc9, 0xff];

    #[test]
    fn entry() {
        let kind = EntryKind::File { len: 4101 };
        let file = Entry { kind, mode: 0o644, mtime: -1, mtime_nanos: 999_999_999, path: b"a/\xff" };
        check(&[FILE, TIME, b"\0\x03a/\xff"], &file);
        let directory = Entry { kind: EntryKind::Directory, mode: 0o777, path: b"d", ..file };
        check(&[&[2, 0x01, 0xff], &[0; 8], TIME, b"\0\x01d"], &directory);
    }

    #[test]
    fn entry_with_a_wrong_field_is_refused() {
        let len = &FILE[3..];
        for kind in [0, 3, 255] {
            check_invalid::<Entry<'_>>(
                &[&[kind], &FILE[1..], TIME, b"\0\x01f"],
                "kind of entry",
                kind.into(),
            );
        }
        check_invalid::<Entry<'_>>(&[&[2, 0x01, 0xff], len, TIME, b"\0\x01d"], "kind of entry", 2);
        check_invalid::<Entry<'_>>(&[&[1, 0x02, 0x00], len, TIME, b"\0\x01f"], "mode", 0o1000);
        let nanos = 1_000_000_000u32.to_be_bytes();
        check_invalid::<Entry<'_>>(&[FILE, &TIME[..8], &nanos, b"\0\x01f"], "time", 1_000_000_000);
    }

    #[test]
    fn name() {
        check(&[b"\0\x05a/b\0\xff"], &Name(b"a/b\0\xff"));
        check(&[b"\0\0"], &Name(b""));
    }

    #[test]
    fn decision_run() {
        let decisions = [Decision::Take, Decision::Verify, Decision::Keep, Decision::Refuse];
        for (code, decision) in (1..).zip(decisions) {
            check(&[&[0, 1, 0, 0, code]], &DecisionRun { count: 65536, decision });
        }
        for code in [0, 5, 255] {
            check_invalid::<DecisionRun>(&[&[0, 0, 0, 1, code]], "decision", code.into());
        }
    }

    #[test]
    fn sent() {
        let check = |parts: &[&[u8]], outcome| check(parts, &Sent { index: 258, outcome });
        check(&[&[0, 0, 1, 2, 1], &MD5], SentOutcome::Digest(digest(Checksum::Md5)));
        check(&[&[0, 0, 1, 2, 2], &BLAKE3], SentOutcome::Digest(digest(Checksum::Blake3)));
        check(&[&[0, 0, 1, 2, 16]], SentOutcome::Changed);
        check(&[&[0, 0, 1, 2, 17], b"\0\x04gone"], SentOutcome::Unreadable("gone"));
        for code in [0, 3, 15, 18, 255] {
            check_invalid::<Sent<'_>>(&[&[0, 0, 1, 2, code], &BLAKE3], "checksum", code.into());
        }
    }

    #[test]
    fn stored() {
        let check = |parts: &[&[u8]], verdict| {
            let parts = [&[&[0, 0, 1, 2][..]], parts, &[b"\0\x01n"]].concat();
            check(&parts, &Stored { index: 258, verdict, name: b"n" });
        };
        check(&[&[1, 1], &MD5], Verdict::Stored(digest(Checksum::Md5)));
        check(&[&[1, 2], &BLAKE3], Verdict::Stored(digest(Checksum::Blake3)));
        check(&[&[2, 1], &MD5], Verdict::AlreadyThere(digest(Checksum::Md5)));
        check(&[&[3]], Verdict::Directory);
        check(&[&[4]], Verdict::Kept);
        check(&[&[5, 2], &BLAKE3], Verdict::Differs(digest(Checksum::Blake3)));
        check(&[&[6]], Verdict::NotSent);
        check(&[&[7], b"\0\x04full"], Verdict::Refused("full"));
        check(&[&[8, 1], &MD5], Verdict::Damaged(digest(Checksum::Md5)));
        for code in [0, 9, 255] {
            check_invalid::<Stored<'_>>(&[&[0, 0, 1, 2, code], b"\0\x01n"], "verdict", code.into());
        }
        for verdict in [1, 2, 5, 8] {
            for code in [0, 3, 16] {
                check_invalid::<Stored<'_>>(&[&[0, 0, 1, 2, verdict, code]], "checksum", code.into());
            }
        }
    }

    /// The limit [`MAX_PATH_LEN`], in each record that has a path.
    #[test]
    fn very_long_path() {
        check_too_long::<Entry<'_>>(&[FILE, TIME], "path", MAX_PATH_LEN);
        check_too_long::<Name<'_>>(&[], "path", MAX_PATH_LEN);
        check_too_long::<Stored<'_>>(&[&[0, 0, 0, 0, 3]], "path", MAX_PATH_LEN);
        let longest = vec![b'n'; MAX_PATH_LEN];
        check(&[&[0x10, 0x00], &longest], &Name(&longest));
    }

    /// The limit [`MAX_TEXT_LEN`], in each record that has a text.
    #[test]
    fn very_long_text() {
        check_too_long::<Sent<'_>>(&[&[0, 0, 0, 0, 17]], "reason", MAX_TEXT_LEN);
        check_too_long::<Stored<'_>>(&[&[0, 0, 0, 0, 7]], "reason", MAX_TEXT_LEN);
        let longest = "r".repeat(MAX_TEXT_LEN);
        let sent = Sent { index: 0, outcome: SentOutcome::Unreadable(&longest) };
        check(&[&[0, 0, 0, 0, 17, 0x04, 0x00], longest.as_bytes()], &sent);
    }

    #[test]
    fn a_reason_is_text() {
        let not_text = Err(WireError::NotText("reason"));
        assert_eq!(read::<Sent<'_>>(b"\0\0\0\0\x11\0\x01\xff"), not_text);
        assert_eq!(
            read::<Stored<'_>>(b"\0\0\0\0\x07\0\x01\xff\0\0").map(|_| ()),
            Err(WireError::NotText("reason"))
        );
    }

    /// What the page builder reserves for one more record is enough for the longest of each kind.
    #[test]
    fn no_record_is_longer_than_the_builder_expects() {
        let path = vec![b'n'; MAX_PATH_LEN + 1];
        let text = "t".repeat(MAX_TEXT_LEN + 1);
        let len = |record: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            record(&mut out);
            out.len()
        };
        let file = EntryKind::File { len: u64::MAX };
        let entry = Entry { kind: file, mode: 0o777, mtime: i64::MIN, mtime_nanos: 0, path: &path };
        let verdict = Verdict::Refused(&text);
        let sent = Sent { index: u32::MAX, outcome: SentOutcome::Unreadable(&text) };
        let longest = [
            len(&|out| (0..u64::MAX).write(out)),
            len(&|out| entry.write(out)),
            len(&|out| Name(&path).write(out)),
            len(&|out| DecisionRun { count: u32::MAX, decision: Decision::Take }.write(out)),
            len(&|out| sent.write(out)),
            len(&|out| Stored { index: u32::MAX, verdict, name: &path }.write(out)),
        ];
        assert_eq!(longest, [16, 25 + 4096, 2 + 4096, 5, 7 + 1024, 9 + 1024 + 4096]);
        assert!(longest.iter().all(|&len| len <= MAX_RECORD_LEN));
    }

    /// It is full only when the longest record would not fit behind the longest head of a message.
    #[test]
    fn a_builder_is_full_to_the_byte() {
        let room = MAX_MESSAGE_LEN - MAX_HEAD_LEN - MAX_RECORD_LEN;
        assert!(!PageBuilder { bytes: vec![0; room] }.is_full());
        assert!(PageBuilder { bytes: vec![0; room + 1] }.is_full());
    }

    #[test]
    fn a_page_is_read_to_its_end_or_refused() {
        let two = [START, START, START, START].concat();
        let page = Page::<Range<u64>>::decode(&mut Reader::new(&two)).unwrap();
        assert_eq!(page.iter().collect::<Vec<_>>(), [256..512, 256..512]);
        assert_eq!(format!("{page:?}"), "[256..512, 256..512]");
        assert_eq!(Page::<Range<u64>>::decode(&mut Reader::new(&two[..31])), Err(WireError::Short));
        let empty = Page::<Range<u64>>::decode(&mut Reader::new(&[])).unwrap();
        assert_eq!(empty.iter().count(), 0);
        assert_ne!(page, empty);
    }

    #[test]
    fn a_builder_can_be_used_again() {
        let mut builder = PageBuilder::default();
        assert!(builder.is_empty() && !builder.is_full());
        builder.push(&Name(b"first"));
        assert!(!builder.is_empty());
        builder.clear();
        assert!(builder.is_empty());
        builder.push(&Name(b"second"));
        assert_eq!(builder.page::<Name<'_>>().iter().collect::<Vec<_>>(), [Name(b"second")]);
    }
}
