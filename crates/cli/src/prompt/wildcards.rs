//! Wildcards: `*`, `?` and `[a-z]`, as in a shell.

use super::words::Word;

/// The most names that may match.
const MAX_MATCHES: usize = 10_000;
/// What a byte that is no UTF-8 counts as: above every character.
const NO_CHARACTER: u32 = 0x11_0000;

/// A part of a path, to be matched with names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// This byte.
    Byte(u8),
    /// Any character.
    One,
    /// Any number of characters.
    Any,
    /// A character of these ranges, or of none of them.
    Class { ranges: Vec<(u32, u32)>, is_negated: bool },
}

/// A thing in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Its name.
    pub(super) name: Vec<u8>,
    /// Whether it is a directory.
    pub(super) is_directory: bool,
}

/// Whether a word has a wildcard that is not quoted.
pub(super) fn is_wild(word: &Word) -> bool {
    parts(word).iter().any(Pattern::is_wild)
}

/// The paths that match a word, in order; itself where it has no wildcard. `list` tells what is in a directory, named by its
/// path as the word begins it: empty, or with a slash at its end.
pub(super) fn expand<E>(
    word: &Word,
    mut list: impl FnMut(&[u8]) -> Result<Vec<Found>, E>,
) -> Result<Option<Vec<Vec<u8>>>, E> {
    if !is_wild(word) {
        return Ok(Some(vec![word.bytes()]));
    }
    let parts = parts(word);
    let mut paths: Vec<Vec<u8>> = vec![Vec::new()];
    // Before the first wildcard nothing is looked for: it is there, or the listing says so.
    let mut is_certain = false;
    for (at, pattern) in parts.iter().enumerate() {
        let is_last = at + 1 == parts.len();
        is_certain |= pattern.is_wild();
        let mut next = Vec::new();
        for path in paths {
            if let Some(name) =
                pattern.literal().filter(|name| !is_certain || matches!(**name, [] | [b'.'] | [b'.', b'.']))
            {
                next.push([path, name].concat());
            } else {
                let found = list(&path)?;
                let matching = found
                    .iter()
                    .filter(|found| (is_last || found.is_directory) && pattern.matches(&found.name));
                let mut matching: Vec<_> = matching.map(|found| [&path[..], &found.name].concat()).collect();
                matching.sort();
                next.append(&mut matching);
            }
            if next.len() > MAX_MATCHES {
                return Ok(None);
            }
        }
        if !is_last {
            next.iter_mut().for_each(|path| path.push(b'/'));
        }
        paths = next;
    }
    Ok(Some(paths))
}

/// What is to be said when more match.
pub(super) fn too_many(word: &str) -> String {
    format!("more than {MAX_MATCHES} names match {word}; name their directory instead")
}

fn parts(word: &Word) -> Vec<Pattern> {
    let letters: Vec<(u8, bool)> = word.letters().collect();
    letters.split(|(byte, _)| *byte == b'/').map(Pattern::new).collect()
}

impl Pattern {
    fn new(mut letters: &[(u8, bool)]) -> Self {
        let mut pieces = Vec::new();
        while let [(byte, quoted), rest @ ..] = letters {
            let mut after = rest;
            let piece = match (byte, quoted) {
                (b'*', false) => Piece::Any,
                (b'?', false) => Piece::One,
                (b'[', false) => match class(rest) {
                    Some((class, len)) => {
                        after = &rest[len..];
                        class
                    }
                    None => Piece::Byte(b'['),
                },
                _ => Piece::Byte(*byte),
            };
            pieces.push(piece);
            letters = after;
        }
        Self(pieces)
    }

    fn is_wild(&self) -> bool {
        self.0.iter().any(|piece| !matches!(piece, Piece::Byte(_)))
    }

    /// The name that it is, without a wildcard.
    fn literal(&self) -> Option<Vec<u8>> {
        let byte = |piece: &Piece| match piece {
            Piece::Byte(byte) => Some(*byte),
            _ => None,
        };
        self.0.iter().map(byte).collect()
    }

    fn matches(&self, name: &[u8]) -> bool {
        // As in a shell, a hidden name is not matched by chance.
        if name.starts_with(b".") && self.0.first() != Some(&Piece::Byte(b'.')) {
            return false;
        }
        let (mut at, mut piece) = (0, 0);
        // Where to go on when what follows the last `*` does not match: with one more character in it.
        let mut back: Option<(usize, usize)> = None;
        while at < name.len() {
            if self.0.get(piece) == Some(&Piece::Any) {
                piece += 1;
                back = Some((at, piece));
            } else if let Some(len) = self.0.get(piece).and_then(|piece| piece.takes(&name[at..])) {
                at += len;
                piece += 1;
            } else if let Some((begin, after)) = back {
                at = begin + character(&name[begin..]).1;
                piece = after;
                back = Some((at, after));
            } else {
                return false;
            }
        }
        self.0.get(piece..).is_some_and(|rest| rest.iter().all(|piece| *piece == Piece::Any))
    }
}

impl Piece {
    /// How many bytes of this, which is not empty, it takes.
    fn takes(&self, name: &[u8]) -> Option<usize> {
        let (c, len) = character(name);
        match self {
            Self::Byte(byte) => (name.first() == Some(byte)).then_some(1),
            Self::One => Some(len),
            Self::Any => None,
            Self::Class { ranges, is_negated } => {
                let is_in = ranges.iter().any(|(first, last)| (*first..=*last).contains(&c));
                (is_in != *is_negated).then_some(len)
            }
        }
    }
}

/// The class behind a `[`, and how many letters it has with its `]`; `None` when there is no end to it.
fn class(letters: &[(u8, bool)]) -> Option<(Piece, usize)> {
    let is_negated = matches!(letters.first(), Some((b'!' | b'^', false)));
    let begin = usize::from(is_negated);
    // A `]` right at the beginning is a member.
    let after = letters.get(begin + 1..)?.iter().position(|(byte, quoted)| *byte == b']' && !quoted)?;
    let end = begin + 1 + after;
    let bytes: Vec<u8> = letters[begin..end].iter().map(|(byte, _)| *byte).collect();
    let mut members = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (c, len) = character(rest);
        members.push(c);
        rest = &rest[len..];
    }
    let mut ranges = Vec::new();
    let mut rest = &members[..];
    while let [first, after @ ..] = rest {
        rest = match after {
            [hyphen, last, after @ ..] if *hyphen == u32::from('-') => {
                ranges.push((*first, *last));
                after
            }
            _ => {
                ranges.push((*first, *first));
                after
            }
        };
    }
    Some((Piece::Class { ranges, is_negated }, end + 1))
}

/// The first character of what is not empty, and its length.
fn character(bytes: &[u8]) -> (u32, usize) {
    let chunk = bytes.utf8_chunks().next();
    match chunk.and_then(|chunk| chunk.valid().chars().next()) {
        Some(c) => (u32::from(c), c.len_utf8()),
        None => (NO_CHARACTER + bytes.first().map_or(0, |byte| u32::from(*byte)), 1),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::prompt::words::split;

    fn word(text: &[u8]) -> Word {
        split(text).unwrap().remove(0)
    }

    fn matches(pattern: &[u8], name: &[u8]) -> bool {
        parts(&word(pattern))[0].matches(name)
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name) in [
            ("*", "a"),
            ("*.mp3", "song.mp3"),
            ("s*g*3", "song.mp3"),
            ("?ong.mp3", "song.mp3"),
            ("?.mp3", "ü.mp3"),
            ("[a-c]1", "b1"),
            ("[!a-c]1", "d1"),
            ("[]a]", "]"),
            ("[a-]", "-"),
            ("[", "["),
            ("a[b", "a[b"),
            ("[ä-ü]", "ö"),
            (".*", ".hidden"),
            ("a**b", "ab"),
        ] {
            assert!(matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.mp3", "song.mp4"),
            ("*.mp3", ".mp3"),
            ("?", ""),
            ("?", "ab"),
            ("[a-c]", "d"),
            ("[!a-c]", "a"),
            ("*b", "a"),
            ("'*'", "a"),
            ("\\?", "a"),
            ("\"[a]\"", "a"),
        ] {
            assert!(!matches(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
        }
        assert!(matches(b"caf?.mp3", b"caf\xe9.mp3"));
    }

    #[test]
    fn wildcards_are_known_unless_quoted() {
        for wild in ["*", "a/?/b", "[a]", "a'b'*"] {
            assert!(is_wild(&word(wild.as_bytes())), "{wild}");
        }
        for plain in ["a", "'*'", "\\*", "[", "a/[b", "\"?\""] {
            assert!(!is_wild(&word(plain.as_bytes())), "{plain}");
        }
    }

    fn tree(dir: &[u8]) -> Result<Vec<Found>, Infallible> {
        let list: &[(&str, bool)] = match dir {
            b"" => &[("b", true), ("a", true), ("c.mp3", false), (".d", true)],
            b"a/" => &[("2.mp3", false), ("1.mp3", false), ("x.txt", false)],
            b"b/" => &[("3.mp3", false)],
            b"a/../" | b"b/../" => &[("c.mp3", false)],
            _ => panic!("{}", dir.escape_ascii()),
        };
        let found = |&(name, is_directory): &(&str, bool)| Found { name: name.into(), is_directory };
        Ok(list.iter().map(found).collect())
    }

    #[test]
    fn paths_are_found_part_by_part() {
        let paths = |pattern: &str| {
            let found = expand(&word(pattern.as_bytes()), tree).unwrap().unwrap();
            found.into_iter().map(|path| String::from_utf8(path).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(paths("*"), ["a", "b", "c.mp3"]);
        assert_eq!(paths("*/*.mp3"), ["a/1.mp3", "a/2.mp3", "b/3.mp3"]);
        assert_eq!(paths("a/[12].mp3"), ["a/1.mp3", "a/2.mp3"]);
        assert_eq!(paths("*/"), ["a/", "b/"]);
        assert_eq!(paths("[ab]/x.txt"), ["a/x.txt"]);
        assert_eq!(paths("*/../c.*"), ["a/../c.mp3", "b/../c.mp3"]);
        assert_eq!(paths("z*"), [""; 0]);
        assert_eq!(paths("'*'"), ["*"]);
    }

    #[test]
    fn a_flood_of_names_is_stopped() {
        let many = |_: &[u8]| {
            let found = |number: usize| Found { name: number.to_string().into(), is_directory: true };
            Ok::<_, Infallible>((0..5000).map(found).collect())
        };
        assert_eq!(expand(&word(b"*/*/*"), many), Ok(None));
    }

    /// The same by trying everything.
    fn matches_slowly(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], _) => name.is_empty(),
            ([b'*', rest @ ..], _) => (0..=name.len()).any(|len| matches_slowly(rest, &name[len..])),
            ([b'?', rest @ ..], [_, after @ ..]) => matches_slowly(rest, after),
            ([byte, rest @ ..], [first, after @ ..]) => byte == first && matches_slowly(rest, after),
            (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_it_means(pattern in "[ab*?]{1,8}", name in "[ab]{0,12}") {
            prop_assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                matches_slowly(pattern.as_bytes(), name.as_bytes())
            );
        }

        #[test]
        fn any_bytes_can_be_a_pattern(
            pattern in prop::collection::vec(any::<u8>(), 1..16),
            name in prop::collection::vec(any::<u8>(), 0..16),
        ) {
            for word in split(&pattern).unwrap_or_default() {
                parts(&word).iter().for_each(|part| { part.matches(&name); });
            }
            // Quoted, it is itself.
            let quoted = Word::from(&pattern[..]);
            prop_assert!(!is_wild(&quoted));
        }
    }
}
