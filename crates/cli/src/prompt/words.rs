//! The words of a line: blanks between them, quotes and backslashes as in a shell.

/// A letter of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Letter {
    byte: u8,
    /// Whether it stands for itself, whatever it is.
    quoted: bool,
}

/// A word, of any bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Word {
    letters: Vec<Letter>,
    /// Where it begins in its line, with its quotes.
    start: usize,
    /// Where it ends.
    end: usize,
}

/// What is open at the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Open {
    /// This quote.
    Quote(u8),
    /// A backslash, behind which nothing follows.
    Backslash,
}

/// A line taken apart.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Its words.
    pub(super) words: Vec<Word>,
    /// What is open at its end.
    pub(super) open: Option<Open>,
}

/// Takes a line apart; a backslash at its end stands for itself.
pub(super) fn split(line: &[u8]) -> Result<Vec<Word>, String> {
    let scan = scan(line);
    match scan.open {
        Some(Open::Quote(quote)) => {
            let quote = char::from(quote);
            Err(format!("a quote is not closed: {quote}; for the character itself write \\{quote}"))
        }
        Some(Open::Backslash) | None => Ok(scan.words),
    }
}

/// Takes a line apart as far as it goes.
pub(super) fn scan(line: &[u8]) -> Scan {
    let mut scanner = Scanner::default();
    for (at, byte) in line.iter().enumerate() {
        scanner.take(at, *byte);
    }
    scanner.finish(line.len())
}

/// Whether it stands between words.
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n')
}

#[derive(Default)]
struct Scanner {
    words: Vec<Word>,
    word: Option<Word>,
    quote: Option<u8>,
    escaped: bool,
}

impl Scanner {
    fn take(&mut self, at: usize, byte: u8) {
        if std::mem::take(&mut self.escaped) {
            self.take_escaped(at, byte);
            return;
        }
        match (self.quote, byte) {
            (Some(quote), _) if byte == quote => self.quote = None,
            (None | Some(b'"'), b'\\') => {
                self.open(at);
                self.escaped = true;
            }
            (Some(_), _) => self.push(at, byte, true),
            (None, b'"' | b'\'') => {
                self.open(at);
                self.quote = Some(byte);
            }
            (None, _) if is_blank(byte) => self.close(at),
            (None, _) => self.push(at, byte, false),
        }
    }

    fn take_escaped(&mut self, at: usize, byte: u8) {
        let is_plain = self.quote.is_some() && !matches!(byte, b'"' | b'\\' | b'$' | b'`');
        if is_plain {
            self.push(at, b'\\', true);
        }
        self.push(at, byte, true);
    }

    fn open(&mut self, at: usize) -> &mut Word {
        self.word.get_or_insert_with(|| Word { start: at, ..Word::default() })
    }

    fn push(&mut self, at: usize, byte: u8, quoted: bool) {
        self.open(at).letters.push(Letter { byte, quoted });
    }

    fn close(&mut self, at: usize) {
        if let Some(word) = self.word.take() {
            self.words.push(Word { end: at, ..word });
        }
    }

    fn finish(mut self, len: usize) -> Scan {
        let open = match self.quote {
            Some(quote) => Some(Open::Quote(quote)),
            None => self.escaped.then_some(Open::Backslash),
        };
        if self.escaped {
            self.push(len, b'\\', true);
        }
        self.close(len);
        Scan { words: self.words, open }
    }
}

impl Word {
    /// One that begins here, and is empty yet.
    pub(super) const fn at(position: usize) -> Self {
        Self { letters: Vec::new(), start: position, end: position }
    }

    /// What it says, without its quotes.
    #[must_use]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.letters.iter().map(|letter| letter.byte).collect()
    }

    /// Its letters, and whether each was quoted.
    pub(super) fn letters(&self) -> impl Iterator<Item = (u8, bool)> {
        self.letters.iter().map(|letter| (letter.byte, letter.quoted))
    }

    /// Where it begins in its line.
    pub(super) const fn start(&self) -> usize {
        self.start
    }

    /// Where it ends in its line.
    pub(super) const fn end(&self) -> usize {
        self.end
    }

    /// Whether it looks like an option: a hyphen that is not quoted, and more.
    pub(super) fn is_option(&self) -> bool {
        matches!(*self.letters, [Letter { byte: b'-', quoted: false }, _, ..])
    }
}

impl From<&[u8]> for Word {
    /// A word that stands for itself.
    fn from(bytes: &[u8]) -> Self {
        let letters = bytes.iter().map(|byte| Letter { byte: *byte, quoted: true }).collect();
        Self { letters, start: 0, end: bytes.len() }
    }
}

/// A word written so that [`split`] reads it as it is, within this quote if one is open.
pub(super) fn quote(text: &str, open: Option<Open>) -> String {
    let mut out = String::with_capacity(text.len());
    match open {
        Some(Open::Quote(b'\'')) => {
            out.push('\'');
            // Within these nothing can be escaped: they are closed for it.
            out.push_str(&text.replace('\'', r"'\''"));
        }
        Some(Open::Quote(_)) => {
            out.push('"');
            for c in text.chars() {
                if matches!(c, '"' | '\\' | '$' | '`') {
                    out.push('\\');
                }
                out.push(c);
            }
        }
        Some(Open::Backslash) | None => {
            for (at, c) in text.char_indices() {
                let is_special = matches!(c, ' ' | '\t' | '"' | '\'' | '\\' | '*' | '?' | '[');
                if is_special || (c == '-' && at == 0) {
                    out.push('\\');
                }
                out.push(c);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(line: &str) -> Result<Vec<String>, String> {
        let words = split(line.as_bytes())?;
        Ok(words.iter().map(|word| String::from_utf8(word.bytes()).unwrap()).collect())
    }

    #[test]
    fn words_are_those_of_a_shell() {
        let cases: [(&str, &[&str]); 9] = [
            ("", &[]),
            (" \t", &[]),
            ("dl  a.mp3\tb ", &["dl", "a.mp3", "b"]),
            ("dl 'a b' \"c d\" e\\ f", &["dl", "a b", "c d", "e f"]),
            (r#"a'b'"c"\d"#, &["abcd"]),
            (r#""a\"b\\c\d" 'e\f'"#, &[r#"a"b\c\d"#, r"e\f"]),
            ("'' \"\"", &["", ""]),
            ("a\\", &["a\\"]),
            ("#1 a#b", &["#1", "a#b"]),
        ];
        for (line, words) in cases {
            assert_eq!(texts(line).unwrap(), words, "{line}");
        }
    }

    #[test]
    fn an_open_quote_is_named() {
        assert!(split(b"put it's").unwrap_err().contains("not closed: '"));
        assert!(split(b"put \"a").unwrap_err().contains("write \\\""));
    }

    #[test]
    fn options_are_words_that_are_not_quoted() {
        let of = |line: &[u8]| split(line).unwrap()[0].is_option();
        assert!(of(b"-l") && of(b"--to"));
        assert!(!of(b"-") && !of(b"\\-l") && !of(b"'-l'") && !of(b"a-l"));
    }

    proptest! {
        #[test]
        fn a_shell_would_say_the_same(line in r#"[ab'"\\$` \t*]{0,16}"#) {
            prop_assert_eq!(texts(&line).ok(), shell_words::split(&line).ok());
        }

        #[test]
        fn any_bytes_are_taken_apart(line in prop::collection::vec(any::<u8>(), 0..64)) {
            let scan = scan(&line);
            let mut last = 0;
            for word in &scan.words {
                prop_assert!(last <= word.start && word.start <= word.end && word.end <= line.len());
                last = word.end;
            }
        }

        #[test]
        fn what_is_quoted_is_read_as_it_was(text in any::<String>(), open in 0..3) {
            prop_assume!(!text.is_empty() && !text.contains('\n'));
            let open = [None, Some(Open::Quote(b'"')), Some(Open::Quote(b'\''))][open as usize];
            let close = match open {
                Some(Open::Quote(quote)) => char::from(quote).to_string(),
                _ => String::new(),
            };
            prop_assert_eq!(texts(&(quote(&text, open) + &close)).unwrap(), [text]);
        }
    }
}
