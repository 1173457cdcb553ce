//! `netsim run` and `netsim shell`: the link, the commands at its ends, and what is told of it.

use std::ffi::OsString;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use netsim::{Direction, FaultText, Faults, Link};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::args::{
    BackendChoice, LinkArguments, PacketArguments, RunArguments, ServerArguments, ShellArguments,
};
use super::doctor;
use super::emulator::{Course, Outcome};
use super::kernel::LONGEST_IN_RING;
use super::namespaces::Rights;
use super::record::Recorder;
use super::report::Report;
use super::stage::{Play, Stage};
use super::wire::{Backend, CLIENT, SERVER, Wire};

pub(super) fn run(arguments: &RunArguments) -> Result<ExitCode> {
    let RunArguments { link, packets, server, client } = arguments;
    Scene { link, packets, server, client, interactive: false }.play()
}

pub(super) fn shell(arguments: &ShellArguments) -> Result<ExitCode> {
    let ShellArguments { link, packets, server } = arguments;
    let shell = std::env::var_os("SHELL").unwrap_or_else(|| OsString::from("/bin/sh"));
    let interactive = rustix::termios::isatty(std::io::stdin());
    if interactive {
        say!("a shell at {CLIENT}; the other end of the link is {SERVER}. Exit it to leave.");
    }
    Scene { link, packets, server, client: &[shell], interactive }.play()
}

/// The seed asked for, or a random one that is short enough to type.
pub(super) fn seed(link: &LinkArguments) -> u64 {
    link.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 40)
}

struct Scene<'a> {
    link: &'a LinkArguments,
    packets: &'a PacketArguments,
    server: &'a ServerArguments,
    client: &'a [OsString],
    /// Whether Ctrl-C is the client's alone.
    interactive: bool,
}

impl Scene<'_> {
    fn play(&self) -> Result<ExitCode> {
        let texts = self.link.texts()?;
        let faults = [texts[0].faults().context("up")?, texts[1].faults().context("down")?];
        // Threads come later: a user namespace is for the whole program.
        let rights = Rights::acquire().with_context(doctor::advice)?;
        let backend = match self.packets.backend {
            BackendChoice::Auto => None,
            BackendChoice::Tun => Some(Backend::Tun),
            BackendChoice::Packet => Some(Backend::Packet),
        };
        if backend == Some(Backend::Packet) && self.packets.mtu as usize > LONGEST_IN_RING {
            bail!("the packet backend carries packets of {LONGEST_IN_RING} bytes at most; --backend tun any");
        }
        let wire = Wire::new(backend, self.packets.mtu).with_context(doctor::advice)?;
        let seed = seed(self.link);
        self.introduce(&wire, rights, seed, &texts);
        let record = Recorder::create(self.packets.log.as_deref(), self.packets.pcap.as_deref())?;
        let signals = Signals::watch(self.interactive)?;
        let interrupted = || signals.last();
        let play = Play {
            interrupted: &interrupted,
            server: self.server.server.as_deref(),
            wait: self.server.wait,
            client: self.client,
            rights,
        };
        let (status, report) = perform(wire, &play, &signals, faults, texts, seed, record)?;
        report.tell(self.link.stats, self.link.stats_json.as_deref())?;
        Ok(exit_code(status, signals.last()))
    }

    fn introduce(&self, wire: &Wire, rights: Rights, seed: u64, [up, down]: &[FaultText; 2]) {
        let rights = if rights == Rights::UserNamespace { ", as an ordinary user" } else { "" };
        say!("{} backend{rights}, seed {seed}, client {CLIENT}, server {SERVER}", wire.backend);
        if let Some(reason) = &wire.instead {
            say!("not the tun backend: {reason}");
        }
        if up == down {
            say!("each way: {up}");
        } else {
            say!("up: {up}");
            say!("down: {down}");
        }
    }
}

fn perform(
    wire: Wire,
    play: &Play<'_>,
    signals: &Signals,
    faults: [Faults; 2],
    texts: [FaultText; 2],
    seed: u64,
    record: Option<Recorder>,
) -> Result<(Option<ExitStatus>, Report)> {
    let record = record.map(Arc::new);
    let Wire { backend, ends, ports: [(client_in, client_out), (server_in, server_out)], .. } = wire;
    let (stop, stopper) = rustix::pipe::pipe()?;
    let stop = &stop;
    thread::scope(|scope| {
        let start = |direction: Direction, from, to| {
            let link = Link::new(faults[direction as usize].clone(), seed, direction as u8);
            let course = Course { direction, link, from, to, record: record.clone() };
            let (begin, begun) = mpsc::channel::<Instant>();
            let thread = scope.spawn(move || match begun.recv() {
                Ok(start) => course.run(start, stop).map(Some),
                Err(mpsc::RecvError) => Ok(None),
            });
            (begin, thread)
        };
        let (begin_up, up) = start(Direction::Up, client_in, server_out);
        let (begin_down, down) = start(Direction::Down, server_in, client_out);
        let begin = || {
            let start = Instant::now();
            if let Some(record) = &record {
                record.begin();
            }
            begin_up.send(start).and(begin_down.send(start)).map_err(|_| anyhow!("the emulator ended early"))
        };
        let began = Instant::now();
        let status = play.begin(&ends, begin).and_then(|stage: Stage| stage.play(play, &signals.pipe));
        drop((stopper, begin_up, begin_down));
        let finish = |thread: thread::ScopedJoinHandle<'_, std::io::Result<Option<Outcome>>>| {
            let outcome = thread.join().map_err(|_| anyhow!("the emulator panicked"))?;
            Ok::<_, anyhow::Error>(outcome.context("the emulator failed")?.unwrap_or_default())
        };
        let (mut up, mut down) = (finish(up)?, finish(down)?);
        up.overrun += ends.client.watch.dropped();
        down.overrun += ends.server.watch.dropped();
        if let Some(record) = &record {
            record.finish()?;
        }
        let report = Report {
            backend: Some(backend),
            seed,
            time: began.elapsed(),
            faults,
            texts,
            outcomes: [up, down],
        };
        Ok((status?, report))
    })
}

/// Signals that end the run, and a pipe to wait for them with.
struct Signals {
    pipe: UnixStream,
    last: Arc<AtomicUsize>,
}

impl Signals {
    /// With `interactive`, Ctrl-C is noticed and nothing more.
    fn watch(interactive: bool) -> Result<Self> {
        let (pipe, writer) = UnixStream::pair()?;
        let last = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if signal == SIGINT && interactive {
                signal_hook::flag::register(signal, Arc::default())?;
                continue;
            }
            signal_hook::flag::register_usize(signal, Arc::clone(&last), signal as usize)?;
            signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
        }
        Ok(Self { pipe, last })
    }

    fn last(&self) -> Option<i32> {
        Some(self.last.load(Ordering::Relaxed) as i32).filter(|&signal| signal != 0)
    }
}

fn exit_code(status: Option<ExitStatus>, signal: Option<i32>) -> ExitCode {
    let code = match status {
        Some(status) => status.code().or_else(|| status.signal().map(|signal| 128 + signal)),
        // It had to be ended, after this signal.
        None => signal.map(|signal| 128 + signal),
    };
    ExitCode::from(code.unwrap_or(1) as u8)
}
