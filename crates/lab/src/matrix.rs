//! The cases of a comparison: which faults a path has, and over what is sent along it.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use netsim::FaultText;
use serde::Deserialize;

/// A way to send the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    /// `tcp-client`.
    Tcp,
    /// `udp-client --plain`: each chunk once, nothing repaired.
    Plain,
    /// `udp-client`.
    Udp,
}

impl Way {
    /// What it is called in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Plain => "plain UDP",
            Self::Udp => "reliable UDP",
        }
    }

    /// What it is called in objects and lists.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Plain => "plain",
            Self::Udp => "udp",
        }
    }
}

/// A path with faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// As flags for `netsim`, each with its value.
    pub(crate) faults: Vec<String>,
    /// Whether it names a delay of its own.
    pub(crate) is_far: bool,
}

/// The cases, and what holds for all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Matrix {
    pub(crate) cases: Vec<Case>,
    pub(crate) ways: Vec<Way>,
    /// How long one transfer may take.
    pub(crate) limit: Duration,
}

/// A file with a matrix.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    /// Faults of each case that names no others of that kind.
    #[serde(default)]
    base: String,
    /// Seconds.
    #[serde(default = "default_limit")]
    limit: f64,
    #[serde(default = "all_ways")]
    ways: Vec<Way>,
    case: Vec<PageCase>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageCase {
    name: String,
    #[serde(default)]
    faults: String,
    /// Towards the server alone.
    up: Option<String>,
    /// Back from it alone.
    down: Option<String>,
}

const fn default_limit() -> f64 {
    12.0
}

fn all_ways() -> Vec<Way> {
    vec![Way::Tcp, Way::Plain, Way::Udp]
}

/// The one that is used where no other is named; it is over in less than two minutes.
pub(crate) const DEFAULT: &str = include_str!("matrix.toml");

impl Matrix {
    /// Reads a matrix from TOML.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let page: Page = toml::from_str(text).context("this is no matrix")?;
        ensure!(!page.case.is_empty(), "a matrix needs a [[case]]");
        ensure!(!page.ways.is_empty(), "ways = [] leaves nothing to do");
        let limit = Duration::try_from_secs_f64(page.limit).ok().filter(|limit| !limit.is_zero());
        let limit = limit.context("limit is no time in seconds")?;
        let base = flags(&page.base).context("base")?;
        let cases = page.case.iter().map(|case| {
            let own = flags(&case.faults).with_context(|| format!("case {:?}", case.name))?;
            let kept = base.iter().filter(|(flag, _)| own.iter().all(|(other, _)| other != flag));
            let is_far = own.iter().any(|(flag, _)| flag == "--delay");
            let mut pairs: Vec<(String, String)> = kept.chain(&own).cloned().collect();
            for (flag, direction) in [("--up", &case.up), ("--down", &case.down)] {
                if let Some(text) = direction {
                    flags(text).with_context(|| format!("case {:?}", case.name))?;
                    pairs.push((flag.to_owned(), text.clone()));
                }
            }
            check(&pairs).with_context(|| format!("case {:?}", case.name))?;
            let faults = pairs.into_iter().flat_map(|(flag, value)| [flag, value]).collect();
            Ok(Case { name: case.name.clone(), faults, is_far })
        });
        Ok(Self { cases: cases.collect::<anyhow::Result<_>>()?, ways: page.ways, limit })
    }
}

impl Case {
    /// The value of one of its flags.
    pub(crate) fn flag(&self, name: &str) -> Option<&str> {
        let pair = self.faults.as_chunks::<2>().0.iter().rfind(|pair| pair[0] == name)?;
        Some(&pair[1])
    }

    /// Bits per second of the path; `None` where it has no limit.
    pub(crate) fn rate(&self) -> Option<f64> {
        let text = self.flag("--rate")?.to_ascii_lowercase();
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let factor = match text.get(digits.len()..)? {
            "kbit" | "k" => 1e3,
            "mbit" | "m" => 1e6,
            "gbit" | "g" => 1e9,
            _ => 1.0,
        };
        Some(digits.parse::<f64>().ok()? * factor)
    }
}

/// Whether netsim can do all of this, before anything is run.
fn check(pairs: &[(String, String)]) -> anyhow::Result<()> {
    let mut both = FaultText::default();
    let ways = |flag: &str| matches!(flag, "--up" | "--down");
    for (flag, value) in pairs.iter().filter(|(flag, _)| !ways(flag)) {
        both.set(flag.trim_start_matches('-'), value)?;
    }
    both.faults()?;
    for (_, value) in pairs.iter().filter(|(flag, _)| ways(flag)) {
        both.with(&value.parse()?).faults()?;
    }
    Ok(())
}

/// Flags in pairs with their values: `--loss 5% --delay 20ms`.
fn flags(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut words = text.split_whitespace();
    let mut flags = Vec::new();
    while let Some(flag) = words.next() {
        ensure!(flag.starts_with("--"), "{flag:?} is no flag, such as --loss 5%");
        let pair = match flag.split_once('=') {
            Some((flag, value)) => (flag, value),
            None => match words.next() {
                Some(value) if !value.starts_with("--") => (flag, value),
                _ => bail!("{flag} needs a value, such as --loss 5%"),
            },
        };
        flags.push((pair.0.to_owned(), pair.1.to_owned()));
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_matrix_is_sound() {
        let matrix = Matrix::parse(DEFAULT).unwrap();
        assert_eq!(matrix.cases.len(), 12);
        assert_eq!(matrix.ways, [Way::Tcp, Way::Plain, Way::Udp]);
        assert!(matrix.cases.iter().all(|case| case.rate().is_some()));
    }

    #[test]
    fn what_a_case_says_takes_the_place_of_the_base() {
        let text = "base = '--rate 50mbit --delay=10ms'\nlimit = 1.5\n[[case]]\nname = 'a'\n[[case]]\nname = 'b'\nfaults = '--delay 1ms --loss 5%'";
        let matrix = Matrix::parse(text).unwrap();
        assert_eq!(matrix.limit, Duration::from_millis(1500));
        assert_eq!(matrix.cases[0].faults, ["--rate", "50mbit", "--delay", "10ms"]);
        assert_eq!(matrix.cases[1].faults, ["--rate", "50mbit", "--delay", "1ms", "--loss", "5%"]);
        assert_eq!((matrix.cases[0].is_far, matrix.cases[1].is_far), (false, true));
        assert_eq!(matrix.cases[1].flag("--delay"), Some("1ms"));
        assert_eq!(matrix.cases[1].rate(), Some(50e6));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let case = "[[case]]\nname = 'a'\n";
        for text in [
            String::new(),
            format!("colour = 1\n{case}"),
            format!("ways = []\n{case}"),
            format!("ways = ['carrier pigeon']\n{case}"),
            format!("limit = -1\n{case}"),
            format!("base = 'loss 5%'\n{case}"),
            format!("{case}faults = '--loss'"),
            format!("{case}faults = '--loss --delay 1ms'"),
            format!("{case}up = '5%'"),
            format!("{case}up = '--loss 200%'"),
            format!("{case}faults = '--delay -3ms'"),
            format!("{case}faults = '--sunspots 3'"),
        ] {
            assert!(Matrix::parse(&text).is_err(), "{text}");
        }
    }
}
