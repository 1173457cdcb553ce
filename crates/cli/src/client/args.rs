//! The command line of a client.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::Resettable;
use clap::{Args, CommandFactory, Parser, Subcommand};

use super::landing::Landing;
use crate::address::ServerAddress;
use crate::exit::{EXIT_CODES, Exit};
use crate::flags::{self, ChecksumName, IfExistsName, Typed, Voice};
use crate::key::KeyFlags;
use crate::prompt::grammar;
use crate::stream::StreamArgs;
use crate::{Connect, Program, units};

/// Names the server where no flag does.
const SERVER_VARIABLE: &str = "TANDEM_SERVER";
/// The commands, but for what nobody would take for a file's name.
pub(super) const COMMANDS: [&str; 6] = ["put", "get", "ls", "echo", "generate", "stream"];
/// Examples, for help and for whoever gave wrong words.
const EXAMPLES: &str = "\
Examples:
  CLIENT chamber.mp4                         send a file to this machine
  CLIENT --server nas.local song.mp3 album   send a file and a directory
  CLIENT get song.mp3 --to in                fetch a file into the directory in
  CLIENT put get                             send a file whose name is a command
  CLIENT ls album                            show what is there
  CLIENT generate 1000 --to 1000.txt         have the server make a file, and fetch it
  CLIENT stream --count 500 --interval 2ms   see what the path does to packets
  CLIENT                                     open a prompt, or read commands from a pipe
  CLIENT --raw song.mp3                      send the bytes alone, to nc or any program";

/// Flags that say nothing where no protocol is spoken.
const OF_PROTOCOL: [&str; 3] = ["retry", "checksum", "follow"];

const LONG_AFTER: &str = "\
A transfer that was interrupted goes on where it stopped when the same command
is run again. Received files get a prefix, so that a demo in one directory never
meets its own source.";

/// What a client was asked to do.
#[derive(Debug, Parser)]
#[command(
    about = "Sends files and directories to a server, or fetches them, and proves with a checksum that they arrived; \
             without a word it opens a prompt",
    disable_help_subcommand = true,
    args_override_self = true,
    subcommand_value_name = "COMMAND"
)]
pub(super) struct ClientArgs<T: Args> {
    /// Files and directories to send
    #[arg(value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// Speak no protocol: send one file (- is standard input) as it is, or without a file what is typed
    #[arg(long, help_heading = "Raw")]
    raw: bool,
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    pub(super) transport: T,
    #[command(flatten)]
    pub(super) voice: Voice,
}

/// Flags of every command.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// The server; a port need not be given
    #[arg(long, global = true, value_name = "HOST:PORT", env = SERVER_VARIABLE, help_heading = "Network")]
    server: Option<ServerAddress>,
    /// How long to try again when the link was lost: 500ms, 30s, 2m; 0 never tries again
    #[arg(long, global = true, value_name = "TIME", default_value = "30s", value_parser = units::parse_duration, help_heading = "Network")]
    pub(super) retry: Duration,
    /// Go without a key, and be silent about a server on another machine, to which nothing is encrypted then
    #[arg(long, global = true, help_heading = "Network")]
    pub(super) insecure: bool,
    #[command(flatten)]
    pub(super) key: KeyFlags,
    /// The checksum that proves each file
    #[arg(long, global = true, value_name = "NAME", default_value = "md5")]
    pub(super) checksum: ChecksumName,
    /// Follow symbolic links, which are left out otherwise
    #[arg(long, global = true)]
    pub(super) follow: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch files and directories from the server
    Get(GetArgs),
    /// Send files and directories, whatever they are called
    Put {
        /// Files and directories to send
        #[arg(value_name = "FILE|DIR", required = true)]
        paths: Vec<PathBuf>,
    },
    /// Show what is in the server's directory, or in one below it
    Ls {
        /// A directory or a file of the server
        #[arg(value_name = "PATH")]
        path: Option<OsString>,
    },
    /// Have the server say something back, and see how long that takes
    Echo {
        /// What it is to say
        #[arg(value_name = "TEXT", required = true)]
        text: Vec<OsString>,
    },
    /// Have the server make a file of N characters, and fetch it
    Generate(GenerateArgs),
    /// Have the server send packets at set times, and see what becomes of them
    Stream(StreamArgs),
}

/// What is to be fetched, and where to.
#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// Names of files and directories in the server's directory
    #[arg(value_name = "NAME", required = true)]
    pub(super) names: Vec<OsString>,
    /// The directory to put them in; it is created if missing
    #[arg(long, value_name = "DIR", default_value = ".", value_parser = flags::place())]
    pub(super) to: PathBuf,
    /// What the names of received files begin with
    #[arg(long, value_name = "P", default_value = "received-", value_parser = flags::parse_prefix)]
    pub(super) prefix: String,
    /// What to do when a file of that name exists that is not the same; the same one is never received twice
    #[arg(long, value_name = "WHAT", default_value = "rename")]
    pub(super) if_exists: IfExistsName,
}

impl GetArgs {
    /// Where it goes.
    pub(super) fn landing(&self) -> Landing<'_> {
        Landing { dir: &self.to, prefix: &self.prefix, if_exists: self.if_exists.into() }
    }
}

/// A file that the server is to make.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct GenerateArgs {
    /// How many characters it is to have
    #[arg(value_name = "N", value_parser = grammar::parse_length, allow_negative_numbers = true)]
    pub(crate) length: u64,
    /// Keep it as FILE; otherwise it is received, verified, counted and removed
    #[arg(long, value_name = "FILE", value_parser = flags::place())]
    pub(crate) to: Option<PathBuf>,
    /// What its characters come from: the same number always makes the same file
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
    /// What to do when FILE exists and is not the same
    #[arg(long, value_name = "WHAT", default_value = "fail", requires = "to")]
    pub(crate) if_exists: IfExistsName,
}

impl GenerateArgs {
    /// One of so many characters, with nothing else said.
    pub(crate) const fn of(length: u64) -> Self {
        Self { length, to: None, seed: 0, if_exists: IfExistsName::Fail }
    }
}

/// The work of a client.
#[derive(Debug)]
pub(super) enum Work {
    /// Send these.
    Put(Vec<PathBuf>),
    /// Fetch these.
    Get(GetArgs),
    /// Show what is there.
    List(Option<OsString>),
    /// Have this said back.
    Echo(OsString),
    /// Have a file made.
    Generate(GenerateArgs),
    /// Have packets sent at set times.
    Stream(StreamArgs),
    /// Whatever somebody types.
    Prompt,
    /// Send this file without a protocol, or what is typed.
    Raw(Option<PathBuf>),
}

impl<T: Connect> ClientArgs<T> {
    /// Reads the arguments of this process.
    pub(super) fn read(program: Program) -> Result<Self, Exit> {
        let typed: Typed<Self> = flags::parse(program, command::<T>(program))?;
        let checked =
            typed.args.transport.check().and_then(|()| check_raw(&typed)).and_then(|()| check_key(&typed));
        let args = typed.args;
        match checked {
            Ok(()) => Ok(args),
            Err(text) => {
                flags::usage(program, &text, args.voice.json);
                Err(Exit::Usage)
            }
        }
    }

    /// The server, with its port.
    pub(super) fn server(&self) -> String {
        self.common.server.as_ref().map_or_else(|| T::SERVER.to_owned(), |server| server.with_port(T::PORT))
    }

    /// What to do, or what is wrong with it.
    pub(super) fn work(&mut self, program: Program) -> Result<Work, String> {
        let mut paths = std::mem::take(&mut self.paths);
        if self.raw {
            return match (&self.command, paths.len()) {
                (Some(_), _) => {
                    Err("--raw speaks no protocol, so it knows no commands: name one file".to_owned())
                }
                (None, 0 | 1) => Ok(Work::Raw(paths.pop())),
                (None, _) => Err("--raw sends one file: nothing says where it ends but the end".to_owned()),
            };
        }
        let examples = examples::<T>(program);
        match self.command.take() {
            None if paths.is_empty() => Ok(Work::Prompt),
            None => Ok(Work::Put(paths)),
            Some(_) if !paths.is_empty() => Err(format!(
                "a command must be the first word; to send a file of that name, use put\n\n{examples}"
            )),
            Some(Command::Put { paths }) => Ok(Work::Put(paths)),
            Some(Command::Get(get)) => Ok(Work::Get(get)),
            Some(Command::Ls { path }) => Ok(Work::List(path)),
            Some(Command::Echo { text }) => Ok(Work::Echo(text.join(OsStr::new(" ")))),
            Some(Command::Generate(generate)) => Ok(Work::Generate(generate)),
            Some(Command::Stream(stream)) => Ok(Work::Stream(stream)),
        }
    }
}

/// What is wrong with the flags beside `--raw`, if something is.
fn check_raw<T: Connect>(typed: &Typed<ClientArgs<T>>) -> Result<(), String> {
    if !typed.args.raw {
        return Ok(());
    }
    typed.args.transport.check_raw()?;
    match typed.first_of(&OF_PROTOCOL) {
        Some(flag) => Err(format!("{flag} belongs to Tandem's protocol, and --raw speaks none")),
        None => Ok(()),
    }
}

/// What is wrong with the flags of the key, if something is.
fn check_key<T: Connect>(typed: &Typed<ClientArgs<T>>) -> Result<(), String> {
    let Common { key, insecure, .. } = &typed.args.common;
    key.check(typed.first_of(&KeyFlags::NAMES).as_deref(), *insecure, typed.args.raw)
}

/// Whether a name that is no file was most likely meant as a command.
pub(super) fn is_like_command(name: &Path) -> bool {
    let Some(name) = name.to_str() else { return false };
    let lower = name.to_ascii_lowercase();
    let is_near = |command: &str| {
        // One letter too many, too few, or another.
        let same = lower.chars().zip(command.chars()).take_while(|(a, b)| a == b).count();
        let (typed, meant) = (&lower.get(same..).unwrap_or(""), &command[same..]);
        let tails = [(1, 0), (0, 1), (1, 1)];
        lower == command
            || tails.iter().any(|&(skip, miss)| {
                typed.get(skip..).zip(meant.get(miss..)).is_some_and(|(typed, meant)| typed == meant)
            })
    };
    COMMANDS.iter().chain(&["dl", "send", "help"]).any(|command| is_near(command))
}

fn examples<T: Connect>(program: Program) -> String {
    flags::help(program, &[EXAMPLES, T::EXAMPLES].concat())
}

fn command<T: Connect>(program: Program) -> clap::Command {
    let examples = examples::<T>(program);
    ClientArgs::<T>::command()
        .override_usage(flags::help(
            program,
            "CLIENT [OPTIONS] <FILE|DIR>...\n       CLIENT [OPTIONS] get <NAME>... [--to <DIR>] [--prefix <P>] [--if-exists <WHAT>]\n       \
             CLIENT [OPTIONS] put <FILE|DIR>...\n       \
             CLIENT [OPTIONS] ls [PATH] | echo <TEXT>... | generate <N> | stream\n       \
             CLIENT [OPTIONS]\n       CLIENT [OPTIONS] --raw [FILE|-]",
        ))
        .mut_arg("key_file", KeyFlags::without_empty_variable)
        .mut_arg("server", |server| {
            // Set to nothing is as good as not set.
            let is_empty = std::env::var_os(SERVER_VARIABLE).is_some_and(|server| server.is_empty());
            let server = if is_empty { server.env(Resettable::Reset) } else { server };
            server.help(format!("The server; a port need not be given [default: {}]", T::SERVER))
        })
        .after_help(format!("{examples}\n\n--help says more."))
        .after_long_help(format!("{examples}\n\n{LONG_AFTER}\n\n{EXIT_CODES}"))
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;
    use crate::{TcpFlags, UdpClientFlags};

    const PROGRAM: Program = Program { name: "tcp-client", version: "1" };

    fn parse(words: &str) -> Result<ClientArgs<TcpFlags>, clap::Error> {
        let words = ["tcp-client"].into_iter().chain(words.split_whitespace());
        ClientArgs::from_arg_matches(&command::<TcpFlags>(PROGRAM).try_get_matches_from(words)?)
    }

    fn put(words: &str) -> Vec<String> {
        match parse(words).unwrap().work(PROGRAM) {
            Ok(Work::Put(paths)) => paths.iter().map(|path| path.display().to_string()).collect(),
            other => panic!("{words}: {other:?}"),
        }
    }

    #[test]
    fn the_command_is_sound() {
        command::<TcpFlags>(PROGRAM).debug_assert();
    }

    #[test]
    fn paths_are_sent() {
        assert_eq!(put("a.mp3 b"), ["a.mp3", "b"]);
        assert_eq!(put("-q a.mp3 --retry 2m b"), ["a.mp3", "b"]);
        assert_eq!(put("put get"), ["get"]);
        assert_eq!(put("-- get"), ["get"]);
        assert_eq!(put("help"), ["help"]);
        assert_eq!(put("put -- -x"), ["-x"]);
    }

    fn work(words: &str) -> Work {
        parse(words).unwrap().work(PROGRAM).unwrap()
    }

    #[test]
    fn whoever_says_nothing_gets_a_prompt() {
        assert!(matches!(work(""), Work::Prompt));
        assert!(matches!(work("--server nas --json"), Work::Prompt));
    }

    #[test]
    fn other_requests_are_commands() {
        assert!(matches!(work("ls"), Work::List(None)));
        assert!(matches!(work("ls a --json"), Work::List(Some(path)) if path == "a"));
        assert!(matches!(work("echo a b"), Work::Echo(text) if text == "a b"));
        assert!(matches!(work("generate 7"), Work::Generate(args) if args == GenerateArgs::of(7)));
        let Work::Generate(args) = work("generate 7 --to f --seed 5 --if-exists overwrite") else { panic!() };
        assert_eq!((args.to, args.seed), (Some("f".into()), 5));
        assert_eq!(args.if_exists, IfExistsName::Overwrite);
        assert_eq!(put("put ls echo generate"), ["ls", "echo", "generate"]);
    }

    #[test]
    fn commands_are_guessed() {
        for like in ["gett", "gt", "Get", "pit", "help", "sent"] {
            assert!(is_like_command(Path::new(like)), "{like}");
        }
        for unlike in ["song.mp3", "g", "getter", "é", "album"] {
            assert!(!is_like_command(Path::new(unlike)), "{unlike}");
        }
    }

    #[test]
    fn flags_work_on_both_sides_of_the_command() {
        for words in [
            "--server nas:9 --checksum blake3 --retry 1s --follow --insecure --json -v --congestion bbr get a b --to in",
            "get a b --to in --server nas:9 --checksum blake3 --retry 1s --follow --insecure --json -v --congestion bbr",
            "get --server nas:9 --checksum blake3 a --retry 1s --follow b --insecure --json -v --congestion bbr --to in",
        ] {
            let mut args = parse(words).unwrap();
            assert_eq!(args.server(), "nas:9", "{words}");
            assert_eq!(args.common.checksum, ChecksumName::Blake3, "{words}");
            assert_eq!(args.common.retry, Duration::from_secs(1), "{words}");
            assert!(args.common.follow && args.common.insecure, "{words}");
            assert!(args.voice.json && args.voice.verbose && !args.voice.quiet, "{words}");
            let Ok(Work::Get(get)) = args.work(PROGRAM) else { panic!("{words}") };
            assert_eq!(get.names, ["a", "b"], "{words}");
            assert_eq!((get.to, get.prefix.as_str()), ("in".into(), "received-"), "{words}");
            assert_eq!(get.if_exists, IfExistsName::Rename, "{words}");
        }
    }

    #[test]
    fn raw_takes_one_file_or_none() {
        let work = |words: &str| parse(words).unwrap().work(PROGRAM);
        assert!(matches!(work("--raw"), Ok(Work::Raw(None))));
        for (words, file) in [("--raw a", "a"), ("a --raw", "a"), ("--raw -", "-"), ("--raw -- get", "get")] {
            assert!(matches!(work(words), Ok(Work::Raw(Some(path))) if path == Path::new(file)), "{words}");
        }
        assert!(work("--raw a b").unwrap_err().contains("one file"));
        assert!(work("--raw get a").unwrap_err().contains("no commands"));
        fn check<T: Connect>(words: &str) -> Result<(), String> {
            let words = ["client"].into_iter().chain(words.split_whitespace());
            let matches = command::<T>(PROGRAM).try_get_matches_from(words).unwrap();
            check_raw(&Typed::<ClientArgs<T>>::from_arg_matches(&matches).unwrap())
        }
        assert_eq!(check::<TcpFlags>("--raw --server nas --insecure -v --json --congestion bbr"), Ok(()));
        assert_eq!(check::<UdpClientFlags>("--raw --rate 1mbit --mtu 1500"), Ok(()));
        for bad in ["--retry 1s", "--checksum md5", "--follow"] {
            assert!(check::<TcpFlags>(&format!("--raw {bad}")).is_err(), "{bad}");
            assert_eq!(check::<TcpFlags>(&format!("a {bad}")), Ok(()));
        }
        assert!(check::<UdpClientFlags>("--raw --plain").is_err());
        assert!(check::<UdpClientFlags>("--raw --congestion bbr").is_err());
    }

    #[test]
    fn the_last_word_counts() {
        let args = parse("--server a --server b get x --server c").unwrap();
        assert_eq!(args.server(), "c:8120");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            "--nonsense",
            "get",
            "put",
            "-q -v a",
            "--retry 30 a",
            "--checksum crc a",
            "--server : a",
            "a --to in",
            "get a --if-exists explode",
            "get a --prefix ../",
            "a --key-file",
            "echo",
            "generate",
            "generate -5",
            "generate 5 --if-exists fail",
            "ls a b",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
        assert!(parse("a -v get b").unwrap().work(PROGRAM).unwrap_err().contains("first word"));
    }
}
