//! The commands at the two ends, and that nothing of them is left behind.
//!
//! All of them live in a process namespace whose first process, the keeper, is netsim again. It ends when netsim does, in
//! whatever way that ends, and with it the kernel ends everything that was ever started there.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::namespaces::Rights;
use super::wire::{CLIENT, End, Ends, SERVER};

/// The argument by which netsim is started as the keeper.
pub(super) const KEEPER: &str = super::KEEPER_NAME;

/// How long a command may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(2);

/// How long a command may take to end by itself after Ctrl-C, which the terminal has told it too.
const OWN_TIME: Duration = Duration::from_secs(1);

/// How long after its start a server that has ended may still begin to listen in the background.
const BACKGROUND: Duration = Duration::from_millis(500);

/// A command that could not be started.
#[derive(Debug)]
pub(super) struct NotStarted {
    pub(super) command: String,
    pub(super) error: io::Error,
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start {:?}: {}", self.command, self.error)
    }
}

impl std::error::Error for NotStarted {}

/// A signal that came before the client's command was started.
#[derive(Debug)]
pub(super) struct Interrupted(pub(super) i32);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signal {} came before the command was started", self.0)
    }
}

impl std::error::Error for Interrupted {}

/// What is to run.
pub(super) struct Play<'a> {
    /// Which signal to end came last.
    pub(super) interrupted: &'a (dyn Fn() -> Option<i32> + Sync),
    /// The server's command, for the shell.
    pub(super) server: Option<&'a str>,
    /// How long the client's command waits for it to listen.
    pub(super) wait: Duration,
    /// The client's command and its arguments.
    pub(super) client: &'a [std::ffi::OsString],
    pub(super) rights: Rights,
}

/// What runs. When it is dropped, nothing of it is left.
#[derive(Debug)]
pub(super) struct Stage {
    server: Option<Actor>,
    client: Option<Actor>,
    keeper: Child,
    /// Ends the keeper when it is dropped.
    rope: Option<ChildStdin>,
}

#[derive(Debug)]
struct Actor {
    child: Child,
    handle: OwnedFd,
    ended: Option<ExitStatus>,
}

impl Play<'_> {
    /// Starts the server's command, waits until it listens, calls `begin`, and starts the client's.
    pub(super) fn begin(&self, ends: &Ends, begin: impl FnOnce() -> Result<()> + Send) -> Result<Stage> {
        // Namespaces are a thread's, and a thread that has moved its children into others starts no threads any more.
        thread::scope(|scope| {
            let stage = scope.spawn(|| self.set_up(ends, begin));
            stage.join().unwrap_or_else(|_| Err(anyhow!("the thread that starts the commands panicked")))
        })
    }

    fn set_up(&self, ends: &Ends, begin: impl FnOnce() -> Result<()>) -> Result<Stage> {
        let mut stage = self.raise_keeper()?;
        if let Some(command) = self.server {
            let server = stage.server.insert(start_server(command, &ends.server)?);
            self.wait_until_it_listens(server, &ends.server)?;
        }
        begin()?;
        stage.client = Some(start_client(self.client, &ends.client)?);
        Ok(stage)
    }

    /// Moves this thread's children into fresh process and mount namespaces, and starts the first of them.
    fn raise_keeper(&self) -> Result<Stage> {
        unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)
            .context("cannot make a process namespace")?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
            .context("cannot make the mounts private")?;
        if self.rights == Rights::UserNamespace {
            hand_down(KEEPERS).context("cannot hand rights down to the keeper")?;
        }
        let mut keeper = Command::new("/proc/self/exe")
            .arg(KEEPER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start netsim again as the keeper of the commands")?;
        let (rope, output) = (keeper.stdin.take(), keeper.stdout.take());
        let stage = Stage { server: None, client: None, keeper, rope };
        let mut output = output.context("the keeper has no output")?;
        output.read_exact(&mut [0]).context("the keeper of the commands ended early")?;
        if self.rights == Rights::UserNamespace {
            hand_down(COMMANDS).context("cannot hand rights down to the commands")?;
        }
        Ok(stage)
    }

    fn wait_until_it_listens(&self, server: &mut Actor, end: &End) -> Result<()> {
        let mut most = self.wait;
        let began = Instant::now();
        let mut pause = Duration::from_millis(5);
        loop {
            if let Some(signal) = (self.interrupted)() {
                return Err(Interrupted(signal).into());
            }
            let listeners = end.watch.listeners();
            if listeners.iter().any(|listener| !listener.loopback_only) {
                return Ok(());
            }
            if let Some(status) = server.child.try_wait()? {
                server.ended = Some(status);
                if !status.success() {
                    anyhow::bail!("the server ended before it listened ({})", in_words(status));
                }
                // It may have gone into the background.
                most = most.min(BACKGROUND);
            }
            if began.elapsed() > most {
                match listeners.first() {
                    Some(listener) => say!(
                        "the server listens on the loopback address only (port {}), where the client cannot reach it; \
                     let it listen on {SERVER} or 0.0.0.0",
                        listener.port
                    ),
                    None if server.ended.is_some() => {
                        say!("the server has ended (exit code 0), and nothing listens");
                    }
                    None => {
                        say!("the server does not listen after {most:?}; starting the command all the same");
                    }
                }
                return Ok(());
            }
            // The kernel walks all its sockets for an answer.
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// What the keeper needs to mount `/proc`.
const KEEPERS: CapabilitySet = CapabilitySet::SYS_ADMIN;

/// What `ping`, `tcpdump` and `ip` need in a network of their own.
const COMMANDS: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW);

/// Lets what this thread starts keep these rights, as a user namespace has them.
fn hand_down(rights: CapabilitySet) -> Result<()> {
    let own = rustix::thread::capabilities(None)?;
    rustix::thread::clear_ambient_capability_set()?;
    rustix::thread::set_capabilities(None, CapabilitySets { inheritable: rights, ..own })?;
    for right in rights.iter() {
        rustix::thread::configure_capability_in_ambient_set(right, true)?;
    }
    Ok(())
}

/// The keeper's whole life: the first process of a namespace, which buries its orphans and ends when its input does.
pub(super) fn keep() -> Result<()> {
    // The namespace's own view of its processes. Where mounting is forbidden, they see the outer one.
    let _ = mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None::<&str>,
    );
    let (buried, signals) = UnixStream::pair()?;
    buried.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, signals)?;
    let rope = io::stdin();
    io::stdout().write_all(b".")?;
    io::stdout().flush()?;
    loop {
        let mut sources = [PollFd::new(&rope, PollFlags::IN), PollFd::new(&buried, PollFlags::IN)];
        match poll(&mut sources, None) {
            Err(rustix::io::Errno::INTR) | Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        if !sources[0].revents().is_empty() {
            return Ok(());
        }
        while (&buried).read(&mut [0; 64]).is_ok_and(|length| length > 0) {}
        while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
    }
}

fn start_server(command: &str, end: &End) -> Result<Actor> {
    end.namespace.enter()?;
    let mut shell = Command::new("/bin/sh");
    // What it prints is no output of the client's, so it goes where messages go.
    let output = io::stderr().as_fd().try_clone_to_owned()?;
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(output).process_group(0);
    Actor::start(shell, command)
}

fn start_client(words: &[std::ffi::OsString], end: &End) -> Result<Actor> {
    end.namespace.enter()?;
    let (program, arguments) = words.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Actor::start(command, &program.to_string_lossy())
}

impl Actor {
    fn start(mut command: Command, name: &str) -> Result<Self> {
        command.env("NETSIM_SERVER", SERVER.to_string()).env("NETSIM_CLIENT", CLIENT.to_string());
        let child = command.spawn().map_err(|error| NotStarted { command: name.to_owned(), error })?;
        let handle = rustix::process::pidfd_open(pid(&child)?, PidfdFlags::empty())?;
        Ok(Self { child, handle, ended: None })
    }

    fn look(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    /// A terminal's Ctrl-C has reached it as well, so it gets time to end by itself first.
    fn interrupt(&mut self, signal: i32) -> Result<Option<ExitStatus>> {
        if signal == signal_hook::consts::SIGINT
            && let Some(status) = self.wait(OWN_TIME)?
        {
            return Ok(Some(status));
        }
        let _ = rustix::process::kill_process(pid(&self.child)?, Signal::TERM);
        self.wait(GRACE)
    }

    /// Waits so long for its end.
    fn wait(&mut self, time: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + time;
        loop {
            if let Some(status) = self.look()? {
                return Ok(Some(status));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            wait_for(&[self.handle.as_fd()], Some(left))?;
        }
    }
}

impl Stage {
    /// Waits for the client's end, or for `signals` to be readable; then asks the server to end. What the client ended
    /// with, if it did so by itself or when it was asked to.
    pub(super) fn play(mut self, play: &Play<'_>, signals: &UnixStream) -> Result<Option<ExitStatus>> {
        let ended = self.wait_for_client(play, signals)?;
        if let Some(server) = self.server.as_mut()
            && server.look()?.is_none()
        {
            // A shell and all that it started are one group.
            let _ = rustix::process::kill_process_group(pid(&server.child)?, Signal::TERM);
            server.wait(GRACE)?;
        }
        Ok(ended)
    }

    fn wait_for_client(&mut self, play: &Play<'_>, signals: &UnixStream) -> Result<Option<ExitStatus>> {
        let client = self.client.as_mut().context("no client was started")?;
        let mut server = self.server.as_mut();
        loop {
            if let Some(status) = client.look()? {
                return Ok(Some(status));
            }
            if let Some(signal) = (play.interrupted)() {
                return client.interrupt(signal);
            }
            if let Some(status) = server.as_deref_mut().map(Actor::look).transpose()?.flatten() {
                if !status.success() {
                    say!("the server has ended ({})", in_words(status));
                }
                server = None;
            }
            let mut sources = vec![client.handle.as_fd(), signals.as_fd()];
            sources.extend(server.as_ref().map(|server| server.handle.as_fd()));
            wait_for(&sources, None)?;
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.rope.take());
        // The keeper's end is the end of all others, and it is only over when those are buried.
        for actor in [&mut self.client, &mut self.server].into_iter().flatten() {
            let _ = actor.child.wait();
        }
        let _ = self.keeper.wait();
    }
}

fn wait_for(sources: &[std::os::fd::BorrowedFd<'_>], time: Option<Duration>) -> io::Result<()> {
    let mut sources = sources.iter().map(|source| PollFd::new(source, PollFlags::IN)).collect::<Vec<_>>();
    let time = time.map(|time| Timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos() as _ });
    match poll(&mut sources, time.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn pid(child: &Child) -> Result<Pid> {
    Pid::from_raw(child.id() as i32).context("a process without a number")
}

/// How a command ended.
pub(super) fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "it is not known how".to_owned(),
    }
}
