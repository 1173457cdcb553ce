//! A cursor over bytes from the network, and the way back.

/// Why bytes are not the message that they claim to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end in the middle of a field.
    #[error("a message is cut short")]
    Short,
    /// Bytes are left over behind the last field.
    #[error("a message has {0} bytes too many")]
    Trailing(usize),
    /// A kind of message that this version does not have.
    #[error("unknown message kind {0:#04x}")]
    UnknownMessage(u8),
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

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
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
