//! Names from the network, and what makes them safe.

use std::ffi::{OsStr, OsString};
use std::iter;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use framing::MAX_PATH_LEN;

/// The most bytes of one part of a path.
pub(crate) const MAX_NAME_LEN: usize = 255;
/// How many parts a path may have.
const MAX_DEPTH: usize = 128;
/// The end of a partial file's name.
pub(crate) const PART_SUFFIX: &str = ".part";
/// Hex digits that tell partial files of the same target apart.
pub(crate) const PART_ID_LEN: usize = 16;

/// Why a name from the network is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty, or a part of it is.
    #[error("its name is empty or has an empty part")]
    Empty,
    /// It starts at a root.
    #[error("its path is absolute")]
    Absolute,
    /// It has a part `.` or `..`.
    #[error("its path has a part that is . or ..")]
    Dots,
    /// It has a control character.
    #[error("its name has a control character")]
    Control,
    /// It is longer than a path may be.
    #[error("its path is longer than {MAX_PATH_LEN} bytes")]
    PathTooLong,
    /// A part is longer than a name may be.
    #[error("its name is longer than {MAX_NAME_LEN} bytes")]
    NameTooLong,
    /// It has too many parts.
    #[error("its path has more than {MAX_DEPTH} parts")]
    TooDeep,
    /// Some systems take it for a device or a drive.
    #[error("its name means a device or a drive on some systems")]
    Reserved,
    /// It is the name of a partial file.
    #[error("its name is that of a partial file")]
    Partial,
}

/// A relative path that is safe to use below a directory: parts that are plain names, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SafePath(PathBuf);

impl SafePath {
    /// Takes a path as it came from the network, with `/` between its parts.
    pub fn parse(path: &[u8]) -> Result<Self, NameError> {
        if path.len() > MAX_PATH_LEN {
            return Err(NameError::PathTooLong);
        }
        if path.first() == Some(&b'/') {
            return Err(NameError::Absolute);
        }
        let mut safe = PathBuf::new();
        for (depth, part) in path.split(|byte| *byte == b'/').enumerate() {
            if depth == MAX_DEPTH {
                return Err(NameError::TooDeep);
            }
            check(part)?;
            safe.push(OsStr::from_bytes(part));
        }
        Ok(Self(safe))
    }

    /// The same path, with `prefix` before its first part.
    pub fn with_prefix(&self, prefix: &OsStr) -> Result<Self, NameError> {
        let mut path = prefix.as_bytes().to_vec();
        path.extend_from_slice(self.0.as_os_str().as_bytes());
        Self::parse(&path)
    }

    /// The same path with another first part.
    pub(crate) fn with_first(&self, name: &OsStr) -> Result<Self, NameError> {
        let path: PathBuf = iter::once(name).chain(self.0.iter().skip(1)).collect();
        Self::parse(path.as_os_str().as_bytes())
    }

    /// The same path with another last part.
    pub(crate) fn with_name(&self, name: &OsStr) -> PathBuf {
        self.0.with_file_name(name)
    }

    /// The path, relative.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Its last part.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        // There is at least one part, and every part is a plain name.
        self.0.file_name().unwrap_or_default()
    }
}

fn check(part: &[u8]) -> Result<(), NameError> {
    match part {
        b"" => return Err(NameError::Empty),
        b"." | b".." => return Err(NameError::Dots),
        _ => {}
    }
    if part.len() > MAX_NAME_LEN {
        return Err(NameError::NameTooLong);
    }
    if part.iter().any(u8::is_ascii_control) || has_c1_control(part) {
        return Err(NameError::Control);
    }
    if is_device_or_drive(part) {
        return Err(NameError::Reserved);
    }
    if is_part_name(OsStr::from_bytes(part)) {
        return Err(NameError::Partial);
    }
    Ok(())
}

/// U+0080 to U+009F, which a terminal may obey too.
fn has_c1_control(part: &[u8]) -> bool {
    std::str::from_utf8(part).is_ok_and(|text| text.chars().any(char::is_control))
}

/// `CON`, `nul.txt`, `COM1` and their like, and `C:`.
fn is_device_or_drive(part: &[u8]) -> bool {
    if let [letter, b':', ..] = part
        && letter.is_ascii_alphabetic()
    {
        return true;
    }
    let stem =
        part.split(|byte| *byte == b'.').next().unwrap_or_default().trim_ascii_end().to_ascii_uppercase();
    match stem.as_slice() {
        b"CON" | b"PRN" | b"AUX" | b"NUL" => true,
        [b'C', b'O', b'M', digit] | [b'L', b'P', b'T', digit] => (b'1'..=b'9').contains(digit),
        _ => false,
    }
}

/// Whether a name is one that partial files have: `.NAME.<16 hex digits>[-N].part`.
#[must_use]
pub fn is_part_name(name: &OsStr) -> bool {
    let Some(stem) = name.as_bytes().strip_suffix(PART_SUFFIX.as_bytes()) else { return false };
    let Some(dot) = stem.iter().rposition(|byte| *byte == b'.') else { return false };
    let mut id = stem[dot + 1..].splitn(2, |byte| *byte == b'-');
    let hex = id.next().is_some_and(|hex| hex.len() == PART_ID_LEN && hex.iter().all(u8::is_ascii_hexdigit));
    let number = id.next().is_none_or(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit));
    stem.first() == Some(&b'.') && dot > 0 && hex && number
}

/// Whether names may begin with this.
pub(crate) fn is_prefix(prefix: &OsStr) -> bool {
    let bytes = prefix.as_bytes();
    bytes.len() < MAX_NAME_LEN / 2 && !bytes.iter().any(|byte| *byte == b'/' || byte.is_ascii_control())
}

/// `song.mp3` with a number becomes `song-1.mp3`; the stem is cut where the name would get too long.
pub(crate) fn numbered(name: &OsStr, number: u32) -> OsString {
    tagged(name, &format!("-{number}"))
}

/// `song.mp3` with the tag `.damaged` becomes `song.damaged.mp3`.
pub(crate) fn tagged(name: &OsStr, tag: &str) -> OsString {
    let bytes = name.as_bytes();
    let dot = bytes.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0);
    let (stem, extension) = bytes.split_at(dot.unwrap_or(bytes.len()));
    let tail = [tag.as_bytes(), extension].concat();
    let mut tagged = cut(stem, MAX_NAME_LEN.saturating_sub(tail.len())).to_vec();
    tagged.extend(tail);
    OsString::from_vec(tagged)
}

/// The first bytes of a name, not cut within a character.
pub(crate) fn cut(name: &[u8], len: usize) -> &[u8] {
    let mut len = len.min(name.len());
    while len > 0 && name.get(len).is_some_and(|byte| (0x80..0xc0).contains(byte)) {
        len -= 1;
    }
    &name[..len]
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_name_is_told() {
        let long = [b'x'; MAX_NAME_LEN + 1];
        let deep = [b"d/".as_slice(); MAX_DEPTH + 1].concat();
        let cases: [(&[u8], NameError); 24] = [
            (b"", NameError::Empty),
            (b"a//b", NameError::Empty),
            (b"a/", NameError::Empty),
            (b"/", NameError::Absolute),
            (b"/etc/passwd", NameError::Absolute),
            (b".", NameError::Dots),
            (b"..", NameError::Dots),
            (b"a/../b", NameError::Dots),
            (b"a/.", NameError::Dots),
            (b"a\0", NameError::Control),
            (b"a\x1b[2J", NameError::Control),
            (b"a\x7f", NameError::Control),
            ("a\u{9b}2J".as_bytes(), NameError::Control),
            (&long, NameError::NameTooLong),
            (&[b'x'; MAX_PATH_LEN + 1], NameError::PathTooLong),
            (&deep, NameError::TooDeep),
            (b"C:", NameError::Reserved),
            (b"z:x", NameError::Reserved),
            (b"con", NameError::Reserved),
            (b"d/Aux.txt", NameError::Reserved),
            (b"lpt9 .x", NameError::Reserved),
            (b"COM1", NameError::Reserved),
            (b".x.0123456789abcdef.part", NameError::Partial),
            (b"d/.x.0123456789abcdef-12.part", NameError::Partial),
        ];
        for (name, error) in cases {
            assert_eq!(SafePath::parse(name), Err(error), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn names_that_only_look_odd_are_taken() {
        let names: [&[u8]; 14] = [
            b"...",
            b"-rf",
            b"a b'\"*?<>|\\",
            b"com0",
            b"console",
            b"auxiliary.txt",
            b".hidden",
            b"x.part",
            b".x.0123456789abcdeg.part",
            b".0123456789abcdef.part-",
            b"12:30",
            b"not-utf8-\xff\xfe",
            "ünï/cödé/🎵".as_bytes(),
            &[b'x'; MAX_NAME_LEN],
        ];
        for name in names {
            let path = SafePath::parse(name).unwrap();
            assert_eq!(path.as_path().as_os_str().as_bytes(), name);
        }
    }

    #[test]
    fn the_prefix_goes_before_the_first_part() {
        let path = SafePath::parse(b"album/song.mp3").unwrap();
        let renamed = |path: &[u8]| SafePath::parse(path).unwrap().with_first("x".as_ref()).unwrap().0;
        assert_eq!((renamed(b"a"), renamed(b"a/b/c")), ("x".into(), "x/b/c".into()));
        let prefixed = path.with_prefix("received-".as_ref()).unwrap();
        assert_eq!(prefixed.as_path(), Path::new("received-album/song.mp3"));
        assert_eq!(prefixed.name(), "song.mp3");
        let long = SafePath::parse(&[b'x'; MAX_NAME_LEN]).unwrap();
        assert_eq!(long.with_prefix("r".as_ref()), Err(NameError::NameTooLong));
        assert!(!is_prefix("../".as_ref()) && !is_prefix("a\n".as_ref()) && is_prefix("".as_ref()));
    }

    #[test]
    fn numbers_stand_before_the_extension_and_long_names_are_cut() {
        for (name, expected) in [
            ("song.mp3", "song-1.mp3"),
            ("song", "song-1"),
            (".hidden", ".hidden-1"),
            ("a.tar.gz", "a.tar-1.gz"),
        ] {
            assert_eq!(numbered(name.as_ref(), 1), OsStr::new(expected));
        }
        assert_eq!(tagged("a.tar.gz".as_ref(), ".damaged"), OsStr::new("a.tar.damaged.gz"));
        let long = format!("{}.mp3", "é".repeat(125));
        let cut = numbered(long.as_ref(), 10);
        assert!(cut.len() <= MAX_NAME_LEN && cut.to_str().unwrap().ends_with("é-10.mp3"));
    }

    proptest! {
        #[test]
        fn whatever_is_taken_stays_below_its_directory(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..64),
                "[./a-c:\\\\]{0,12}".prop_map(String::into_bytes),
            ],
        ) {
            if let Ok(path) = SafePath::parse(&bytes) {
                prop_assert_eq!(path.as_path().as_os_str().as_bytes(), bytes.as_slice());
                let parts: Vec<_> = path.as_path().components().collect();
                prop_assert!(!parts.is_empty());
                prop_assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
