//! The flags that limit what clients may have done.

use clap::Args;
use session::{Limits, MAX_STREAM_COUNT, MAX_STREAM_RATE, StreamLimits};

use crate::units;

/// What a server takes in and gives at most. Each refusal names the flag that it is because of.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitFlags {
    /// The largest file to take: 4096, 100k, 1.5GB, 4GiB [default: what fits on the disk]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    max_file_size: Option<u64>,
    /// The most to take in altogether, from all clients, until the server ends [default: what fits on the disk]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    max_total: Option<u64>,
    /// Refuse what would leave less than this free on the disk of --dir [default: 0]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    min_free: Option<u64>,
    /// The most characters of a file that a client may have made up: 1000, 100k, 123456789
    #[arg(long, value_name = "N", default_value = "123456789", value_parser = units::parse_size)]
    pub(super) max_generate: u64,
    /// The most packets of a stream, up to 1000000; with 0 there are no streams
    #[arg(long, value_name = "N", default_value_t = MAX_STREAM_COUNT, value_parser = clap::value_parser!(u64).range(..=MAX_STREAM_COUNT))]
    max_stream_count: u64,
    /// The most that a stream may be, up to 100mbit: 20mbit, 800kbit, 64000 (bits a second)
    #[arg(long, value_name = "RATE", default_value = "100mbit", value_parser = parse_stream_rate)]
    max_stream_rate: u64,
}

impl LimitFlags {
    /// What a store takes in.
    pub(super) const fn of_store(&self) -> Limits {
        Limits { max_file_len: self.max_file_size, max_total: self.max_total, min_free: self.min_free }
    }

    /// What streams are sent.
    pub(super) const fn of_streams(&self) -> StreamLimits {
        StreamLimits { max_count: self.max_stream_count, max_rate: self.max_stream_rate }
    }
}

fn parse_stream_rate(text: &str) -> Result<u64, String> {
    match units::parse_rate(text)? {
        rate if rate > MAX_STREAM_RATE => Err(format!("{text} is too fast: the most of a stream is 100mbit")),
        rate => Ok(rate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_a_most() {
        assert_eq!(parse_stream_rate("64kbit"), Ok(64_000));
        assert_eq!(parse_stream_rate("100mbit"), Ok(MAX_STREAM_RATE));
        for bad in ["100000001", "1gbit", "1", "x"] {
            assert!(parse_stream_rate(bad).is_err(), "{bad}");
        }
    }
}
