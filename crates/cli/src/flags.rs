//! Flags that several programs share.

use std::env;
use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, FromArgMatches, Id, ValueEnum};
use framing::Checksum;
use session::IfExists;

use crate::Program;
use crate::exit::Exit;
use crate::screen::Screen;

/// The longest prefix, so that most names still fit behind it.
const MAX_PREFIX_LEN: usize = 64;

/// How much is said, and in which form.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Voice {
    /// Print one JSON object a line on standard output, for scripts
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more: every file of a large transfer, every connection
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

/// Values of `--checksum`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ChecksumName {
    /// 16 bytes, as md5sum prints it; finds accidents, not forgery
    Md5,
    /// 32 bytes, as b3sum prints it; faster on most machines
    Blake3,
}

impl From<ChecksumName> for Checksum {
    fn from(name: ChecksumName) -> Self {
        match name {
            ChecksumName::Md5 => Self::Md5,
            ChecksumName::Blake3 => Self::Blake3,
        }
    }
}

/// Values of `--if-exists`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IfExistsName {
    /// Keep both: the new one gets a name of its own
    Rename,
    /// Keep the old one
    Skip,
    /// Put the new one in its place once it is complete and verified
    Overwrite,
    /// Like overwrite, but only if the new one is not older, and only what differs is sent
    Update,
    /// Refuse the new one
    Fail,
}

impl From<IfExistsName> for IfExists {
    fn from(name: IfExistsName) -> Self {
        match name {
            IfExistsName::Rename => Self::Rename,
            IfExistsName::Skip => Self::Skip,
            IfExistsName::Overwrite => Self::Overwrite,
            IfExistsName::Update => Self::Update,
            IfExistsName::Fail => Self::Fail,
        }
    }
}

/// Reads a prefix of names.
pub(crate) fn parse_prefix(text: &str) -> Result<String, String> {
    if text.len() > MAX_PREFIX_LEN {
        return Err(format!("a prefix has at most {MAX_PREFIX_LEN} bytes"));
    }
    if text.contains(|c: char| c == '/' || c == '\\' || c.is_control()) {
        return Err("a prefix is part of a name: no slashes and no control characters".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads where something goes.
pub(crate) fn place() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(check_place)
}

/// Refuses `-`: it means standard output, and nothing unverified goes there.
fn check_place(path: PathBuf) -> Result<PathBuf, String> {
    if path.as_os_str() == "-" {
        return Err("files go to the disk, to be verified there; ./- is a place of that name".to_owned());
    }
    Ok(path)
}

/// Arguments, and which flags were typed: the others have their defaults.
#[derive(Debug)]
pub(crate) struct Typed<A> {
    pub(crate) args: A,
    flags: Vec<String>,
}

impl<A> Typed<A> {
    /// The first of these flags that was typed, as it was; they are given by their names without dashes before them.
    pub(crate) fn first_of(&self, flags: &[&str]) -> Option<String> {
        let flag = flags.iter().find(|flag| self.flags.iter().any(|typed| typed == &flag.replace('-', "_")));
        flag.map(|flag| format!("--{flag}"))
    }
}

impl<A: FromArgMatches> FromArgMatches for Typed<A> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_typed = |id: &&Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        let flags = matches.ids().filter(is_typed).map(Id::to_string).collect();
        Ok(Self { args: A::from_arg_matches(matches)?, flags })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Reads the arguments of this process; when that ends the program, its exit code.
pub(crate) fn parse<A: FromArgMatches>(program: Program, command: Command) -> Result<A, Exit> {
    // The name comes into every text that clap makes.
    let mut command = command.name(program.name).bin_name(program.name).version(program.version);
    let parsed =
        command.try_get_matches_from_mut(env::args_os()).and_then(|matches| A::from_arg_matches(&matches));
    parsed.map_err(|error| {
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            let _ = error.print();
            return Exit::Done;
        }
        let text = error.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let get_only = ["--to", "--prefix", "--if-exists"];
        let is_of_get =
            |flag: &str| get_only.iter().any(|get| flag == *get || flag.starts_with(&format!("{get}=")));
        let text = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(flag))
                if error.kind() == ErrorKind::UnknownArgument
                    && program.name.ends_with("-client")
                    && is_of_get(flag) =>
            {
                format!(
                    "{flag} belongs to get: {} get NAME... {flag} ...; when sending, the server decides\n\n\
                         For more information, try '--help'.",
                    program.name
                )
            }
            // Its own words are about values that are required.
            _ if text.starts_with("a value is required for") && env::args_os().any(|arg| arg.is_empty()) => {
                "an argument is empty: name a file or directory".to_owned()
            }
            _ => text.to_owned(),
        };
        // The arguments are not known yet, only that they are wrong.
        let json = env::args_os().any(|arg| arg == "--json");
        usage(program, text.trim_end(), json);
        Exit::Usage
    })
}

/// Says that the program was called in a wrong way.
pub(crate) fn usage(program: Program, text: &str, json: bool) {
    let screen = Screen::new(program, Voice { json, ..Voice::default() });
    screen.error(text, Exit::Usage, None);
}

/// A text of help, with this program's name and that of the other one in the place of CLIENT and SERVER.
pub(crate) fn help(program: Program, text: &str) -> String {
    let counterpart = program.counterpart();
    let (client, server) = if program.name.ends_with("-client") {
        (program.name, &*counterpart)
    } else {
        (&*counterpart, program.name)
    };
    text.replace("CLIENT", client).replace("SERVER", server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_stay_in_their_directory() {
        for good in ["", "received-", "a b.", "ü"] {
            assert_eq!(parse_prefix(good).as_deref(), Ok(good));
        }
        let long = "x".repeat(MAX_PREFIX_LEN + 1);
        for bad in ["a/", "../", "a\\", "a\n", "\0", &long] {
            assert!(parse_prefix(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_goes_to_standard_output() {
        assert!(check_place("-".into()).unwrap_err().contains("./-"));
        assert_eq!(check_place("./-".into()), Ok(PathBuf::from("./-")));
    }

    #[test]
    fn help_names_both_programs() {
        let text = |name| help(Program { name, version: "1" }, "SERVER, then CLIENT");
        assert_eq!(text("tcp-client"), "tcp-server, then tcp-client");
        assert_eq!(text("udp-server"), "udp-server, then udp-client");
    }
}
