//! What a line at the prompt means.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::Args;
use clap::error::ErrorKind;

use super::words::{Word, is_blank, split};
use crate::client::GenerateArgs;
use crate::escape;
use crate::stream::StreamArgs;

/// The most bytes of a line: what a server echoes.
pub(crate) const MAX_LINE_LEN: usize = framing::MAX_ECHO_LEN;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// The line is empty.
    Nothing,
    /// Show what is there, or in a directory.
    List(Option<Word>),
    /// Go to a directory.
    Chdir(Word),
    /// Fetch these.
    Get(Vec<Word>),
    /// Send these.
    Put(Vec<Word>),
    /// Have a file made and sent.
    Generate(GenerateArgs),
    /// Have packets sent at set times.
    Stream(StreamArgs),
    /// Explain a command, or all of them.
    Help(Option<&'static Topic>),
    /// Leave.
    Quit,
    /// Have this said back.
    Echo(Vec<u8>),
}

impl Command {
    /// Whether it goes on where it stopped when it is given again.
    pub(super) const fn goes_on(&self) -> bool {
        match self {
            Self::Get(_) | Self::Put(_) => true,
            Self::Generate(args) => args.to.is_some(),
            _ => false,
        }
    }
}

/// A command, and what there is to say of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    kind: Kind,
    /// Its names: the first is the one it goes by.
    pub(crate) names: &'static [&'static str],
    /// How it is written.
    pub(crate) usage: &'static str,
    /// What it does, in a few words.
    pub(crate) what: &'static str,
    /// What else there is to know.
    pub(crate) more: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    List,
    Chdir,
    Get,
    Put,
    Generate,
    Stream,
    Echo,
    Help,
    Quit,
}

/// What the words behind a command name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Nothing that is known.
    Nothing,
    /// Its own options.
    Options(&'static [&'static str]),
    /// A command.
    Commands,
    /// Something on the server: one thing or several, and perhaps only directories.
    Remote { several: bool, directories: bool },
    /// Files of this machine.
    Local,
}

/// All commands, as help lists them.
pub(crate) const TOPICS: [Topic; 9] = [
    Topic {
        kind: Kind::List,
        names: &["ls"],
        usage: "ls [PATH]",
        what: "show what is in the server's directory",
        more: "Names, sizes and times; directories have a slash. Wildcards work: ls *.mp3",
    },
    Topic {
        kind: Kind::Chdir,
        names: &["chdir", "cd"],
        usage: "chdir DIR",
        what: "go to another directory of the server",
        more: ".. leads up again, and / to where it all begins; nothing leads above that.",
    },
    Topic {
        kind: Kind::Get,
        names: &["dl", "get"],
        usage: "dl NAME...",
        what: "fetch files and directories, with wildcards",
        more: "They land where this program was started, under names that begin with received-.\n\
               Wildcards: * (anything), ? (a character), [a-z] (one of these). Quotes or a backslash stop them,\n\
               and keep names with spaces together: dl 'my song.mp3' or dl my\\ song.mp3",
    },
    Topic {
        kind: Kind::Put,
        names: &["put"],
        usage: "put FILE|DIR...",
        what: "send files and directories, with wildcards",
        more: "They are kept in the server's directory that chdir has led to. Wildcards are those of this machine's files.",
    },
    Topic {
        kind: Kind::Generate,
        names: &["generate"],
        usage: "N",
        what: "have the server make a file of N characters, and fetch it",
        more: "It is received, verified, counted and removed. generate N --to FILE keeps it, and --seed S makes it of\n\
               other characters; the same seed always makes the same file.",
    },
    Topic {
        kind: Kind::Stream,
        names: &["stream"],
        usage: "stream [--count N] [--interval TIME] [--size BYTES]",
        what: "have packets sent at set times, and see what comes",
        more: "100 packets of 256 bytes, 10 ms apart, unless you say otherwise. Over UDP nothing repairs them.\n\
               Ctrl-C ends it early.",
    },
    Topic {
        kind: Kind::Echo,
        names: &["echo"],
        usage: "echo TEXT",
        what: "have the server say TEXT back, as any other line",
        more: "With the time it took there and back.",
    },
    Topic {
        kind: Kind::Help,
        names: &["help", "?"],
        usage: "help [COMMAND]",
        what: "explain a command, or all of them",
        more: "",
    },
    Topic {
        kind: Kind::Quit,
        names: &["quit", "exit"],
        usage: "quit",
        what: "leave; so does Ctrl-D",
        more: "",
    },
];

/// What this line means, or what is wrong with it.
pub(crate) fn parse(line: &[u8]) -> Result<Command, String> {
    let Some(start) = line.iter().position(|byte| !is_blank(*byte)) else { return Ok(Command::Nothing) };
    if line.len() > MAX_LINE_LEN {
        return Err(too_long(line.len() as u64));
    }
    if let Some(number) = whole_number(line.trim_ascii()) {
        return number.map(|length| Command::Generate(GenerateArgs::of(length)));
    }
    let text = &line[start..];
    let word_end = text.iter().position(|byte| is_blank(*byte)).unwrap_or(text.len());
    let (word, rest) = text.split_at(word_end);
    let Some(topic) = std::str::from_utf8(word).ok().and_then(topic) else {
        return Ok(Command::Echo(line.to_vec()));
    };
    if topic.kind == Kind::Echo {
        return Ok(Command::Echo(rest.get(1..).unwrap_or_default().to_vec()));
    }
    topic.parse(split(rest)?)
}

/// Says what is wrong with a line at the prompt, if something is. What a fuzzer looks at.
pub fn check(line: &[u8]) -> Result<(), String> {
    parse(line).map(|_| ())
}

/// The command of this name.
pub(crate) fn topic(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.names.contains(&name))
}

/// What is said to a line that is too long.
pub(crate) fn too_long(len: u64) -> String {
    format!("that line has {len} bytes; a line has at most {MAX_LINE_LEN}")
}

/// Reads how many characters are wanted. What no number can hold is as many as can be: the server has its limit.
pub(crate) fn parse_length(text: &str) -> Result<u64, String> {
    whole_number(text.as_bytes()).unwrap_or_else(|| Err("that is no whole number".to_owned()))
}

/// The number that a text is: `None` when it is none, an error when it has a sign that makes no sense.
fn whole_number(text: &[u8]) -> Option<Result<u64, String>> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if is_negative {
        let shown = shorten(text);
        return Some(Err(format!(
            "{shown}: a file has no fewer than 0 characters; echo {shown} says it back"
        )));
    }
    let number = digits
        .iter()
        .try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
    Some(Ok(number.unwrap_or(u64::MAX)))
}

/// Digits that fit into a line.
fn shorten(text: &[u8]) -> String {
    const MOST: usize = 24;
    let shown = text.get(..MOST).unwrap_or(text);
    let more = if text.len() > MOST { "..." } else { "" };
    format!("{}{more}", shown.escape_ascii())
}

impl Topic {
    /// What the words behind it name.
    pub(super) const fn names_what(&self) -> Names {
        match self.kind {
            Kind::List => Names::Remote { several: false, directories: false },
            Kind::Chdir => Names::Remote { several: false, directories: true },
            Kind::Get => Names::Remote { several: true, directories: false },
            Kind::Put => Names::Local,
            Kind::Generate => Names::Options(&["--to", "--seed", "--if-exists"]),
            Kind::Stream => Names::Options(&["--count", "--interval", "--size"]),
            Kind::Help => Names::Commands,
            Kind::Echo | Kind::Quit => Names::Nothing,
        }
    }

    fn parse(&'static self, words: Vec<Word>) -> Result<Command, String> {
        let takes_options = matches!(self.kind, Kind::Generate | Kind::Stream);
        if let Some(option) = words.iter().find(|word| !takes_options && word.is_option()) {
            let option = escape::name(OsStr::from_bytes(&option.bytes()));
            return Err(format!(
                "{} takes no options; a file that is called so is written \\{option}",
                self.names[0]
            ));
        }
        match self.kind {
            Kind::List => Ok(Command::List(self.at_most_one(words)?)),
            Kind::Chdir => self.at_most_one(words)?.map(Command::Chdir).ok_or_else(|| self.lacks()),
            Kind::Get => Ok(Command::Get(self.at_least_one(words)?)),
            Kind::Put => Ok(Command::Put(self.at_least_one(words)?)),
            Kind::Generate => self.with_options(&words).map(Command::Generate),
            Kind::Stream => self.with_options(&words).map(Command::Stream),
            Kind::Help => match self.at_most_one(words)? {
                None => Ok(Command::Help(None)),
                Some(word) => explained(&word).map(|topic| Command::Help(Some(topic))),
            },
            Kind::Quit if words.is_empty() => Ok(Command::Quit),
            Kind::Quit => Err(self.misused("stands alone")),
            // Its words are not taken apart.
            Kind::Echo => Ok(Command::Echo(Vec::new())),
        }
    }

    fn at_most_one(&self, mut words: Vec<Word>) -> Result<Option<Word>, String> {
        let word = words.pop();
        if words.is_empty() {
            Ok(word)
        } else {
            Err(self.misused("takes one word; quote one with spaces in it"))
        }
    }

    fn at_least_one(&self, words: Vec<Word>) -> Result<Vec<Word>, String> {
        match words.iter().any(|word| word.bytes().is_empty()) {
            _ if words.is_empty() => Err(self.lacks()),
            true => Err("one of the names is empty".to_owned()),
            false => Ok(words),
        }
    }

    fn with_options<A: Args>(&self, words: &[Word]) -> Result<A, String> {
        let command = clap::Command::new(self.names[0]).no_binary_name(true).disable_help_flag(true);
        let words = words.iter().map(|word| OsString::from_vec(word.bytes()));
        let matches = A::augment_args(command).try_get_matches_from(words);
        matches.and_then(|matches| A::from_arg_matches(&matches)).map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &clap::Error) -> String {
        if error.kind() == ErrorKind::MissingRequiredArgument {
            return self.lacks();
        }
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        escape::text(first.strip_prefix("error: ").unwrap_or(first))
    }

    fn lacks(&self) -> String {
        self.misused("needs more words")
    }

    fn misused(&self, how: &str) -> String {
        let name = self.names[0];
        let usage =
            if self.kind == Kind::Generate { "generate N [--to FILE] [--seed S]" } else { self.usage };
        format!("{name} {how}: {usage}")
    }
}

fn explained(word: &Word) -> Result<&'static Topic, String> {
    let name = word.bytes();
    let found = std::str::from_utf8(&name).ok().and_then(|name| match name {
        "N" => topic("generate"),
        name => topic(name),
    });
    found.ok_or_else(|| {
        let names: Vec<&str> = TOPICS.iter().map(|topic| topic.names[0]).collect();
        format!(
            "no command is called {}; there are {}",
            escape::name(OsStr::from_bytes(&name)),
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(line: &str) -> Command {
        parse(line.as_bytes()).unwrap()
    }

    fn wrong(line: &str) -> String {
        parse(line.as_bytes()).unwrap_err()
    }

    fn echo(text: &str) -> Command {
        Command::Echo(text.as_bytes().to_vec())
    }

    fn texts(words: &[Word]) -> Vec<String> {
        words.iter().map(|word| String::from_utf8(word.bytes()).unwrap()).collect()
    }

    #[test]
    fn commands_are_known_by_their_first_word() {
        assert_eq!(of("ls"), Command::List(None));
        assert!(matches!(of("  ls  'a b' "), Command::List(Some(word)) if word.bytes() == b"a b"));
        for line in ["chdir media", "cd\tmedia"] {
            assert!(matches!(of(line), Command::Chdir(word) if word.bytes() == b"media"), "{line}");
        }
        for line in ["dl a \"b c\" d\\ e", "get a 'b c' 'd e'"] {
            assert!(
                matches!(of(line), Command::Get(words) if texts(&words) == ["a", "b c", "d e"]),
                "{line}"
            );
        }
        assert!(matches!(of("put a b"), Command::Put(words) if texts(&words) == ["a", "b"]));
        for line in ["quit", " exit "] {
            assert_eq!(of(line), Command::Quit);
        }
        for line in ["", " ", "\t "] {
            assert_eq!(of(line), Command::Nothing);
        }
    }

    #[test]
    fn anything_else_is_echoed_as_it_is() {
        for line in [
            "hello",
            "it's fine",
            " two  spaces ",
            "LS",
            "lsx",
            "1000 songs",
            "1e6",
            "3.14",
            "-",
            "--5",
            "\u{1}",
        ] {
            assert_eq!(of(line), echo(line), "{line}");
        }
        assert_eq!(of("echo ls"), echo("ls"));
        assert_eq!(of("echo it's  -5"), echo("it's  -5"));
        assert_eq!(of("echo"), echo(""));
        assert_eq!(parse(b"\xff\x00").unwrap(), Command::Echo(b"\xff\x00".to_vec()));
    }

    #[test]
    fn numbers_are_files_to_be_made() {
        let length = |line: &str| match of(line) {
            Command::Generate(args) => args.length,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(length("0"), 0);
        assert_eq!(length(" 1000 "), 1000);
        assert_eq!(length("+7"), 7);
        assert_eq!(length("007"), 7);
        assert_eq!(length("18446744073709551615"), u64::MAX);
        assert_eq!(length(&"9".repeat(40)), u64::MAX);
        assert_eq!(length("generate 12 --seed 3"), 12);
        assert!(wrong("-5").starts_with("-5: a file has no fewer than 0 characters"));
        assert!(wrong("generate -5").contains("no fewer than 0"), "{}", wrong("generate -5"));
        assert!(wrong("generate").contains("generate N"));
        assert!(wrong("generate x").contains("no whole number"));
        assert!(wrong(&format!("-{}", "9".repeat(4000))).len() < 200);
    }

    #[test]
    fn a_stream_has_its_options() {
        for line in ["stream", "stream --count 1000000000000 --interval 5ms --size 100"] {
            assert!(matches!(of(line), Command::Stream(_)), "{line}");
        }
        for line in
            ["stream 5", "stream --count", "stream --count -1", "stream --interval 5", "stream --size x"]
        {
            assert!(!wrong(line).contains('\n'), "{line}: {}", wrong(line));
        }
    }

    #[test]
    fn what_makes_no_sense_is_one_clear_line() {
        for (line, says) in [
            ("ls a b", "ls takes one word"),
            ("ls -l", "takes no options"),
            ("chdir", "chdir DIR"),
            ("dl", "dl NAME..."),
            ("dl --to x y", "written \\--to"),
            ("dl ''", "empty"),
            ("put it's", "not closed"),
            ("quit now", "stands alone"),
            ("help me", "no command is called me; there are ls, chdir,"),
        ] {
            assert!(wrong(line).contains(says), "{line}: {}", wrong(line));
        }
        assert!(matches!(of("dl \\-l"), Command::Get(words) if texts(&words) == ["-l"]));
        assert!(wrong(&"x".repeat(MAX_LINE_LEN + 1)).contains("32769 bytes"));
        assert_eq!(of(&"x".repeat(MAX_LINE_LEN)), echo(&"x".repeat(MAX_LINE_LEN)));
    }

    #[test]
    fn every_command_can_be_explained() {
        for topic in &TOPICS {
            for name in topic.names {
                assert!(
                    matches!(of(&format!("help {name}")), Command::Help(Some(found)) if found == topic),
                    "{name}"
                );
            }
        }
        assert_eq!(of("help"), Command::Help(None));
        assert!(matches!(of("help N"), Command::Help(Some(topic)) if topic.names[0] == "generate"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_line(line in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Err(text) = parse(&line) {
                prop_assert_eq!(escape::text(&text), text, "it steers no terminal, and is one line");
            }
        }

        #[test]
        fn any_words_behind_a_command_are_a_line(
            name in prop::sample::select(TOPICS.iter().flat_map(|topic| topic.names).copied().collect::<Vec<_>>()),
            rest in r#"[ -~\n\u{1}ü]{0,24}"#,
        ) {
            if let Err(text) = parse(format!("{name} {rest}").as_bytes()) {
                prop_assert_eq!(escape::text(&text), text);
            }
        }

        #[test]
        fn any_number_has_its_length(number: u64) {
            let is_it = matches!(of(&number.to_string()), Command::Generate(args) if args.length == number);
            prop_assert!(is_it);
        }

        #[test]
        fn quoted_names_come_through(names in prop::collection::vec("[^\n]{1,8}", 1..4)) {
            let quoted: Vec<String> = names.iter().map(|name| super::super::words::quote(name, None)).collect();
            let is_it = matches!(of(&format!("dl {}", quoted.join(" "))), Command::Get(words) if texts(&words) == names);
            prop_assert!(is_it);
        }
    }
}
