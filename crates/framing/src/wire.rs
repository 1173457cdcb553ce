//! A cursor over bytes from the network, and the way back.

/// Why bytes are not the message that they claim to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end in the middle of a field.
    #[error("a field is cut short")]
    Short,
    /// Bytes are left over behind the last field.
    #[error("a message has {0} bytes too many")]
    Trailing(usize),
    /// A kind of message that this version does not have.
    #[error("unknown message kind {0:#04x}")]
    UnknownMessage(u8),
    /// A type of frame in a packet that this version does not have.
    #[error("unknown frame type {0:#04x}")]
    UnknownFrame(u8),
    /// A number that names nothing in the field it stands in.
    #[error("{value} is not a valid {field}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What stood there.
        value: u64,
    },
    /// A length above the field's limit.
    #[error("a {field} of {value} bytes, more than the limit of {limit}")]
    TooLong {
        /// The field.
        field: &'static str,
        /// What stood there.
        value: u64,
        /// The most it may be.
        limit: u64,
    },
    /// Text that is not UTF-8.
    #[error("a {0} is not UTF-8")]
    NotText(&'static str),
}

/// Reads fields one behind the other, and refuses what is cut short or left over.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(crate) const fn len(&self) -> usize {
        self.rest.len()
    }

    /// The byte that comes next, without taking it.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.rest.len())) }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, WireError> {
        self.array().map(i64::from_be_bytes)
    }

    /// A 16-bit length and as many bytes, at most `limit`.
    pub(crate) fn counted(&mut self, field: &'static str, limit: usize) -> Result<&'a [u8], WireError> {
        let len = usize::from(self.u16()?);
        if len > limit {
            return Err(WireError::TooLong { field, value: len as u64, limit: limit as u64 });
        }
        self.bytes(len)
    }

    /// The same, as text.
    pub(crate) fn text(&mut self, field: &'static str, limit: usize) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.counted(field, limit)?).map_err(|_| WireError::NotText(field))
    }
}

/// Appends a 16-bit length and as many bytes; what is over `limit` is left off, at a character's end in text.
pub(crate) fn put_counted(out: &mut Vec<u8>, bytes: &[u8], limit: usize) {
    let bytes = &bytes[..bytes.len().min(limit).min(usize::from(u16::MAX))];
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Appends text in the same form, cut at a character when it is over `limit` bytes.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str, limit: usize) {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    put_counted(out, &text.as_bytes()[..end], limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind of field, one behind the other.
    const FIELDS: [u8; 33] = [
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0x00, 0x03, b'a', 0xff, b'c', 0x00, 0x03, b'x', 0xc3, 0xa4,
    ];

    type Fields<'a> = (u8, u16, u32, u64, i64, &'a [u8], &'a str);

    fn read(bytes: &[u8]) -> Result<Fields<'_>, WireError> {
        let mut reader = Reader::new(bytes);
        let fields = (
            reader.u8()?,
            reader.u16()?,
            reader.u32()?,
            reader.u64()?,
            reader.i64()?,
            reader.counted("path", 3)?,
            reader.text("reason", 3)?,
        );
        reader.finish()?;
        Ok(fields)
    }

    #[test]
    fn parse() {
        let fields = (1, 0x0203, 0x0405_0607, 0x0809_0a0b_0c0d_0e0f, -2, &b"a\xffc"[..], "xä");
        assert_eq!(read(&FIELDS), Ok(fields));
    }

    #[test]
    fn emit() {
        let mut out = FIELDS[..23].to_vec();
        put_counted(&mut out, b"a\xffc", 3);
        put_text(&mut out, "xä", 3);
        assert_eq!(out, FIELDS);
    }

    #[test]
    fn every_truncated_prefix_is_refused() {
        for cut in 0..FIELDS.len() {
            assert_eq!(read(&FIELDS[..cut]), Err(WireError::Short), "{cut} bytes");
        }
    }

    #[test]
    fn trailing_bytes_are_refused() {
        for extra in 1..5 {
            let bytes = [&FIELDS[..], &vec![0; extra]].concat();
            assert_eq!(read(&bytes), Err(WireError::Trailing(extra)));
        }
    }

    /// The count alone is enough to refuse: nothing has to come, and nothing is taken for it.
    #[test]
    fn a_count_over_its_limit_is_refused_before_its_bytes_come() {
        let too_long = |value| Err(WireError::TooLong { field: "path", value, limit: 3 });
        assert_eq!(Reader::new(&[0, 4]).counted("path", 3), too_long(4));
        assert_eq!(Reader::new(&[0xff, 0xff]).counted("path", 3), too_long(0xffff));
        assert_eq!(Reader::new(&[0, 3]).counted("path", 3), Err(WireError::Short));
        assert_eq!(Reader::new(&[0, 4]).text("path", 3).map(str::as_bytes), too_long(4));
    }

    #[test]
    fn text_is_utf8() {
        assert_eq!(Reader::new(b"\0\x02\xc3\x28").text("reason", 3), Err(WireError::NotText("reason")));
        assert_eq!(Reader::new(b"\0\x01\xc3").text("reason", 3), Err(WireError::NotText("reason")));
        assert_eq!(Reader::new(b"\0\x00").text("reason", 3), Ok(""));
    }

    #[test]
    fn what_is_over_the_limit_is_left_off() {
        let counted = |bytes: &[u8], limit| {
            let mut out = Vec::new();
            put_counted(&mut out, bytes, limit);
            out
        };
        assert_eq!(counted(b"abcd", 3), b"\0\x03abc");
        let long = vec![7; 70_000];
        assert_eq!(counted(&long, 70_000)[..2], [0xff, 0xff]);
        assert_eq!(counted(&long, 70_000).len(), 2 + 0xffff);
    }

    #[test]
    fn text_is_cut_at_a_character() {
        let text = |text: &str, limit| {
            let mut out = Vec::new();
            put_text(&mut out, text, limit);
            out.split_off(2)
        };
        assert_eq!(text("aä€", 6), "aä€".as_bytes());
        assert_eq!(text("aä€", 5), "aä".as_bytes());
        assert_eq!(text("aä€", 4), "aä".as_bytes());
        assert_eq!(text("aä€", 3), "aä".as_bytes());
        assert_eq!(text("aä€", 2), b"a");
        assert_eq!(text("ä", 1), b"");
    }

    #[test]
    fn the_rest_is_taken_once() {
        let mut reader = Reader::new(b"abc");
        assert_eq!(reader.bytes(1), Ok(&b"a"[..]));
        assert!(!reader.is_empty());
        assert_eq!(reader.rest(), b"bc");
        assert!(reader.is_empty());
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn errors_say_what_was_wrong() {
        let said = |error: WireError| error.to_string();
        assert_eq!(said(WireError::Short), "a field is cut short");
        assert_eq!(said(WireError::Trailing(3)), "a message has 3 bytes too many");
        assert_eq!(said(WireError::UnknownMessage(16)), "unknown message kind 0x10");
        assert_eq!(said(WireError::UnknownFrame(10)), "unknown frame type 0x0a");
        assert_eq!(said(WireError::Invalid { field: "part", value: 9 }), "9 is not a valid part");
        assert_eq!(
            said(WireError::TooLong { field: "path", value: 4097, limit: 4096 }),
            "a path of 4097 bytes, more than the limit of 4096"
        );
        assert_eq!(said(WireError::NotText("reason")), "a reason is not UTF-8");
    }
}
