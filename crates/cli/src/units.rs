//! Sizes, rates and times, as people write and read them.

use std::time::Duration;

/// Decimal units of a size, largest first.
const UNITS: [(f64, &str); 4] = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
/// The least and the most bits per second that can be typed: a packet takes a second at the least.
const RATES: std::ops::RangeInclusive<u64> = 10_000..=1_000_000_000_000;
/// The longest time that can be typed.
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 3600);

/// `3.1 MB`: a size in decimal units.
pub(crate) fn size(bytes: u64) -> String {
    // From here on it rounds to 1.0 of the next unit.
    scaled(bytes as f64, 0.999_95, |_| 1)
}

/// `155 MB/s`: so many bytes in that time. Nothing when there is no time or nothing moved.
pub(crate) fn rate(bytes: u64, time: Duration) -> Option<String> {
    per_second(bytes, time)
        .map(|rate| format!("{}/s", scaled(rate, 0.9995, |scaled| usize::from(scaled < 9.95))))
}

/// Bytes per second, when that means anything.
pub(crate) fn per_second(bytes: u64, time: Duration) -> Option<f64> {
    (bytes > 0 && !time.is_zero()).then(|| bytes as f64 / time.as_secs_f64())
}

/// `0.02 s`, `3 min 20 s`: a time.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let whole = (time + Duration::from_millis(500)).as_secs();
    match seconds {
        _ if seconds < 0.000_95 => "0.001 s".to_owned(),
        _ if seconds < 0.009_95 => format!("{seconds:.3} s"),
        _ if seconds < 0.995 => format!("{seconds:.2} s"),
        _ if seconds < 59.95 => format!("{seconds:.1} s"),
        _ if whole < 3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

/// `2 files`: a number of things.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// `1.02 %`: what `part` is of `whole`.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let percent = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    match percent {
        _ if part == 0 => "0 %".to_owned(),
        _ if percent < 0.005 => "<0.01 %".to_owned(),
        _ if percent < 9.995 => format!("{percent:.2} %"),
        _ => format!("{percent:.1} %"),
    }
}

/// `104.2 ms`: a round-trip time.
pub(crate) fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    let decimals = if millis < 9.995 { 2 } else { 1 };
    format!("{millis:.decimals$} ms")
}

/// A unit of short times, and how many digits tell two of them apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeUnit {
    nanos: f64,
    name: &'static str,
    decimals: usize,
}

/// Units of short times, largest first.
const TIME_UNITS: [(u64, &str); 3] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];

impl TimeUnit {
    /// The one for times up to `most` that differ by `step`, a round number.
    pub(crate) fn of(most: u64, step: u64) -> Self {
        let (nanos, name) = TIME_UNITS.into_iter().find(|(nanos, _)| most >= *nanos).unwrap_or((1_000, "us"));
        let mut decimals = 0;
        // Steps are 1, 2 or 5 of a power of ten.
        while decimals < 9 && !(step * 10_u64.pow(decimals)).is_multiple_of(nanos) {
            decimals += 1;
        }
        Self { nanos: nanos as f64, name, decimals: decimals as usize }
    }

    /// A time of so many nanoseconds.
    pub(crate) fn show(self, nanos: u64) -> String {
        format!("{:.*}", self.decimals, nanos as f64 / self.nanos)
    }

    pub(crate) const fn name(self) -> &'static str {
        self.name
    }
}

/// `0.41 ms`, `98.8 us`: a short time of so many nanoseconds, with three digits.
pub(crate) fn nanos(nanos: u64) -> String {
    // From here on it rounds to the next unit.
    let found = TIME_UNITS.into_iter().find(|(unit, _)| nanos as f64 >= *unit as f64 * 0.1);
    let (unit, name) = found.unwrap_or((1_000, "us"));
    let scaled = nanos as f64 / unit as f64;
    let decimals = match scaled {
        _ if scaled < 9.995 => 2,
        _ if scaled < 99.95 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$} {name}")
}

/// `10 ms`, `23.84 us`: a time that somebody chose, to the nanosecond.
pub(crate) fn interval(nanos: u64) -> String {
    let (unit, name) = TIME_UNITS.into_iter().find(|(unit, _)| nanos >= *unit).unwrap_or((1, "ns"));
    let shown = format!("{:.9}", nanos as f64 / unit as f64);
    format!("{} {name}", shown.trim_end_matches('0').trim_end_matches('.'))
}

/// Reads a time between two packets, in nanoseconds: as [`parse_duration`], and `500us` or `20000ns`.
pub(crate) fn parse_interval(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let factor = match unit.as_str() {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        _ => {
            let wrong = |_| format!("{text:?} is not a time: write it like 10ms, 500us or 1s");
            let long = |_| format!("{text} is too long");
            return u64::try_from(parse_duration(text).map_err(wrong)?.as_nanos()).map_err(long);
        }
    };
    let scaled = scale(number, factor)
        .ok_or_else(|| format!("{text:?} is not a time: write it like 10ms, 500us or 1s"))?;
    u64::try_from(scaled).map_err(|_| format!("{text} is too long"))
}

/// A share from 0 to 1 in percent, always four columns wide, for a line that is drawn again and again.
pub(crate) fn narrow_percent(share: f64) -> String {
    let percent = if share.is_finite() { share.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
    let decimals = usize::from(percent < 9.95);
    format!("{:>4}", format!("{percent:.decimals$}%"))
}

/// A round-trip time, always six columns wide, for a line that is drawn again and again.
pub(crate) fn narrow_millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    let text = match millis {
        _ if millis < 9.95 => format!("{millis:.1} ms"),
        _ if millis < 999.5 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", (millis / 1e3).min(99.9)),
    };
    format!("{text:>6}")
}

/// Reads a size: `4096`, `100k`, `1.5GB`, `4GiB`. One letter or with a B is decimal, with an i it is binary.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size: write it like 4096, 100k, 1.5GB or 4GiB");
    let (number, unit) = split_unit(text);
    let factor: u128 = match unit.as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    let scaled = scale(number, factor).ok_or_else(wrong)?;
    u64::try_from(scaled).map_err(|_| format!("{text} is too large: the most is {}", u64::MAX))
}

/// Reads a rate in bits per second: `20mbit`, `1.5gbit`, `800kbit`, `2500000`. Units are decimal.
///
/// `20M` and `20Mbps` are refused: programs disagree on whether they mean bits or bytes.
pub(crate) fn parse_rate(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!("{text:?} is not a rate: write it like 20mbit, 1.5gbit, 800kbit or 2500000, in bits a second")
    };
    let (number, unit) = split_unit(text);
    let factor = match unit.trim_end_matches("/s") {
        "" | "bit" => 1,
        "kbit" => 1_000,
        "mbit" => 1_000_000,
        "gbit" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    let rate = u64::try_from(scale(number, factor).ok_or_else(wrong)?).unwrap_or(u64::MAX);
    match rate {
        _ if rate > *RATES.end() => Err(format!("{text} is too fast: the most is 1000gbit")),
        _ if rate >= *RATES.start() => Ok(rate),
        1.. if factor == 1 => {
            Err(format!("{rate} bits a second is too slow: the least is 10kbit; {rate}mbit?"))
        }
        _ => Err(format!("{text} is too slow: the least is 10kbit")),
    }
}

/// The number of a text, and its unit in small letters.
fn split_unit(text: &str) -> (&str, String) {
    let digits_end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    (number, unit.trim_start().to_ascii_lowercase())
}

/// A number with or without a point, so many times: `None` when it is none.
fn scale(number: &str, factor: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // At most 18 digits after the point, so that the product fits.
    if whole.is_empty() || fraction.len() > 18 || fraction.contains('.') {
        return None;
    }
    // Only too many digits go wrong here, and that is too much in any unit.
    let whole: u128 = whole.parse().unwrap_or(u128::MAX);
    let fraction = match fraction {
        "" => 0,
        _ => fraction.parse::<u128>().ok()? * factor / 10_u128.pow(fraction.len() as u32),
    };
    Some(whole.saturating_mul(factor).saturating_add(fraction))
}

/// Reads a time: `500ms`, `30s`, `1.5m`, `2h`, or `0`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time: write it like 500ms, 30s or 2m");
    let digits_end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    // Digits and points only: no sign, no exponent, no infinity.
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit.trim_start() {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "" if number == 0.0 => 0.0,
        _ => return Err(wrong()),
    };
    match Duration::try_from_secs_f64(number * factor) {
        Ok(duration) if duration <= MAX_DURATION => Ok(duration),
        _ => Err(format!("{text} is too long: the most is {} h", MAX_DURATION.as_secs() / 3600)),
    }
}

fn scaled(bytes: f64, from: f64, decimals: impl Fn(f64) -> usize) -> String {
    for (unit, name) in UNITS {
        let scaled = bytes / unit;
        if scaled >= from {
            let decimals = decimals(scaled);
            return format!("{scaled:.decimals$} {name}");
        }
    }
    format!("{bytes:.0} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal() {
        let cases = [
            (0, "0 B"),
            (1, "1 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (4_096, "4.1 kB"),
            (999_940, "999.9 kB"),
            (999_960, "1.0 MB"),
            (3_100_000, "3.1 MB"),
            (40_000_000, "40.0 MB"),
            (5_368_709_120, "5.4 GB"),
            (1_500_000_000_000, "1.5 TB"),
            (u64::MAX, "18446744.1 TB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn rates_have_few_digits() {
        let of = |bytes, millis| rate(bytes, Duration::from_millis(millis));
        assert_eq!(of(3_100_000, 20).as_deref(), Some("155 MB/s"));
        assert_eq!(of(3_100_000, 1_000).as_deref(), Some("3.1 MB/s"));
        assert_eq!(of(9_960_000, 1_000).as_deref(), Some("10 MB/s"));
        assert_eq!(of(1_300_000_000, 1_000).as_deref(), Some("1.3 GB/s"));
        assert_eq!(of(999_600_000, 1_000).as_deref(), Some("1.0 GB/s"));
        assert_eq!(of(12, 1_000).as_deref(), Some("12 B/s"));
        assert_eq!(of(0, 1_000), None);
        assert_eq!(of(12, 0), None);
    }

    #[test]
    fn times_grow_units() {
        let cases = [
            (0, "0.001 s"),
            (4, "0.004 s"),
            (20, "0.02 s"),
            (994, "0.99 s"),
            (996, "1.0 s"),
            (1_234, "1.2 s"),
            (59_900, "59.9 s"),
            (59_990, "1 min 0 s"),
            (200_000, "3 min 20 s"),
            (3_599_600, "1 h 0 min"),
            (7_500_000, "2 h 5 min"),
        ];
        for (millis, text) in cases {
            assert_eq!(time(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn sizes_are_read() {
        let good = [
            ("0", 0),
            ("4096", 4096),
            ("100k", 100_000),
            ("100 kB", 100_000),
            ("1.5G", 1_500_000_000),
            ("1.5GiB", 1_610_612_736),
            ("4Ki", 4096),
            ("2TiB", 2 << 40),
            ("18446744073709551615", u64::MAX),
            ("0.0001k", 0),
        ];
        for (text, bytes) in good {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "k", "-1", "1e3", "1.2.3", ".5", "1x", "1kbit", "∞", "0.1234567890123456789"] {
            assert!(parse_size(text).unwrap_err().contains("is not a size"), "{text}");
        }
        for text in ["18446744073709551616", "16777216TiB", "99999999999999999999999999T", "18446744.1T"] {
            assert!(parse_size(text).unwrap_err().contains("too large"), "{text}");
        }
    }

    #[test]
    fn rates_of_a_line_are_read() {
        let good = [
            ("20mbit", 20_000_000),
            ("20 Mbit/s", 20_000_000),
            ("1.5gbit", 1_500_000_000),
            ("800kbit", 800_000),
            ("2500000", 2_500_000),
            ("10000bit", 10_000),
            ("0.01mbit", 10_000),
            ("1000gbit", 1_000_000_000_000),
        ];
        for (text, bits) in good {
            assert_eq!(parse_rate(text), Ok(bits), "{text}");
        }
        for text in [
            "",
            "mbit",
            "-1mbit",
            "20M",
            "20MB",
            "20Mbps",
            "20mbits",
            "1e6",
            "1.2.3mbit",
            ".5gbit",
            "∞",
            "fast",
        ] {
            assert!(parse_rate(text).unwrap_err().contains("is not a rate: write it like 20mbit"), "{text}");
        }
        assert_eq!(
            parse_rate("20").unwrap_err(),
            "20 bits a second is too slow: the least is 10kbit; 20mbit?"
        );
        for text in ["0", "0mbit", "9999", "9kbit", "0.000001gbit"] {
            assert!(parse_rate(text).unwrap_err().contains("too slow"), "{text}");
        }
        for text in ["1001gbit", "99999999999999999999999999999999999999999999gbit", "1000000000001"] {
            assert!(parse_rate(text).unwrap_err().contains("too fast"), "{text}");
        }
    }

    #[test]
    fn shares_have_few_digits() {
        let cases = [
            (0, 0, "0 %"),
            (0, 9, "0 %"),
            (1, 1_000_000, "<0.01 %"),
            (102, 10_000, "1.02 %"),
            (9_994, 100_000, "9.99 %"),
            (9_996, 100_000, "10.0 %"),
            (9, 9, "100.0 %"),
        ];
        for (part, whole, text) in cases {
            assert_eq!(percent(part, whole), text);
        }
    }

    #[test]
    fn round_trips_have_few_digits() {
        let cases =
            [(40, "0.04 ms"), (9_990, "9.99 ms"), (9_996, "10.0 ms"), (104_230, "104.2 ms"), (0, "0.00 ms")];
        for (micros, text) in cases {
            assert_eq!(millis(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn what_flickers_keeps_its_width() {
        let shares = [-1.0, 0.0, 0.0102, 0.0994, 0.0996, 0.2, 0.999, 1.0, 7.0, f64::NAN, f64::INFINITY];
        for share in shares {
            assert_eq!(narrow_percent(share).len(), 4, "{share}");
        }
        assert_eq!((narrow_percent(0.0102).as_str(), narrow_percent(0.2).as_str()), ("1.0%", " 20%"));
        for micros in [0, 40, 9_940, 9_960, 100_000, 999_400, 999_600, 59_000_000, 999_000_000, u64::MAX] {
            assert_eq!(narrow_millis(Duration::from_micros(micros)).len(), 6, "{micros}");
        }
        assert_eq!(narrow_millis(Duration::from_millis(100)), "100 ms");
        assert_eq!(narrow_millis(Duration::from_micros(40)), "0.0 ms");
    }

    #[test]
    fn times_are_read() {
        let good = [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("2m", 120_000),
            ("1.5s", 1_500),
            ("1h", 3_600_000),
        ];
        for (text, millis) in good {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1e9s", "infs", "nan", "1.2.3s", "30 years"] {
            assert!(parse_duration(text).unwrap_err().contains("is not a time"), "{text}");
        }
        assert!(parse_duration("99999999999999999999999h").unwrap_err().contains("too long"));
    }

    #[test]
    fn short_times_have_three_digits() {
        let cases = [
            (0, "0.00 us"),
            (999, "1.00 us"),
            (98_765, "98.8 us"),
            (412_345, "0.41 ms"),
            (5_155_000, "5.16 ms"),
            (19_000_000, "19.0 ms"),
            (240_000_000, "0.24 s"),
            (12_300_000_000, "12.3 s"),
        ];
        for (time, text) in cases {
            assert_eq!(nanos(time), text);
        }
        let chosen = [
            (0, "0 ns"),
            (500, "500 ns"),
            (23_840, "23.84 us"),
            (10_000_000, "10 ms"),
            (1_500_000_000, "1.5 s"),
        ];
        for (time, text) in chosen {
            assert_eq!(interval(time), text);
        }
        let unit = TimeUnit::of(5_400_000, 200_000);
        assert_eq!((unit.show(4_600_000).as_str(), unit.name()), ("4.6", "ms"));
        assert_eq!(TimeUnit::of(900, 1000).show(1000), "1");
        assert_eq!(TimeUnit::of(20_000_000_000, 5_000_000_000).show(20_000_000_000), "20");
    }

    #[test]
    fn intervals_are_read() {
        let good = [
            ("10ms", 10_000_000),
            ("500us", 500_000),
            ("1.5µs", 1_500),
            ("20000ns", 20_000),
            ("1s", 1_000_000_000),
            ("0", 0),
        ];
        for (text, nanos) in good {
            assert_eq!(parse_interval(text), Ok(nanos), "{text}");
        }
        for text in ["", "10", "us", "-1ms", "1e3us", "fast"] {
            let error = parse_interval(text).unwrap_err();
            assert!(error.contains("is not a time: write it like 10ms, 500us or 1s"), "{text}: {error}");
        }
        assert!(parse_interval("99999999999999999999999us").unwrap_err().contains("too long"));
    }

    #[test]
    fn things_are_counted() {
        assert_eq!(count(1, "directory", "directories"), "1 directory");
        assert_eq!(count(0, "file", "files"), "0 files");
    }
}
