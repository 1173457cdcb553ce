//! Sizes, rates and times, as people write and read them.

use std::time::Duration;

/// Decimal units of a size, largest first.
const UNITS: [(f64, &str); 4] = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
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

/// Reads a size: `4096`, `100k`, `1.5GB`, `4GiB`. One letter or with a B is decimal, with an i it is binary.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size: write it like 4096, 100k, 1.5GB or 4GiB");
    let digits_end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let unit = unit.trim_start().to_ascii_lowercase();
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
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // At most 18 digits after the point, so that the product fits.
    if whole.is_empty() || fraction.len() > 18 || fraction.contains('.') {
        return Err(wrong());
    }
    let too_much = || format!("{text} is too large: the most is {}", u64::MAX);
    let whole: u64 = whole.parse().map_err(|_| too_much())?;
    let fraction = match fraction {
        "" => 0,
        _ => {
            let scale = 10_u128.pow(fraction.len() as u32);
            fraction.parse::<u128>().map_err(|_| wrong())? * factor / scale
        }
    };
    u64::try_from(u128::from(whole) * factor + fraction).map_err(|_| too_much())
}

/// Reads a time: `500ms`, `30s`, `1.5m`, `2h`, or `0`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time: write it like 500ms, 30s, 2m or 0");
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
    fn things_are_counted() {
        assert_eq!(count(1, "directory", "directories"), "1 directory");
        assert_eq!(count(0, "file", "files"), "0 files");
    }
}
