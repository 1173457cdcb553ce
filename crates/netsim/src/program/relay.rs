//! `netsim relay`: the link between sockets, in user space. It needs no rights and sees no packets.

mod tcp;
mod udp;

use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use netsim::{Direction, Link};
use rustix::event::{PollFd, PollFlags, poll};

use super::args::{Protocol, RelayArguments};
use super::emulator::Outcome;
use super::report::Report;
use super::run::seed;

/// How long a stream stalls where a packet would have been lost: the shortest time after which Linux sends again.
pub(super) const STALL: Duration = Duration::from_millis(200);

/// Bytes of IPv4 and UDP before each datagram's.
const UDP_OVERHEAD: u32 = 28;

/// What all threads of a relay share.
struct Shared {
    start: Instant,
    /// A link a direction, for all connections together.
    links: [Mutex<Link>; 2],
    outcomes: [Mutex<Outcome>; 2],
    over: AtomicBool,
}

pub(super) fn run(arguments: &RelayArguments) -> Result<ExitCode> {
    let texts = arguments.link.texts()?;
    let mut faults = [texts[0].faults().context("up")?, texts[1].faults().context("down")?];
    if arguments.proto == Protocol::Udp {
        faults.iter_mut().for_each(|faults| faults.overhead += UDP_OVERHEAD);
    }
    let seed = seed(&arguments.link);
    let link = |direction: Direction| {
        Mutex::new(Link::new(faults[direction as usize].clone(), seed, direction as u8))
    };
    let shared = Arc::new(Shared {
        start: Instant::now(),
        links: Direction::BOTH.map(link),
        outcomes: [Mutex::default(), Mutex::default()],
        over: AtomicBool::new(false),
    });
    let (signals, writer) = UnixStream::pair()?;
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    let local = match arguments.proto {
        Protocol::Tcp => tcp::listen(arguments.listen, arguments.to, &shared),
        Protocol::Udp => udp::listen(arguments.listen, arguments.to, &shared),
    };
    let local = local.with_context(|| format!("cannot listen on {}", arguments.listen))?;
    introduce(arguments, local, seed, &texts);
    wait_for(&signals)?;
    shared.over.store(true, Ordering::Relaxed);
    let outcome = |direction: Direction| {
        let mut outcome = std::mem::take(&mut *lock(&shared.outcomes[direction as usize]));
        outcome.stats = lock(&shared.links[direction as usize]).stats();
        outcome
    };
    let outcomes = Direction::BOTH.map(outcome);
    let report = Report { backend: None, seed, time: shared.start.elapsed(), faults, texts, outcomes };
    report.tell(arguments.link.stats, arguments.link.stats_json.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

fn introduce(
    arguments: &RelayArguments,
    local: std::net::SocketAddr,
    seed: u64,
    [up, down]: &[netsim::FaultText; 2],
) {
    let protocol = match arguments.proto {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    say!("relay of {protocol} on {local} to {}, seed {seed}", arguments.to);
    say!("up: {up}");
    say!("down: {down}");
    if arguments.proto == Protocol::Tcp {
        say!(
            "on TCP a relay stalls and cuts the stream, and cannot lose packets: each loss is a stall of {} ms here, \
             what is overtaken waits, and doubles do not show. `netsim run` shows what they do to TCP itself",
            STALL.as_millis()
        );
    }
}

fn wait_for(signals: &UnixStream) -> Result<()> {
    loop {
        match poll(&mut [PollFd::new(signals, PollFlags::IN)], None) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Something that was due then was handed over now, or could not be.
    fn handed_over(&self, direction: Direction, due: Duration, taken: bool) {
        let late = self.now().saturating_sub(due);
        let mut outcome = lock(&self.outcomes[direction as usize]);
        if taken {
            outcome.sent += 1;
        } else {
            outcome.refused += 1;
        }
        outcome.errors.add(late);
    }
}
