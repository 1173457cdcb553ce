//! What is said of bytes that no protocol guards.

use std::ffi::OsStr;
use std::time::Duration;

use framing::Digest;
use serde_json::{Value, json};
use session::raw::Kept;

use crate::report::{label, line};
use crate::{escape, json, units};

/// What a stream without a protocol can't promise.
pub(crate) const OF_STREAMS: &str = "raw: no checksum crosses the link, a broken stream is not taken up again, nothing is \
                                     encrypted; compare the MD5 yourself";
/// What datagrams without a protocol can't promise.
pub(crate) const OF_DATAGRAMS: &str = "raw: no checksum crosses the link, nothing that got lost is sent again or missed, nothing is \
                                       encrypted; compare the MD5 yourself";

/// What came or went, on either side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved<'a> {
    /// The name of the file, on this side; `-` for what came from standard input.
    pub(crate) name: &'a OsStr,
    /// Bytes.
    pub(crate) len: u64,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// Datagrams, where there were any.
    pub(crate) datagrams: Option<u64>,
    /// Its MD5.
    pub(crate) digest: Digest,
}

impl<'a> Moved<'a> {
    /// A file that a server has kept, which came in datagrams or not.
    pub(crate) fn kept(kept: &'a Kept, in_datagrams: bool) -> Self {
        let (name, elapsed) = (kept.path.as_os_str(), kept.elapsed);
        let datagrams = in_datagrams.then_some(kept.pieces);
        Self { name, len: kept.len, elapsed, datagrams, digest: kept.digest }
    }

    /// Two lines for a person: `verb` says what was done, `tail` with whom.
    pub(crate) fn lines(&self, verb: &str, tail: String) -> String {
        let parts = [
            Some(escape::name(self.name)),
            Some(format!("{} in {}", units::size(self.len), units::time(self.elapsed))),
            units::rate(self.len, self.elapsed),
            self.datagrams.map(|datagrams| units::count(datagrams, "datagram", "datagrams")),
            Some(tail),
        ];
        format!("{}\n{}{}   here", line(verb, parts), label(self.digest.checksum().name()), self.digest)
    }

    /// The object for a script.
    pub(crate) fn object(&self, side: &str, peer: &str) -> Value {
        let mut object = json::event("raw");
        object.insert("side".to_owned(), side.into());
        object.insert("peer".to_owned(), peer.into());
        json::put_name(&mut object, "name", self.name);
        let fields = json!({
            "bytes": self.len,
            "seconds": json::seconds(self.elapsed),
            "bytes_per_second": json::rate(self.len, self.elapsed),
            "checksum": self.digest.checksum().name(),
            "here": self.digest.to_string(),
        });
        if let Value::Object(fields) = fields {
            object.extend(fields);
        }
        if let Some(datagrams) = self.datagrams {
            object.insert("datagrams".to_owned(), datagrams.into());
        }
        object.into()
    }
}
