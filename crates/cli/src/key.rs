//! Keys: where they come from on the command line, and how a new one is made.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Read, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use rustix::fs::OFlags;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use seal::{Key, KeyError};
use serde_json::json;
use zeroize::Zeroizing;

use crate::exit::{Exit, Problem, plain_words};
use crate::screen::Screen;
use crate::{Program, escape};

/// Names the file of the key where no flag does.
const FILE_VARIABLE: &str = "TANDEM_KEY_FILE";
/// The file that a new key is written to unless another is named.
pub(crate) const DEFAULT_FILE: &str = "tandem.key";
/// The most bytes that are read of a file or line with a key.
const MAX_LEN: u64 = 4096;
/// The permissions of others than the owner.
const OTHERS: u32 = 0o077;

/// Where the key is.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct KeyFlags {
    /// The file with the key that both sides have: nobody else gets in or can read along
    #[arg(long, global = true, value_name = "FILE", env = FILE_VARIABLE, help_heading = "Network")]
    key_file: Option<PathBuf>,
    /// Ask for the key: its short form, as keygen prints it
    #[arg(long, global = true, help_heading = "Network")]
    key: bool,
}

/// A key, and the words on the command line that lead to it.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) key: Key,
    /// Such as `--key-file tandem.key`.
    pub(crate) flag: String,
}

impl KeyFlags {
    /// The flags, by their names.
    pub(crate) const NAMES: [&str; 2] = ["key-file", "key"];

    /// What is wrong with the flags together, if something is. `typed` is the one of them that was typed; the file may
    /// also come from its variable, which `--insecure` overrules.
    pub(crate) fn check(&self, typed: Option<&str>, insecure: bool, raw: bool) -> Result<(), String> {
        match (typed, self.file()) {
            (Some(flag), _) if insecure => {
                Err(format!("--insecure is for going without a key: leave out {flag}, or --insecure"))
            }
            (Some(flag), _) if raw => {
                Err(format!("--raw speaks no protocol, so nothing is sealed: leave out {flag}"))
            }
            (None, Some(_)) if raw && !insecure => Err(format!(
                "--raw speaks no protocol, so the key of {FILE_VARIABLE} is of no use: add --insecure to go without it"
            )),
            (Some(_), Some(_)) if self.key => {
                Err(format!("--key and --key-file are two keys: leave one out, or empty {FILE_VARIABLE}"))
            }
            _ => Ok(()),
        }
    }

    fn file(&self) -> Option<&Path> {
        // Set to nothing is as good as not set.
        self.key_file.as_deref().filter(|file| !file.as_os_str().is_empty())
    }

    /// The key, if there is to be one: not with `--insecure`. `is_input_taken` says that what comes through standard input is meant for something
    /// else.
    pub(crate) fn load(&self, insecure: bool, is_input_taken: bool) -> Result<Option<Given>, Problem> {
        if insecure {
            return Ok(None);
        }
        if let Some(file) = self.file() {
            let flag = format!("--key-file {}", quoted(&escape::name(file.as_os_str())));
            return Ok(Some(Given { key: read_file(file)?, flag }));
        }
        if !self.key {
            return Ok(None);
        }
        let is_terminal = io::stdin().is_terminal();
        if is_input_taken && !is_terminal {
            let text = "--key reads the key from standard input, which is the input of the prompt here; use --key-file";
            return Err(Problem::new(Exit::Usage, text));
        }
        let line = if is_terminal { ask() } else { read_line(&mut io::stdin().lock(), |_| ()) };
        let line = line.map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => Problem::new(Exit::Interrupted, "interrupted"),
            _ => Problem::new(
                Exit::LocalFile,
                format!("cannot read the key: {}", plain_words(&error.to_string())),
            ),
        })?;
        let key = Key::parse(&line)
            .map_err(|error| Problem::new(Exit::Usage, format!("that is not the key: {error}")))?;
        Ok(Some(Given { key, flag: "--key".to_owned() }))
    }

    /// The argument that reads the file, without its variable where that is set to nothing.
    pub(crate) fn without_empty_variable(argument: clap::Arg) -> clap::Arg {
        let is_empty = std::env::var_os(FILE_VARIABLE).is_some_and(|file: OsString| file.is_empty());
        if is_empty { argument.env(Resettable::Reset) } else { argument }
    }
}

/// Reads a key from a file that nobody else can read.
fn read_file(path: &Path) -> Result<Key, Problem> {
    let name = escape::name(path.as_os_str());
    let failed = |error: io::Error| {
        let why = plain_words(&error.to_string());
        Problem::new(Exit::LocalFile, format!("cannot read the key in {name}: {why}"))
    };
    // A pipe without a writer must not be waited for.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Problem::new(Exit::LocalFile, format!("the key {name} is not a regular file")));
    }
    if metadata.mode() & OTHERS != 0 {
        let text = format!("others can read the key in {name}, or change it: chmod 600 {}", quoted(&name));
        return Err(Problem::new(Exit::LocalFile, text));
    }
    let mut text = Zeroizing::new(String::with_capacity(MAX_LEN as usize));
    Read::by_ref(&mut file).take(MAX_LEN).read_to_string(&mut text).map_err(failed)?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let key = match (lines.next(), lines.next()) {
        (Some(line), None) => Key::parse(line),
        _ => Err(KeyError::Length),
    };
    key.map_err(|error| Problem::new(Exit::LocalFile, format!("there is no key in {name}: {error}")))
}

/// A name as one word of a shell.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    }
}

/// Asks for the key on the terminal, which does not show what is typed.
fn ask() -> io::Result<Zeroizing<String>> {
    let stdin = io::stdin();
    let before = tcgetattr(&stdin)?;
    let _restore = Restore(before.clone());
    let mut silent = before;
    // Without the signals too: an interrupt would leave the terminal mute.
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    tcsetattr(&stdin, OptionalActions::Drain, &silent)?;
    let mut screen = io::stderr();
    let _ = write!(screen, "key: ");
    let line = read_line(&mut stdin.lock(), |shown| {
        let _ = match shown {
            Shown::More => write!(io::stderr(), "*"),
            Shown::Less(count) => write!(io::stderr(), "{}", "\u{8} \u{8}".repeat(count)),
        };
    });
    let _ = writeln!(screen);
    line
}

/// What happens to the line on a terminal.
enum Shown {
    More,
    Less(usize),
}

/// Makes the terminal what it was.
struct Restore(Termios);

impl Drop for Restore {
    fn drop(&mut self) {
        // Whoever took the terminal away meanwhile has no use for it.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Reads one line and nothing behind it. Of a terminal that does not edit lines it does that itself.
fn read_line(input: &mut dyn Read, mut show: impl FnMut(Shown)) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(MAX_LEN as usize));
    let mut byte = Zeroizing::new([0]);
    while line.len() < MAX_LEN as usize {
        match input.read(&mut *byte) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        match byte[0] {
            b'\n' | b'\r' | 0x04 => break,
            0x03 => return Err(io::ErrorKind::Interrupted.into()),
            0x08 | 0x7f => {
                if line.pop().is_some() {
                    show(Shown::Less(1));
                }
            }
            // Ctrl-U: all of it.
            0x15 => {
                show(Shown::Less(line.chars().count()));
                line.clear();
            }
            byte => {
                line.push(char::from(byte));
                show(Shown::More);
            }
        }
    }
    Ok(line)
}

/// Makes a key, writes it to `path` where nothing is yet, and says how it is used.
pub(crate) fn generate(path: &Path, port: &str, screen: &Screen) -> Result<(), Problem> {
    let name = escape::name(path.as_os_str());
    let key = Key::generate().map_err(|error| Problem::new(Exit::Failed, error.to_string()))?;
    let short = key.short_form();
    let fingerprint = key.fingerprint();
    write_file(path, &short, &fingerprint.to_string()).map_err(|error| {
        let why = plain_words(&error.to_string());
        let text = match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{name} is there already, and a key is never overwritten")
            }
            _ => format!("cannot write the key to {name}: {why}"),
        };
        Problem::new(Exit::LocalFile, text)
    })?;
    let program = screen.program();
    let (server, client) = (program.name, program.counterpart());
    let file = quoted(&name);
    screen.say(&format!(
        "key    {fingerprint}   in {name}, which only you can read\n\
         short  {}\n\
         here   {server} --listen 0.0.0.0:{port} --key-file {file}\n\
         there  {client} --key-file {file} --server HOST:{port} FILE   with a copy of that file, or\n       \
                {client} --key --server HOST:{port} FILE   which asks for the short form\n\
         Whoever has the key can do all that the server allows, and read along. Give it to nobody else.",
        *short,
    ));
    let mut object = crate::json::event("key");
    crate::json::put_name(&mut object, "file", path.as_os_str());
    object.insert("key".to_owned(), json!(fingerprint.to_string()));
    object.insert("short".to_owned(), json!(*short));
    screen.object(&object.into());
    Ok(())
}

fn write_file(path: &Path, short: &str, fingerprint: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let text = Zeroizing::new(format!(
        "# The key {fingerprint} of a Tandem server and its clients. Whoever has it gets in: keep it to yourself.\n{short}\n"
    ));
    let written = file.write_all(text.as_bytes()).and_then(|()| File::sync_all(&file));
    if written.is_err() {
        // Half a key is of no use, and in the way.
        let _ = fs::remove_file(path);
    }
    written
}

/// The command that a client uses with a server at this address, for a person to copy.
pub(crate) fn client_command(program: Program, address: std::net::SocketAddr, flag: &str) -> String {
    let server =
        if address.ip().is_unspecified() { format!("HOST:{}", address.port()) } else { address.to_string() };
    format!("{} {flag} --server {server} FILE", program.counterpart())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const SHORT: &str = "000G-40R4-0M30-E209-185G-R38E-1W81-24GK-2GAH-C5RR-34D1-P70X-3RFG-GHA4";

    fn read(text: &str, mode: u32) -> Result<Key, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        read_file(&path).map_err(|problem| {
            assert_eq!(problem.exit, Exit::LocalFile);
            problem.to_string()
        })
    }

    #[test]
    fn files_are_read_in_both_forms() {
        let key = Key::parse(SHORT).unwrap();
        assert_eq!(read(SHORT, 0o600), Ok(key.clone()));
        assert_eq!(read(&format!("# a comment\n\n  {}\r\n", SHORT.to_lowercase()), 0o400), Ok(key.clone()));
        let hex: String = (0..32).map(|at| format!("{at:02x}")).collect();
        assert_eq!(read(&format!("{hex}\n"), 0o600), Ok(key));
    }

    #[test]
    fn files_that_others_can_read_are_refused() {
        for mode in [0o640, 0o604, 0o620, 0o602, 0o601, 0o644] {
            let problem = read(SHORT, mode).unwrap_err();
            assert!(problem.contains("chmod 600 "), "{problem}");
        }
    }

    #[test]
    fn what_is_no_key_file_is_refused() {
        for text in ["", "# only a comment", &format!("{SHORT}\n{SHORT}"), &"0".repeat(10_000), "\u{fffd}"] {
            assert!(read(text, 0o600).unwrap_err().contains("there is no key in"), "{text:.80}");
        }
        assert!(read_file(Path::new("/dev/null")).unwrap_err().to_string().contains("not a regular file"));
        assert!(read_file(Path::new("/")).unwrap_err().to_string().contains("not a regular file"));
        assert!(read_file(Path::new("/nowhere/k")).unwrap_err().to_string().contains("no such file"));
    }

    #[test]
    fn a_line_is_read_and_nothing_behind_it() {
        let mut input = &b"ab\x7fc\x15xy\nrest"[..];
        assert_eq!(*read_line(&mut input, |_| ()).unwrap(), "xy");
        assert_eq!(input, b"rest");
        assert_eq!(*read_line(&mut &b""[..], |_| ()).unwrap(), "");
        assert!(read_line(&mut &b"ab\x03"[..], |_| ()).is_err());
        assert_eq!(read_line(&mut io::repeat(b'x'), |_| ()).unwrap().len(), MAX_LEN as usize);
    }

    #[test]
    fn flags_must_fit_together() {
        let flags = |key_file: Option<&str>, key| KeyFlags { key_file: key_file.map(PathBuf::from), key };
        let (file, asked) = (Some("--key-file"), Some("--key"));
        // Typed, or only in the variable.
        assert!(flags(Some("k"), false).check(file, false, false).is_ok());
        assert!(flags(Some("k"), false).check(None, false, false).is_ok());
        assert!(flags(Some("k"), false).check(None, true, false).is_ok());
        assert!(flags(Some("k"), false).load(true, false).unwrap().is_none());
        assert!(flags(Some("k"), false).check(file, true, false).is_err());
        assert!(flags(Some("k"), true).check(asked, false, false).is_err());
        assert!(flags(Some(""), true).check(asked, false, false).is_ok());
        // Raw.
        assert!(flags(None, false).check(None, false, true).is_ok());
        assert!(flags(Some("k"), false).check(file, false, true).is_err());
        assert!(flags(Some("k"), false).check(None, false, true).unwrap_err().contains("add --insecure"));
        assert!(flags(Some("k"), false).check(None, true, true).is_ok());
    }

    #[test]
    fn names_become_words() {
        assert_eq!(quoted("a/b.key"), "a/b.key");
        assert_eq!(quoted("my key's"), r"'my key'\''s'");
    }

    #[test]
    fn a_key_is_written_once_and_for_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        write_file(&path, SHORT, "126ca8e3").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read_file(&path).unwrap(), Key::parse(SHORT).unwrap());
        assert_eq!(write_file(&path, SHORT, "x").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
