//! The manifest against a model that lays its chunks out one by one, and every way to be refused by it.

use framing::{
    CHUNK_LEN, Entry, EntryKind, MAX_ENTRIES, MAX_FILE_LEN, MAX_NAMES_LEN, MAX_PATH_LEN, Manifest,
    ManifestError, chunks_in,
};
use proptest::prelude::*;

const fn file(len: u64, path: &[u8]) -> Entry<'_> {
    Entry { kind: EntryKind::File { len }, mode: 0o644, mtime: -1, mtime_nanos: 999_999_999, path }
}

const fn directory(path: &[u8]) -> Entry<'_> {
    Entry { kind: EntryKind::Directory, mode: 0o755, mtime: 1, mtime_nanos: 2, path }
}

fn kinds() -> impl Strategy<Value = EntryKind> {
    let chunk = CHUNK_LEN as u64;
    let lengths = prop_oneof![
        Just(0),
        0..4 * chunk,
        (1..4u64).prop_map(move |chunks| chunks * chunk),
        (1..4u64).prop_map(move |chunks| chunks * chunk + 1),
        (1..4u64).prop_map(move |chunks| chunks * chunk - 1),
    ];
    prop_oneof![4 => lengths.prop_map(|len| EntryKind::File { len }), 1 => Just(EntryKind::Directory)]
}

proptest! {
    #[test]
    fn chunks_lie_as_in_the_model(kinds in prop::collection::vec(kinds(), 0..12)) {
        let mut manifest = Manifest::new();
        // The owner and length of every chunk, in order.
        let mut chunks: Vec<(u32, usize)> = Vec::new();
        let mut bytes = 0;
        for (index, &kind) in (0..).zip(&kinds) {
            let path = format!("file {index}");
            let entry = Entry { kind, ..file(0, path.as_bytes()) };
            prop_assert_eq!(manifest.push(entry), Ok(index));
            let first = chunks.len() as u64;
            let mut left = entry.len() as usize;
            while left > 0 {
                chunks.push((index, left.min(CHUNK_LEN)));
                left -= left.min(CHUNK_LEN);
            }
            bytes += entry.len();
            prop_assert_eq!(manifest.chunks_of(index), first..chunks.len() as u64);
            prop_assert_eq!(chunks_in(entry.len()), chunks.len() as u64 - first);
        }
        prop_assert_eq!(manifest.chunks(), chunks.len() as u64);
        prop_assert_eq!(manifest.bytes(), bytes);
        prop_assert_eq!(manifest.len() as usize, kinds.len());
        prop_assert_eq!(manifest.is_empty(), kinds.is_empty());
        for (number, &(index, len)) in (0..).zip(&chunks) {
            prop_assert_eq!(manifest.file_of(number), Some(index));
            prop_assert_eq!(manifest.chunk_len(number), len);
        }
        for outside in [manifest.chunks(), manifest.chunks() + 1, u64::MAX] {
            prop_assert_eq!(manifest.file_of(outside), None);
            prop_assert_eq!(manifest.chunk_len(outside), 0);
        }
        for outside in [manifest.len(), u32::MAX] {
            prop_assert_eq!(manifest.chunks_of(outside), 0..0);
            prop_assert_eq!(manifest.get(outside), None);
        }
    }

    #[test]
    fn entries_come_back_as_they_were(
        entries in prop::collection::vec(
            (kinds(), 0..=0o777u16, any::<i64>(), 0..1_000_000_000u32, prop::collection::vec(any::<u8>(), 1..40)),
            0..12,
        ),
    ) {
        let entries: Vec<Entry<'_>> = entries
            .iter()
            .map(|(kind, mode, mtime, mtime_nanos, path)| Entry {
                kind: *kind,
                mode: *mode,
                mtime: *mtime,
                mtime_nanos: *mtime_nanos,
                path,
            })
            .collect();
        let mut manifest = Manifest::new();
        for (index, &entry) in (0..).zip(&entries) {
            prop_assert_eq!(manifest.push(entry), Ok(index));
            prop_assert_eq!(manifest.get(index), Some(entry));
        }
        prop_assert_eq!(manifest.iter().map(|(_, entry)| entry).collect::<Vec<_>>(), entries);
        prop_assert!(manifest.iter().map(|(index, _)| index).eq(0..manifest.len()));
    }
}

#[test]
fn only_a_file_has_bytes() {
    assert_eq!((file(7, b"f").len(), file(7, b"f").is_empty()), (7, false));
    assert_eq!((file(0, b"f").len(), file(0, b"f").is_empty()), (0, true));
    assert_eq!((directory(b"d").len(), directory(b"d").is_empty()), (0, true));
}

#[test]
fn chunks_are_rounded_up() {
    assert_eq!([0, 1, 4095, 4096, 4097, 8192].map(chunks_in), [0, 1, 1, 1, 2, 2]);
    assert_eq!(chunks_in(u64::MAX), 1 << 52);
}

/// Checks that `entry` is refused with `error`, and that the manifest is as it was before.
fn check_refused(manifest: &mut Manifest, entry: Entry<'_>, error: ManifestError) {
    let before = (manifest.len(), manifest.chunks(), manifest.bytes());
    assert_eq!(manifest.push(entry), Err(error));
    assert_eq!((manifest.len(), manifest.chunks(), manifest.bytes()), before);
}

/// The limit [`MAX_ENTRIES`].
#[test]
fn too_many_entries() {
    let mut manifest = Manifest::new();
    for index in 0..MAX_ENTRIES {
        assert_eq!(manifest.push(directory(b"d")), Ok(index as u32));
    }
    check_refused(&mut manifest, directory(b"d"), ManifestError::TooManyEntries);
}

/// The limit [`MAX_NAMES_LEN`].
#[test]
fn too_many_names() {
    let mut manifest = Manifest::new();
    let path = vec![b'n'; MAX_PATH_LEN];
    for _ in 0..MAX_NAMES_LEN / MAX_PATH_LEN - 1 {
        manifest.push(directory(&path)).unwrap();
    }
    manifest.push(directory(&path[1..])).unwrap();
    check_refused(&mut manifest, directory(b"xy"), ManifestError::TooManyNames);
    manifest.push(directory(b"x")).unwrap();
    check_refused(&mut manifest, directory(b"x"), ManifestError::TooManyNames);
    let last = manifest.get(manifest.len() - 1).unwrap();
    assert_eq!(last.path, b"x");
}

/// The limit [`MAX_PATH_LEN`].
#[test]
fn too_long_path() {
    let mut manifest = Manifest::new();
    let path = vec![b'n'; MAX_PATH_LEN + 1];
    check_refused(&mut manifest, directory(&path), ManifestError::PathLength(MAX_PATH_LEN + 1));
    check_refused(&mut manifest, directory(b""), ManifestError::PathLength(0));
    manifest.push(directory(&path[1..])).unwrap();
    assert_eq!(manifest.get(0).unwrap().path, &path[1..]);
}

/// The limit [`MAX_FILE_LEN`].
#[test]
fn too_long_file() {
    let mut manifest = Manifest::new();
    check_refused(&mut manifest, file(MAX_FILE_LEN + 1, b"f"), ManifestError::FileTooLong(MAX_FILE_LEN + 1));
    check_refused(&mut manifest, file(u64::MAX, b"f"), ManifestError::FileTooLong(u64::MAX));
    manifest.push(file(MAX_FILE_LEN, b"f")).unwrap();
    assert_eq!(manifest.chunks(), MAX_FILE_LEN / CHUNK_LEN as u64);
}

/// The limit of all bytes together: one less than 2^63.
#[test]
fn too_long_transfer() {
    let mut manifest = Manifest::new();
    for _ in 0..u64::MAX / 2 / MAX_FILE_LEN {
        manifest.push(file(MAX_FILE_LEN, b"f")).unwrap();
    }
    check_refused(&mut manifest, file(MAX_FILE_LEN, b"f"), ManifestError::TransferTooLong);
    let left = u64::MAX / 2 - manifest.bytes();
    manifest.push(file(left, b"f")).unwrap();
    check_refused(&mut manifest, file(1, b"f"), ManifestError::TransferTooLong);
    manifest.push(file(0, b"f")).unwrap();
    assert_eq!(manifest.bytes(), (1 << 63) - 1);
    assert_eq!(manifest.file_of(manifest.chunks() - 1), Some(manifest.len() - 2));
    assert_eq!(manifest.chunk_len(manifest.chunks() - 1), CHUNK_LEN - 1);
}

#[test]
fn errors_say_what_was_wrong() {
    assert_eq!(
        ManifestError::TooManyEntries.to_string(),
        "more than 1048576 files and directories in one transfer"
    );
    assert_eq!(
        ManifestError::TooManyNames.to_string(),
        "more than 67108864 bytes of file names in one transfer"
    );
    assert_eq!(ManifestError::PathLength(0).to_string(), "a path of 0 bytes; 1 to 4096 are possible");
    assert_eq!(
        ManifestError::FileTooLong(281_474_976_710_657).to_string(),
        "a file of 281474976710657 bytes, more than the limit of 281474976710656"
    );
    assert_eq!(
        ManifestError::TransferTooLong.to_string(),
        "more than 9223372036854775807 bytes in one transfer"
    );
}
