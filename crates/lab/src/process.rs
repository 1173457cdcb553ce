//! Runs the real programs.
//!
//! Nothing here sleeps: a server is ready when it says so, and a program has ended when its output has.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use lab::process::{LIMIT, Server, run_client};
//!
//! let server = Server::start("tcp-server", ["--once"], Path::new("/tmp/in"))?;
//! let client = run_client("tcp-client", server.address(), ["song.mp3"], Path::new("."))?;
//! assert_eq!(client.code(), Some(0), "{}", client.stderr);
//! assert_eq!(server.wait(LIMIT)?.code(), Some(0));
//! # std::io::Result::Ok(())
//! ```

mod output;

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use output::Collected;

/// How long a program may take before it counts as stuck, unless a caller says otherwise.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Where the program of this name lies: in the directory of the running one, or above it as with tests.
pub fn program(name: &str) -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let found = own.ancestors().skip(1).take(3).map(|dir| dir.join(&file)).find(|path| path.is_file());
    found.ok_or_else(|| {
        // Its helper is built with the lab.
        let package = if name == "lab-end" { "lab" } else { name };
        let text = format!("no {file} beside {}: build it with cargo build -p {package}", own.display());
        io::Error::new(io::ErrorKind::NotFound, text)
    })
}

/// A program that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    started: Instant,
    stdout: Arc<Collected>,
    stderr: Arc<Collected>,
}

/// What is left of a program that has ended.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed, without `advice`.
    pub stdout: String,
    /// What it complained of, without `advice`.
    pub stderr: String,
    /// Lines on settings of the system that are in its way. They say nothing of the program, and each machine has others.
    pub advice: String,
    /// How long it ran.
    pub elapsed: Duration,
}

impl Output {
    /// Its exit code: `None` when a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

impl Process {
    /// Starts the program of this name (see [`program`]) in the directory `dir`.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        args: impl IntoIterator<Item = A>,
        dir: &Path,
    ) -> io::Result<Self> {
        let mut command = Command::new(program(name)?);
        command.args(args).current_dir(dir).env_remove("TANDEM_SERVER").env_remove("TANDEM_KEY_FILE");
        Self::spawn(&mut command)
    }

    /// Starts any command, with its output collected and nothing to read.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        Self::spawn_reading(command.stdin(Stdio::null()))
    }

    /// Starts any command, with its output collected; what is written to the pipe is what it reads.
    pub fn spawn_with_pipe(command: &mut Command) -> io::Result<(Self, ChildStdin)> {
        let mut process = Self::spawn_reading(command.stdin(Stdio::piped()))?;
        let pipe = process.child.stdin.take().ok_or_else(|| io::Error::other("the program has no pipe"))?;
        Ok((process, pipe))
    }

    fn spawn_reading(command: &mut Command) -> io::Result<Self> {
        let started = Instant::now();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let pipes = child.stdout.take().zip(child.stderr.take());
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (Some((stdout, stderr)), Some(pid)) = (pipes, pid) else {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other("the program has no pipes or no id"));
        };
        Ok(Self { child, pid, started, stdout: Collected::from(stdout), stderr: Collected::from(stderr) })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has complained of so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until a line of its standard output is of use to `find`.
    pub fn wait_for_line<T>(&self, limit: Duration, find: impl Fn(&str) -> Option<T>) -> io::Result<T> {
        self.stdout.wait_for_line(limit, find).ok_or_else(|| self.stuck("did not print the awaited line"))
    }

    /// Waits until a line of its standard error is of use to `find`.
    pub fn wait_for_error_line<T>(&self, limit: Duration, find: impl Fn(&str) -> Option<T>) -> io::Result<T> {
        self.stderr.wait_for_line(limit, find).ok_or_else(|| self.stuck("did not print the awaited error"))
    }

    /// Interrupts it, as Ctrl-C does.
    pub fn interrupt(&self) -> io::Result<()> {
        Ok(rustix::process::kill_process(self.pid, Signal::INT)?)
    }

    /// Asks it to end.
    pub fn terminate(&self) -> io::Result<()> {
        Ok(rustix::process::kill_process(self.pid, Signal::TERM)?)
    }

    /// Ends it at once, without a chance to put anything in order.
    pub fn kill(mut self) -> io::Result<Output> {
        self.child.kill()?;
        self.wait(LIMIT)
    }

    /// Waits for its end; kills it and fails if that takes longer than `limit`.
    pub fn wait(mut self, limit: Duration) -> io::Result<Output> {
        let deadline = Instant::now() + limit;
        if !(self.stdout.wait_for_end(deadline) && self.stderr.wait_for_end(deadline)) {
            return Err(self.stuck("did not end"));
        }
        let status = self.child.wait()?;
        let elapsed = self.started.elapsed();
        let mut advice = String::new();
        let [stdout, stderr] = [self.stdout(), self.stderr()].map(|text| without_advice(&text, &mut advice));
        Ok(Output { status, stdout, stderr, advice, elapsed })
    }

    fn stuck(&self, what: &str) -> io::Error {
        let text = format!(
            "the program {what} in time; it printed {:?} and complained {:?}",
            self.stdout(),
            self.stderr()
        );
        io::Error::new(io::ErrorKind::TimedOut, text)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already: then both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that is ready. It is killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: SocketAddr,
}

impl Server {
    /// Starts a server in the directory `dir`, on a free port of this machine unless `args` say otherwise, and waits
    /// until it is ready.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        args: impl IntoIterator<Item = A>,
        dir: &Path,
    ) -> io::Result<Self> {
        let mut args: Vec<OsString> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        if !args.iter().any(|arg| arg.as_encoded_bytes().starts_with(b"--listen")) {
            args.splice(..0, ["--listen".into(), "127.0.0.1:0".into()]);
        }
        let process = Process::start(name, args, dir)?;
        let address = process.wait_for_line(LIMIT, ready_address)?;
        Ok(Self { process, address })
    }

    /// The address it listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process: what it printed so far, and signals.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// Ends it at once, without a chance to put anything in order.
    pub fn kill(self) -> io::Result<Output> {
        self.process.kill()
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(self) -> io::Result<Output> {
        self.process.terminate()?;
        self.process.wait(LIMIT)
    }

    /// Waits for its end; kills it and fails if that takes longer than `limit`.
    pub fn wait(self, limit: Duration) -> io::Result<Output> {
        self.process.wait(limit)
    }
}

/// Runs a program in the directory `dir` to its end, which must come within `limit`.
pub fn run<A: AsRef<OsStr>>(
    name: &str,
    args: impl IntoIterator<Item = A>,
    dir: &Path,
    limit: Duration,
) -> io::Result<Output> {
    Process::start(name, args, dir)?.wait(limit)
}

/// Runs a client against a server to its end, which must come within [`LIMIT`].
pub fn run_client<A: AsRef<OsStr>>(
    name: &str,
    server: SocketAddr,
    args: impl IntoIterator<Item = A>,
    dir: &Path,
) -> io::Result<Output> {
    start_client(name, server, args, dir)?.wait(LIMIT)
}

/// Starts a client against a server.
pub fn start_client<A: AsRef<OsStr>>(
    name: &str,
    server: SocketAddr,
    args: impl IntoIterator<Item = A>,
    dir: &Path,
) -> io::Result<Process> {
    let server: [OsString; 2] = ["--server".into(), server.to_string().into()];
    Process::start(name, server.into_iter().chain(args.into_iter().map(|arg| arg.as_ref().to_owned())), dir)
}

/// A text without the lines that are advice, which go into `advice`.
fn without_advice(text: &str, advice: &mut String) -> String {
    let mut rest = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if line.contains("sysctl -w net.core.") { advice.push_str(line) } else { rest.push_str(line) }
    }
    rest
}

/// The address in the line of a server that is ready, in either of its forms.
fn ready_address(line: &str) -> Option<SocketAddr> {
    let after = match line.strip_prefix("ready  ") {
        Some(line) => line.split_once(" on ")?.1,
        None if line.contains(r#""event":"ready""#) => line.split_once(r#""address":""#)?.1,
        None => return None,
    };
    let end = after.find([',', '"'])?;
    after[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::spawn(Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn ready_lines_are_read() {
        let address = Some("127.0.0.1:8120".parse().unwrap());
        assert_eq!(ready_address("ready  tcp-server 0.1.0 on 127.0.0.1:8120, directory ./in"), address);
        let json = r#"{"address":"127.0.0.1:8120","dir":".","event":"ready","program":"tcp-server"}"#;
        assert_eq!(ready_address(json), address);
        assert_eq!(
            ready_address("ready  x on [::1]:9, directory a on b").map(|address| address.port()),
            Some(9)
        );
        assert_eq!(ready_address("stopped"), None);
    }

    #[test]
    fn output_and_exit_code_are_kept() {
        let output = shell("echo out; echo err >&2; exit 7").wait(LIMIT).unwrap();
        assert_eq!(
            (output.code(), output.stdout.as_str(), output.stderr.as_str()),
            (Some(7), "out\n", "err\n")
        );
    }

    #[test]
    fn a_program_reads_what_it_is_given() {
        let (process, mut pipe) = Process::spawn_with_pipe(Command::new("cat").arg("-")).unwrap();
        io::Write::write_all(&mut pipe, b"one\n").unwrap();
        process.wait_for_line(LIMIT, |line| (line == "one").then_some(())).unwrap();
        drop(pipe);
        assert_eq!(process.wait(LIMIT).unwrap().stdout, "one\n");
    }

    #[test]
    fn advice_is_told_apart() {
        let output = shell("echo one; echo note  sudo sysctl -w net.core.rmem_max=1 >&2; echo two >&2")
            .wait(LIMIT)
            .unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("one\n", "two\n"));
        assert_eq!(output.advice, "note sudo sysctl -w net.core.rmem_max=1\n");
    }

    #[test]
    fn who_is_stuck_is_killed() {
        let error = shell("echo waiting; exec sleep 1000").wait(Duration::from_millis(300)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("did not end"), "{error}");
    }

    #[test]
    fn lines_are_waited_for() {
        let process = shell("echo one; echo two; exec sleep 1000");
        let line = process.wait_for_line(LIMIT, |line| line.strip_prefix("tw").map(str::to_owned)).unwrap();
        assert_eq!(line, "o");
        process.terminate().unwrap();
        assert_eq!(process.wait(LIMIT).unwrap().code(), None);
        // Nothing is waited for that can't come any more.
        assert!(shell("true").wait_for_line(LIMIT, |_| Some(())).is_err());
    }
}
