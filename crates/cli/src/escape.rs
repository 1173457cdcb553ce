//! Names and words of others, made safe to print.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

/// A name, with everything in it escaped that could steer a terminal or isn't UTF-8.
pub(crate) fn name(name: &OsStr) -> String {
    let mut out = String::with_capacity(name.len());
    for piece in name.as_bytes().utf8_chunks() {
        push(&mut out, piece.valid());
        for byte in piece.invalid() {
            // Writing to a string does not fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Words of others, with everything in them escaped that could steer a terminal.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    push(&mut out, text);
    out
}

/// Lines of others, with everything in them escaped that could steer a terminal, but for ends of lines and tabs.
pub(crate) fn lines(lines: &[u8]) -> String {
    let escaped = |part: &[u8]| name(OsStr::from_bytes(part));
    let line = |line: &[u8]| line.split(|byte| *byte == b'\t').map(escaped).collect::<Vec<_>>().join("\t");
    lines.split(|byte| *byte == b'\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Words with their middle left out where they are longer than so many characters, so that beginning and end can still be read.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    if text.chars().nth(most).is_none() {
        return text.to_owned();
    }
    let at = |index| text.char_indices().nth(index).map_or(text.len(), |(at, _)| at);
    let tail = text.chars().count() - most / 2;
    format!("{} ... {}", &text[..at(most / 2)], &text[at(tail)..])
}

fn push(out: &mut String, text: &str) {
    for c in text.chars() {
        if is_harmless(c) { out.push(c) } else { out.extend(c.escape_default()) }
    }
}

fn is_harmless(c: char) -> bool {
    // What turns the direction of the text, and the other ends of a line.
    let steers = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    );
    !c.is_control() && !steers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_stay() {
        for good in ["song.mp3", "Ünï cödé/日本.mp4", "a\\b", "it's \"quoted\"", "👩‍👩‍👧.png"]
        {
            assert_eq!(name(OsStr::new(good)), good);
        }
    }

    #[test]
    fn controls_are_escaped() {
        assert_eq!(text("a\nb\r\tc"), "a\\nb\\r\\tc");
        assert_eq!(text("\u{1b}[2J\u{7f}\u{9b}31m"), "\\u{1b}[2J\\u{7f}\\u{9b}31m");
        assert_eq!(text("evil\u{202e}gpj.exe\u{2066}"), "evil\\u{202e}gpj.exe\\u{2066}");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_escaped() {
        assert_eq!(name(OsStr::from_bytes(b"caf\xe9.mp3")), "caf\\xe9.mp3");
        assert_eq!(name(OsStr::from_bytes(b"\xff\xfe\n")), "\\xff\\xfe\\n");
    }

    #[test]
    fn long_words_lose_their_middle() {
        let long = "ä".repeat(30) + &"ö".repeat(30);
        assert_eq!(shorten(&long, 60), long);
        assert_eq!(shorten(&long, 10), "äääää ... ööööö");
        assert_eq!(shorten("", 10), "");
        assert_eq!(shorten("0123456789a", 10), "01234 ... 6789a");
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(lines(b"a\tb\n\x1b[2J\xff\n"), "a\tb\n\\u{1b}[2J\\xff\n");
        assert_eq!(lines(b""), "");
    }

    #[test]
    fn escaping_twice_changes_nothing() {
        let once = name(OsStr::from_bytes(b"\x1b\xff\n"));
        assert_eq!(text(&once), once);
    }
}
