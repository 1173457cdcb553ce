//! The table of the result.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use framing::Digest;
use lab::Transport;

use crate::{md5, received_name};

/// Columns of the table.
const COLUMNS: usize = 8;

/// One file on both sides.
#[derive(Debug)]
pub(crate) struct Row {
    transport: Transport,
    file: String,
    received: String,
    bytes: u64,
    elapsed: Duration,
    here: Digest,
    /// `None` when it did not arrive.
    there: Option<Digest>,
}

impl Row {
    /// Looks at a file on both sides; its client ran for so long.
    pub(crate) fn new(
        transport: Transport,
        file: &Path,
        source: &Path,
        received: &Path,
        elapsed: Duration,
    ) -> anyhow::Result<Self> {
        let (bytes, here) = md5(source).with_context(|| format!("cannot read {}", source.display()))?;
        let there = md5(received).ok().map(|(_, digest)| digest);
        let received = received_name(file)?.to_string_lossy().into_owned();
        Ok(Self { transport, file: file.display().to_string(), received, bytes, elapsed, here, there })
    }

    /// Whether it arrived as it was sent.
    pub(crate) fn is_same(&self) -> bool {
        self.there == Some(self.here)
    }

    /// A line for `md5sum -c` that holds when the received file is the source.
    pub(crate) fn md5sum_line(&self) -> String {
        format!("{}  {}/{}\n", self.here, self.transport, self.received)
    }

    /// The row as an object.
    pub(crate) fn object(&self) -> serde_json::Value {
        serde_json::json!({
            "event": "here",
            "over": self.transport.to_string(),
            "file": self.file,
            "bytes": self.bytes,
            "seconds": self.elapsed.as_secs_f64(),
            "md5_source": self.here.to_string(),
            "md5_receiver": self.there.map(|there| there.to_string()),
            "md5_same": self.is_same(),
        })
    }

    fn cells(&self) -> [String; COLUMNS] {
        let seconds = self.elapsed.as_secs_f64();
        let verdict = match self.there {
            Some(there) if there == self.here => "same",
            Some(_) => "DIFFERS",
            None => "MISSING",
        };
        [
            self.transport.to_string(),
            self.file.clone(),
            self.bytes.to_string(),
            format!("{seconds:.3}"),
            format!("{:.1}", self.bytes as f64 / 1e6 / seconds),
            self.here.to_string(),
            self.there.map_or_else(|| "-".to_owned(), |there| there.to_string()),
            verdict.to_owned(),
        ]
    }
}

/// The rows as text, with a head; numbers to the right.
pub(crate) fn text(rows: &[Row]) -> String {
    let head = ["", "file", "bytes", "seconds", "MB/s", "md5 at the source", "md5 at the receiver", ""];
    let lines: Vec<[String; COLUMNS]> =
        [head.map(str::to_owned)].into_iter().chain(rows.iter().map(Row::cells)).collect();
    let mut widths = [0; COLUMNS];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for line in &lines {
        let cells = line.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
            if matches!(column, 2..=4) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use framing::{Checksum, Hasher};

    use super::*;

    fn row(there: Option<&[u8]>) -> Row {
        Row {
            transport: Transport::Udp,
            file: "testdata/song.mp3".to_owned(),
            received: "received-song.mp3".to_owned(),
            bytes: 1_500_000,
            elapsed: Duration::from_millis(10),
            here: Hasher::digest(Checksum::Md5, b""),
            there: there.map(|bytes| Hasher::digest(Checksum::Md5, bytes)),
        }
    }

    #[test]
    fn the_table_has_a_verdict_for_each() {
        let text = text(&[row(Some(b"")), row(Some(b"x")), row(None)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "     file                 bytes  seconds   MB/s  md5 at the source                 md5 at the receiver"
        );
        assert_eq!(
            lines[1],
            "udp  testdata/song.mp3  1500000    0.010  150.0  d41d8cd98f00b204e9800998ecf8427e  \
             d41d8cd98f00b204e9800998ecf8427e  same"
        );
        assert!(lines[2].ends_with("  DIFFERS"), "{text}");
        assert!(lines[3].ends_with("  MISSING"), "{text}");
        assert_eq!(
            [row(Some(b"")), row(Some(b"x")), row(None)].map(|row| row.is_same()),
            [true, false, false]
        );
    }

    #[test]
    fn sums_are_as_md5sum_reads_them() {
        assert_eq!(row(None).md5sum_line(), "d41d8cd98f00b204e9800998ecf8427e  udp/received-song.mp3\n");
    }
}
