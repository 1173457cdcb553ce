//! The lines of a pipe.

use std::io::{self, BufRead};

use super::grammar::MAX_LINE_LEN;

/// Takes lines from a stream, and keeps no more of one than a line may have.
#[derive(Debug)]
pub(super) struct Lines<R>(R);

/// A line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// All of it.
    Whole(Vec<u8>),
    /// It had so many bytes, and is gone.
    TooLong(u64),
}

impl<R: BufRead> Lines<R> {
    pub(super) const fn new(input: R) -> Self {
        Self(input)
    }

    /// The next line: `None` at the end of the stream. What follows the last line's end is a line too, if it is something.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        let mut len: u64 = 0;
        loop {
            let bytes = match self.0.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                bytes => bytes?,
            };
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            // One byte more may be the other half of the line's end.
            let room = MAX_LINE_LEN + 1 - line.len();
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            len += piece.len() as u64;
            let is_over = end.is_some() || bytes.is_empty();
            let used = piece.len() + usize::from(end.is_some());
            self.0.consume(used);
            if is_over {
                return Ok((len > 0 || end.is_some()).then(|| finish(line, len)));
            }
        }
    }
}

fn finish(mut line: Vec<u8>, mut len: u64) -> Line {
    if line.len() as u64 == len && line.last() == Some(&b'\r') {
        line.pop();
        len -= 1;
    }
    if len > MAX_LINE_LEN as u64 { Line::TooLong(len) } else { Line::Whole(line) }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    fn lines(input: impl Read) -> Vec<Line> {
        let mut lines = Lines::new(BufReader::with_capacity(7, input));
        std::iter::from_fn(|| lines.next().unwrap()).collect()
    }

    fn whole(text: &str) -> Line {
        Line::Whole(text.into())
    }

    #[test]
    fn a_line_is_what_an_end_of_line_ends() {
        assert_eq!(lines(&b""[..]), []);
        assert_eq!(lines(&b"\n"[..]), [whole("")]);
        assert_eq!(lines(&b"a\n\nlonger than seven\nb"[..]), ["a", "", "longer than seven", "b"].map(whole));
        assert_eq!(lines(&b"a\r\nb\rc\r\n\r\n"[..]), ["a", "b\rc", ""].map(whole));
        assert_eq!(lines(&b"\xff\0\n"[..]), [Line::Whole(b"\xff\0".to_vec())]);
    }

    #[test]
    fn a_line_that_is_too_long_is_counted_and_gone() {
        let most = vec![b'x'; MAX_LINE_LEN];
        let longer = vec![b'x'; 1 << 20];
        let input = [&most[..], b"\r\n", &most, b"x\n", &longer, b"\nls"].concat();
        assert_eq!(
            lines(&input[..]),
            [Line::Whole(most), Line::TooLong(MAX_LINE_LEN as u64 + 1), Line::TooLong(1 << 20), whole("ls")]
        );
    }
}
