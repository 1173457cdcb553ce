//! Exit codes, and the one line that says why.

use std::fmt;
use std::io;
use std::process::ExitCode;

use framing::Refusal;
use link::{ConnectError, LinkError};
use session::{SessionError, Side, SourceError, StoreError, Summary};

use crate::escape;

/// Exit codes, for `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0    done: verified, or kept as asked; a server that was told to stop
  1    another failure
  2    wrong usage
  3    cannot connect, or the link was lost for good
  4    a checksum differs, or data was damaged
  5    refused (policy, limit, exists, not there), or the keys differ
  6    a local file cannot be read or written, or changed while it was sent
  130  interrupted: a client, or a server with --once before a whole transfer";

/// How a program ends, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done and verified.
    Done,
    /// Another failure.
    Failed,
    /// Wrong usage.
    Usage,
    /// Cannot connect, or the link was lost for good.
    NoLink,
    /// A checksum differs, or data was damaged.
    Damaged,
    /// Refused by the other side.
    Refused,
    /// A local file cannot be read or written.
    LocalFile,
    /// Interrupted.
    Interrupted,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NoLink => 3,
            Self::Damaged => 4,
            Self::Refused => 5,
            Self::LocalFile => 6,
            Self::Interrupted => 130,
        }
    }

    /// What a finished transfer means for the side that it was.
    pub(crate) const fn of_summary(summary: &Summary, side: Side) -> Self {
        let (here, there) = match side {
            Side::Sender => (summary.changed + summary.unreadable, summary.refused),
            Side::Receiver => (summary.refused, summary.changed + summary.unreadable),
        };
        match (summary.differs + summary.damaged, here, there) {
            (0, 0, 0) => Self::Done,
            (0, 0, _) => Self::Refused,
            (0, _, _) => Self::LocalFile,
            _ => Self::Damaged,
        }
    }

    /// What it means for a server that it does not do what it was asked for.
    pub(crate) const fn of_refusal(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSpace | Refusal::Storage => Self::LocalFile,
            _ => Self::Refused,
        }
    }

    /// What a conversation that ended early means.
    pub(crate) const fn of_session(error: &SessionError) -> Self {
        match error {
            SessionError::Connect(error) => Self::of_connect(error),
            SessionError::Link(LinkError::Refused { .. } | LinkError::Unanswered)
            | SessionError::NotOffered(_)
            | SessionError::NoDirectories => Self::Refused,
            SessionError::Link(error) | SessionError::StreamCut { error, .. } if error.is_passing() => {
                Self::NoLink
            }
            SessionError::Declined { .. } | SessionError::Crowded(_) => Self::Refused,
            SessionError::Source(_) | SessionError::Store(_) => Self::LocalFile,
            SessionError::TooManyNames | SessionError::TooLongToEcho(_) => Self::Usage,
            SessionError::Link(_)
            | SessionError::StreamCut { .. }
            | SessionError::Manifest(_)
            | SessionError::Thread(_) => Self::Failed,
        }
    }

    pub(crate) const fn of_connect(error: &ConnectError) -> Self {
        match error {
            ConnectError::Congestion { .. } => Self::Usage,
            ConnectError::KeysDiffer { .. } | ConnectError::Keyless { .. } | ConnectError::Keyed { .. } => {
                Self::Refused
            }
            ConnectError::Handshake { .. } => Self::Failed,
            _ => Self::NoLink,
        }
    }

    /// What any error means: the first in its chain that says so.
    pub(crate) fn of_error(error: &anyhow::Error) -> Self {
        let known = |cause: &(dyn std::error::Error + 'static)| {
            if let Some(problem) = cause.downcast_ref::<Problem>() {
                return Some(problem.exit);
            }
            if let Some(error) = cause.downcast_ref() {
                return Some(Self::of_session(error));
            }
            (cause.is::<SourceError>() || cause.is::<StoreError>()).then_some(Self::LocalFile)
        };
        error.chain().find_map(known).unwrap_or(Self::Failed)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that knows its exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// How the program ends by it.
    pub(crate) exit: Exit,
    text: String,
}

impl Problem {
    /// What failed: why; what to do.
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Problem {}

/// What the person can do about an error that ended a conversation; `met` says whether there was one at all.
pub(crate) fn advice(error: &SessionError, counterpart: &str, met: bool) -> Option<String> {
    let again = || Some("run the same command again to go on where it stopped".to_owned());
    match error {
        SessionError::Connect(ConnectError::Connect { .. }) if met => again(),
        SessionError::Connect(ConnectError::Connect { error, .. })
            if error.kind() == io::ErrorKind::ResourceBusy =>
        {
            Some("try again later".to_owned())
        }
        SessionError::Connect(ConnectError::Connect { .. }) => {
            let way = if counterpart.starts_with("udp-") {
                ", and does no firewall stop UDP on the way"
            } else {
                ""
            };
            Some(format!("is {counterpart} running there{way}?"))
        }
        SessionError::Connect(ConnectError::Lookup { .. }) => {
            Some("check the name after --server".to_owned())
        }
        SessionError::Link(LinkError::Refused { refusal: Refusal::Busy | Refusal::Stopping, .. }) => {
            Some("try again later".to_owned())
        }
        SessionError::Connect(ConnectError::KeysDiffer { .. }) => Some(
            "compare the fingerprints: the server tells its own when it starts, this side with --verbose"
                .to_owned(),
        ),
        SessionError::Connect(ConnectError::Keyless { .. }) => {
            Some(format!("start {counterpart} with --key-file, or go without a key here with --insecure"))
        }
        SessionError::Connect(ConnectError::Keyed { .. }) | SessionError::Link(LinkError::Unanswered) => {
            Some("--key-file names the file with the key".to_owned())
        }
        SessionError::Link(LinkError::Foreign(_)) => Some(format!("is that really a {counterpart}?")),
        SessionError::Link(LinkError::Version(_)) => Some("bring both sides to the same version".to_owned()),
        SessionError::Link(error) if error.is_passing() => again(),
        _ => None,
    }
}

/// An error as one line: every cause once, nothing in it that steers a terminal.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // Many errors print their cause themselves.
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
    }
    escape::text(&plain_words(&line))
}

/// Words of the system as words: `Permission denied (os error 13)` becomes `permission denied`.
pub(crate) fn plain_words(text: &str) -> String {
    const NUMBER: &str = " (os error ";
    let Some((before, rest)) = text.split_once(NUMBER) else { return text.to_owned() };
    let Some((_, after)) = rest.split_once(')') else { return text.to_owned() };
    let start = before.rfind(": ").map_or(0, |colon| colon + 2);
    let mut words = before[start..].chars();
    let first = words.next().map(|c| c.to_ascii_lowercase());
    format!("{}{}{}{}", &before[..start], first.map_or_else(String::new, String::from), words.as_str(), after)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use anyhow::{Context as _, anyhow};
    use framing::Feature;

    use super::*;

    #[test]
    fn damage_comes_before_files_before_refusals() {
        let exit = |differs, changed, unreadable, refused, side| {
            Exit::of_summary(&Summary { differs, changed, unreadable, refused, ..Summary::default() }, side)
        };
        for side in [Side::Sender, Side::Receiver] {
            assert_eq!(exit(0, 0, 0, 0, side), Exit::Done);
            assert_eq!(exit(1, 1, 1, 1, side), Exit::Damaged);
            assert_eq!(exit(0, 1, 1, 1, side), Exit::LocalFile);
        }
        assert_eq!(exit(0, 0, 0, 1, Side::Sender), Exit::Refused);
        assert_eq!(exit(0, 1, 0, 0, Side::Sender), Exit::LocalFile);
        assert_eq!(exit(0, 0, 1, 0, Side::Sender), Exit::LocalFile);
        assert_eq!(exit(0, 0, 0, 1, Side::Receiver), Exit::LocalFile);
        assert_eq!(exit(0, 1, 1, 0, Side::Receiver), Exit::Refused);
    }

    #[test]
    fn early_ends_have_their_codes() {
        let io = || io::Error::other("x");
        let server = || "nas:8120".to_owned();
        let cases: [(SessionError, Exit); 10] = [
            (ConnectError::Connect { server: server(), error: io() }.into(), Exit::NoLink),
            (ConnectError::Lookup { server: server(), error: io() }.into(), Exit::NoLink),
            (ConnectError::Congestion { name: "x".to_owned(), available: None }.into(), Exit::Usage),
            (LinkError::Closed.into(), Exit::NoLink),
            (LinkError::Silent(Duration::from_secs(1)).into(), Exit::NoLink),
            (LinkError::Refused { refusal: Refusal::Busy, text: String::new() }.into(), Exit::Refused),
            (LinkError::Version(9).into(), Exit::Failed),
            (LinkError::Foreign("GET /".to_owned()).into(), Exit::Failed),
            (SessionError::NotOffered(Feature::Get), Exit::Refused),
            (SessionError::Declined { refusal: Refusal::NoSpace, text: String::new() }, Exit::Refused),
        ];
        for (error, exit) in cases {
            assert_eq!(Exit::of_session(&error), exit, "{error:?}");
            assert_eq!(Exit::of_error(&anyhow::Error::new(error).context("outside")), exit);
        }
    }

    #[test]
    fn codes_are_those_of_the_documentation() {
        let all = [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::NoLink,
            Exit::Damaged,
            Exit::Refused,
            Exit::LocalFile,
            Exit::Interrupted,
        ];
        for exit in all {
            assert!(EXIT_CODES.contains(&format!("\n  {:<3}  ", exit.code())), "{exit:?}");
        }
    }

    #[test]
    fn an_error_is_one_line_that_repeats_nothing() {
        let os = io::Error::from_raw_os_error(13);
        let error = Err::<(), _>(LinkError::Broken(os)).context("cannot send a.mp3").unwrap_err();
        assert_eq!(one_line(&error), "cannot send a.mp3: the connection broke: permission denied");
        assert_eq!(one_line(&anyhow!("a\nb\u{1b}[0m")), "a\\nb\\u{1b}[0m");
    }

    #[test]
    fn only_the_words_of_the_system_change() {
        assert_eq!(
            plain_words("cannot read A: B.mp3: No such file (os error 2); Help"),
            "cannot read A: B.mp3: no such file; Help"
        );
        assert_eq!(plain_words("Is a directory (os error 21)"), "is a directory");
        assert_eq!(plain_words("Nothing: To do (os error"), "Nothing: To do (os error");
    }

    #[test]
    fn advice_fits() {
        let refused = || ConnectError::Connect { server: "nas:1".to_owned(), error: io::Error::other("x") };
        let of = |error: SessionError, met| advice(&error, "tcp-server", met).unwrap_or_default();
        assert_eq!(of(refused().into(), false), "is tcp-server running there?");
        assert!(of(refused().into(), true).contains("again"));
        assert!(of(LinkError::Closed.into(), true).contains("same command again"));
        assert_eq!(of(LinkError::Stopped.into(), true), "");
    }
}
