//! The command line of a server.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};

use super::clients::Seats;
use super::limits::LimitFlags;
use crate::exit::{EXIT_CODES, Exit};
use crate::flags::{self, IfExistsName, Typed, Voice};
use crate::key::{self, KeyFlags};
use crate::{Bind, Program, address, units};

const EXAMPLES: &str = "\
Examples:
  SERVER                                  serve this directory to this machine
  SERVER --dir in --once                  take one transfer into in, then end
  SERVER keygen                           make a key, tandem.key
  SERVER --listen 0.0.0.0:PORT --key-file tandem.key
                                          serve everyone who has the key
  SERVER --read-only --dir /srv/media     give files and take none
  SERVER --write-only --max-total 50GB    be a drop box of 50 GB
  SERVER --raw --save film.mp4            take what nc or another program sends";

/// Flags that say nothing where no protocol is spoken.
const OF_PROTOCOL: [&str; 5] =
    ["max-generate", "max-stream-count", "max-stream-rate", "handshake-timeout", "idle-timeout"];
/// Flags that say nothing where nothing is kept.
const OF_FILES: [&str; 6] = ["dir", "prefix", "if-exists", "max-file-size", "max-total", "min-free"];
/// Flags that say nothing where no files are given.
const OF_GIVING: [&str; 1] = ["max-generate"];
/// Flags that say nothing where there are no clients.
const OF_CLIENTS: [&str; 2] = ["once", "max-clients"];
/// Flags that say nothing where there are no connections.
const OF_CONNECTIONS: [&str; 1] = ["max-per-address"];

const LONG_AFTER: &str = "\
Received files get a prefix, and their names only when they are complete and
verified. What is not complete yet lies beside as a hidden .part, and goes on
when the client comes again. Ctrl-C, SIGTERM and SIGHUP stop the server;
transfers in flight keep their .part. The exit code is then 0, with --once 130.";

/// What a server was asked to do.
#[derive(Debug, Parser)]
#[command(
    about = "Takes files from clients into a directory, and gives files out of it, each proved with a checksum",
    args_override_self = true,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true,
    subcommand_value_name = "COMMAND"
)]
pub(super) struct ServerArgs<T: Args> {
    /// The directory that files are taken into and given out of
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) dir: PathBuf,
    /// What the names of received files begin with
    #[arg(long, value_name = "P", default_value = "received-", value_parser = flags::parse_prefix)]
    pub(super) prefix: String,
    /// What to do when a file of that name exists that is not the same; the same one is never received twice
    #[arg(long, value_name = "WHAT", default_value = "rename")]
    pub(super) if_exists: IfExistsName,
    /// End after the first client that had something done has left, with the exit code of that
    #[arg(long)]
    pub(super) once: bool,
    /// Give files and take none
    #[arg(long, conflicts_with = "write_only")]
    pub(super) read_only: bool,
    /// Take files, and neither give any nor let clients learn what is there: a drop box
    #[arg(long)]
    pub(super) write_only: bool,
    /// Serve so many clients at once; more are told to try again later
    #[arg(long, value_name = "N", default_value = "100", value_parser = parse_clients)]
    pub(super) max_clients: NonZeroUsize,
    /// Append one JSON object a line on what clients do to this file, whatever is printed
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(super) audit: Option<PathBuf>,
    /// Serve so many clients of one address at once (of IPv6: of one /64) [default: half of --max-clients, and from this
    /// machine all]
    #[arg(long, value_name = "N", value_parser = parse_clients)]
    pub(super) max_per_address: Option<NonZeroUsize>,
    /// How long a client may take until it has greeted, with the handshake where there is a key
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_timeout)]
    pub(super) handshake_timeout: Duration,
    /// How long a client may ask for nothing
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = parse_timeout)]
    pub(super) idle_timeout: Duration,
    /// Speak no protocol, for other programs: send back what comes, or keep it with --save
    #[arg(long, conflicts_with_all = ["read_only", "write_only"], help_heading = "Raw")]
    pub(super) raw: bool,
    /// With --raw: keep what each client sends, up to its end, under this name, with the prefix
    #[arg(long, value_name = "NAME", requires = "raw", help_heading = "Raw")]
    pub(super) save: Option<OsString>,
    /// The address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", value_parser = address::parse_listen, help_heading = "Network")]
    pub(super) listen: Option<SocketAddr>,
    /// Allow to listen on other addresses than loopback although there is no key
    #[arg(long, help_heading = "Network")]
    pub(super) insecure: bool,
    #[command(flatten)]
    pub(super) key: KeyFlags,
    #[command(flatten)]
    pub(super) limits: LimitFlags,
    #[command(flatten)]
    pub(super) transport: T,
    #[command(flatten)]
    pub(super) voice: Voice,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

/// What a server does besides serving.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key for a server and its clients, and say how it is used
    Keygen {
        /// The file to write it to; one that is there is never overwritten
        #[arg(value_name = "FILE", default_value = key::DEFAULT_FILE)]
        file: PathBuf,
    },
}

impl<T: Bind> ServerArgs<T> {
    /// How many clients are served at once. One address never gets all seats, so that nobody can keep all others out; but
    /// everybody on this machine has the same one.
    pub(super) fn seats(&self) -> Seats {
        let all = self.max_clients.get();
        let each = self.max_per_address.map(NonZeroUsize::get);
        Seats { all, each: each.unwrap_or(all.div_ceil(2)), each_near: each.unwrap_or(all) }
    }

    /// Reads the arguments of this process.
    pub(super) fn read(program: Program) -> Result<Self, Exit> {
        let typed: Typed<Self> = flags::parse(program, command::<T>(program))?;
        let checked =
            typed.args.transport.check().and_then(|()| check_raw(&typed)).and_then(|()| check_key(&typed));
        let checked = checked.and_then(|()| check_drop_box(&typed));
        let args = typed.args;
        match checked {
            Ok(()) => Ok(args),
            Err(text) => {
                flags::usage(program, &text, args.voice.json);
                Err(Exit::Usage)
            }
        }
    }
}

/// What is wrong with the flags beside `--raw`, if something is.
fn check_raw<T: Bind>(typed: &Typed<ServerArgs<T>>) -> Result<(), String> {
    if !typed.args.raw {
        return Ok(());
    }
    typed.args.transport.check_raw()?;
    if let Some(flag) = typed.first_of(&OF_PROTOCOL) {
        return Err(format!("{flag} belongs to Tandem's protocol, and --raw speaks none"));
    }
    if let Some(flag) = typed.first_of(&OF_CONNECTIONS).filter(|_| !T::RAW_HAS_CLIENTS) {
        return Err(format!("{flag} is about connections, and with --raw there are only datagrams"));
    }
    if typed.args.save.is_some() {
        return Ok(());
    }
    if let Some(flag) = typed.first_of(&OF_FILES) {
        return Err(format!("{flag} is about files, and --raw keeps none unless --save names them"));
    }
    match typed.first_of(&OF_CLIENTS) {
        Some(flag) if !T::RAW_HAS_CLIENTS => Err(format!(
            "{flag} is about clients that come to an end, and with --raw there are only datagrams, unless --save makes files of them"
        )),
        _ => Ok(()),
    }
}

/// What is wrong with the flags beside `--write-only`, if something is.
fn check_drop_box<T: Bind>(typed: &Typed<ServerArgs<T>>) -> Result<(), String> {
    let ServerArgs { write_only, if_exists, .. } = &typed.args;
    match (write_only, if_exists, typed.first_of(&OF_GIVING)) {
        (false, ..) | (true, IfExistsName::Rename, None) => Ok(()),
        (true, IfExistsName::Rename, Some(flag)) => {
            Err(format!("{flag} is about files that a server gives, and --write-only gives none"))
        }
        (true, ..) => {
            Err("--write-only keeps every file, under a new name where one is taken, and tells nobody what \
                           is there: only --if-exists rename goes with it"
                .to_owned())
        }
    }
}

/// What is wrong with the flags of the key, if something is.
fn check_key<T: Bind>(typed: &Typed<ServerArgs<T>>) -> Result<(), String> {
    let ServerArgs { key, insecure, raw, command, .. } = &typed.args;
    let flag = typed.first_of(&KeyFlags::NAMES);
    match (command, flag) {
        (Some(_), Some(flag)) => Err(format!(
            "{flag} is for a key that is there, and keygen makes one: name its file as in keygen FILE"
        )),
        (Some(_), None) => Ok(()),
        (None, flag) => key.check(flag.as_deref(), *insecure, *raw),
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    match units::parse_duration(text)? {
        Duration::ZERO => Err("write a time above 0, like 500ms, 30s or 2m".to_owned()),
        timeout => Ok(timeout),
    }
}

fn parse_clients(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "write a number from 1 on".to_owned())
}

fn command<T: Bind>(program: Program) -> clap::Command {
    let examples = flags::help(program, EXAMPLES).replace("PORT", port(T::LISTEN));
    ServerArgs::<T>::command()
        .mut_arg("listen", |listen| listen.default_value(T::LISTEN))
        .mut_arg("key_file", KeyFlags::without_empty_variable)
        .after_help(format!("{examples}\n\n--help says more."))
        .after_long_help(format!("{examples}\n\n{LONG_AFTER}\n\n{EXIT_CODES}"))
}

/// The port of an address as text.
pub(super) fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::FromArgMatches;
    use session::{Limits, StreamLimits};

    use super::*;
    use crate::{TcpFlags, UdpFlags};

    const PROGRAM: Program = Program { name: "tcp-server", version: "1" };

    fn parse(words: &str) -> Result<ServerArgs<TcpFlags>, clap::Error> {
        let words = ["tcp-server"].into_iter().chain(words.split_whitespace());
        ServerArgs::from_arg_matches(&command::<TcpFlags>(PROGRAM).try_get_matches_from(words)?)
    }

    #[test]
    fn the_command_is_sound() {
        command::<TcpFlags>(PROGRAM).debug_assert();
    }

    #[test]
    fn the_defaults_are_those_of_the_design() {
        let args = parse("").unwrap();
        assert_eq!(args.listen, Some(([127, 0, 0, 1], 8120).into()));
        assert_eq!((args.dir, args.prefix.as_str()), (".".into(), "received-"));
        assert_eq!((args.if_exists, args.max_clients.get()), (IfExistsName::Rename, 100));
        assert!(!args.once && !args.read_only && !args.write_only && !args.insecure);
        assert_eq!((args.limits.of_store(), args.limits.max_generate), (Limits::default(), 123_456_789));
        assert_eq!(args.limits.of_streams(), StreamLimits::default());
    }

    #[test]
    fn one_address_gets_half_of_the_seats_and_this_machine_all_unless_told_otherwise() {
        for (words, seats) in [
            ("", [100, 50, 100]),
            ("--max-clients 1", [1, 1, 1]),
            ("--max-clients 7", [7, 4, 7]),
            ("--max-per-address 3", [100, 3, 3]),
        ] {
            let Seats { all, each, each_near } = parse(words).unwrap().seats();
            assert_eq!([all, each, each_near], seats, "{words}");
        }
    }

    #[test]
    fn flags_are_read() {
        let args = parse(
            "--listen [::1]:0 --dir in --prefix= --if-exists update --once --write-only --max-file-size 4GiB \
             --max-total 5k --min-free 6k --max-stream-count 7 --max-stream-rate 64kbit \
             --max-generate 1.5MB --max-clients 3 --congestion bbr --insecure --json -q",
        );
        let args = args.unwrap();
        assert_eq!(args.listen.map(|listen| listen.to_string()).as_deref(), Some("[::1]:0"));
        assert_eq!((args.prefix.as_str(), args.max_clients.get()), ("", 3));
        let limits = Limits { max_file_len: Some(4 << 30), max_total: Some(5000), min_free: Some(6000) };
        assert_eq!(args.limits.of_store(), limits);
        assert_eq!(args.limits.of_streams(), StreamLimits { max_count: 7, max_rate: 64_000 });
        assert_eq!((args.if_exists, args.limits.max_generate), (IfExistsName::Update, 1_500_000));
        assert!(args.once && args.write_only && args.insecure && args.voice.json && args.voice.quiet);
    }

    #[test]
    fn raw_needs_flags_that_have_a_part_in_it() {
        fn check<T: Bind>(words: &str) -> Result<(), String> {
            let words = ["server"].into_iter().chain(words.split_whitespace());
            let matches = command::<T>(PROGRAM).try_get_matches_from(words).unwrap();
            check_raw(&Typed::<ServerArgs<T>>::from_arg_matches(&matches).unwrap())
        }
        for good in [
            "--dir in",
            "--raw",
            "--raw --listen [::1]:0 --insecure -v --json",
            "--raw --save x --dir in --prefix= --if-exists fail --max-file-size 1k --once --max-clients 3",
            "--raw --save x --max-total 1M --min-free 1G",
        ] {
            assert_eq!(check::<TcpFlags>(good), Ok(()), "{good}");
            assert_eq!(check::<UdpFlags>(good), Ok(()), "{good}");
        }
        for bad in
            ["--raw --dir .", "--raw --prefix x", "--raw --if-exists rename", "--raw --max-file-size 1k"]
        {
            assert!(check::<TcpFlags>(bad).unwrap_err().contains("unless --save"), "{bad}");
        }
        assert_eq!(check::<TcpFlags>("--raw --once --max-clients 3 --congestion bbr"), Ok(()));
        for bad in [
            "--max-generate 1k",
            "--max-stream-count 9",
            "--max-stream-rate 1mbit",
            "--min-free 1k",
            "--idle-timeout 5s",
            "--save x --max-per-address 3",
            "--once",
            "--max-clients 3",
            "--congestion bbr",
            "--rate 1mbit",
            "--mtu 1500",
        ] {
            assert!(check::<UdpFlags>(&format!("--raw {bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_drop_box_keeps_and_hides_everything() {
        fn check(words: &str) -> Result<(), String> {
            let words = ["server"].into_iter().chain(words.split_whitespace());
            let matches = command::<TcpFlags>(PROGRAM).try_get_matches_from(words).unwrap();
            check_drop_box(&Typed::<ServerArgs<TcpFlags>>::from_arg_matches(&matches).unwrap())
        }
        for good in ["--write-only", "--write-only --if-exists rename --max-total 1k", "--if-exists fail"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["skip", "overwrite", "update", "fail"] {
            let error = check(&format!("--write-only --if-exists {bad}")).unwrap_err();
            assert!(error.contains("only --if-exists rename goes with it"), "{error}");
        }
        assert!(check("--write-only --max-generate 5").is_err());
    }

    #[test]
    fn the_last_word_counts() {
        let args = parse("--once --once --dir a --dir b -q --quiet").unwrap();
        assert!(args.once && args.voice.quiet);
        assert_eq!(args.dir, Path::new("b"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            "in",
            "--read-only --write-only",
            "--max-clients 0",
            "--max-per-address 0",
            "--handshake-timeout 0",
            "--idle-timeout 5",
            "--max-file-size 1x",
            "--listen 8120",
            "--max-file-size 99999999TiB",
            "--max-stream-count 1000001",
            "--max-stream-rate 101mbit",
            "--min-free -1",
            "--max-generate -5",
            "--max-generate 1234567890123456789012345678901234567890",
            "--if-exists ask",
            "--prefix a/b",
            "--key-file",
            "keygen a b",
            "--once keygen",
            "--save x",
            "--raw --read-only",
            "--write-only --raw --save x",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }

    #[test]
    fn keygen_takes_no_key() {
        for (words, is_fine) in [
            ("keygen --key-file a", false),
            ("--key keygen", false),
            ("keygen a", true),
            ("--key-file a", true),
        ] {
            let matches = command::<TcpFlags>(PROGRAM)
                .try_get_matches_from(["tcp-server"].into_iter().chain(words.split_whitespace()));
            let checked = matches.and_then(|matches| {
                let typed = Typed::<ServerArgs<TcpFlags>>::from_arg_matches(&matches)?;
                Ok(check_key(&typed).is_ok())
            });
            // Before the word, the flag is refused by the parser already.
            assert_eq!(checked.unwrap_or(false), is_fine, "{words}");
        }
    }
}
