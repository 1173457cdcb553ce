//! A server: takes clients, one thread each, until it is told to stop.

mod args;
mod audit;
mod clients;
mod guest;
mod limits;
mod raw;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use framing::Refusal;
use link::{ConnectError, Link, LinkError, Listener};
use serde_json::json;
use session::{IfExists, Patience, Service, SessionError, Side, Store, StoreOptions, Turn, refuse, serve};

use crate::exit::{self, Exit, Problem};
use crate::interrupt::Wake;
use crate::key::{self, Given};
use crate::report::{Fate, View};
use crate::reporter::Reporter;
use crate::screen::Screen;
use crate::{Bind, Program, address, escape};
use args::{Command, ServerArgs, port};
use audit::Audit;
use clients::{Clients, Full, Seat};
use guest::Guest;

/// How long clients that are sent away are waited for.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How many clients are told at once that there is no room for them; more are just dropped.
const MOST_REFUSED: usize = 16;

/// Characters of a line on what went wrong with a client.
const MOST_WORDS: usize = 1000;

/// Runs a server with the arguments of this process.
#[must_use]
pub fn main<T: Bind>(program: Program) -> ExitCode {
    Program::take_descriptors();
    let args = match ServerArgs::<T>::read(program) {
        Ok(args) => args,
        Err(exit) => return exit.into(),
    };
    let screen = Arc::new(Screen::of_server(program, args.voice));
    let exit = match &args.command {
        Some(Command::Keygen { file }) => keygen::<T>(file, &screen),
        None if args.raw => raw::run(&args, &screen),
        None => run(&args, &screen),
    };
    let exit = exit.unwrap_or_else(|error| {
        let exit = Exit::of_error(&error);
        screen.error(&exit::one_line(&error), exit, None);
        exit
    });
    exit.into()
}

fn keygen<T: Bind>(file: &Path, screen: &Screen) -> anyhow::Result<Exit> {
    key::generate(file, port(T::LISTEN), screen)?;
    Ok(Exit::Done)
}

fn run<T: Bind>(args: &ServerArgs<T>, screen: &Arc<Screen>) -> anyhow::Result<Exit> {
    let address = args.listen.context("no address to listen on")?;
    let given = args.key.load(args.insecure, false)?;
    let way =
        format!("make one with {} keygen and add --key-file {}, ", screen.program().name, key::DEFAULT_FILE);
    check_reach(address, args.insecure || given.is_some(), &way)?;
    screen.has_key(given.as_ref().map(|given| &given.key));
    let wake = Wake::on_signals().context("cannot listen for signals")?;
    let service = Service {
        store: Store::open(store_options(args))?,
        software: screen.program().software(),
        takes: !args.read_only,
        gives: !args.write_only,
        max_generate: args.limits.max_generate,
        streams: args.limits.of_streams(),
        patience: Patience { hello: args.handshake_timeout, request: args.idle_timeout },
    };
    let audit = Audit::start(screen, args.audit.as_deref(), Some(&args.dir))?;
    let mut listener = args
        .transport
        .bind(address, given.as_ref().map(|given| &given.key), args.handshake_timeout, Audit::noting(&audit))
        .map_err(|error| cannot_listen(address, &error))?;
    if args.insecure {
        let doing = match (args.read_only, args.write_only) {
            (true, _) => "read files in",
            (_, true) => "send files to",
            _ => "read and write files in",
        };
        let (at, dir) = (listener.local_addr(), escape::name(args.dir.as_os_str()));
        screen.warn(&format!(
            "--insecure: there is no key and nothing is encrypted; anyone who can reach {at} can {doing} {dir}"
        ));
    }
    announce(screen, listener.local_addr(), &args.dir, given.as_ref());
    let house = Arc::new(House {
        service,
        screen: screen.clone(),
        audit,
        wake,
        clients: Clients::new(args.seats()),
        refusing: Arc::default(),
        once: args.once,
        outcome: OnceLock::new(),
    });
    house.take_clients(&mut *listener)
}

fn store_options<T: Bind>(args: &ServerArgs<T>) -> StoreOptions {
    StoreOptions {
        dir: args.dir.clone(),
        prefix: args.prefix.clone().into(),
        if_exists: if args.write_only { IfExists::Hide } else { args.if_exists.into() },
        limits: args.limits.of_store(),
    }
}

/// Refuses to be reached from other machines where there is no key, unless that is wanted. `way` leads to a key.
fn check_reach(address: SocketAddr, is_wanted: bool, way: &str) -> Result<(), Problem> {
    if is_wanted || address::is_loopback(address.ip()) {
        return Ok(());
    }
    let text = format!(
        "refusing to listen on {address}: there is no key, so anyone who can reach that port could read and write files \
         here; {way}listen on 127.0.0.1:{port}, or add --insecure if everyone who can reach it may do that",
        port = address.port()
    );
    Err(Problem::new(Exit::Usage, text))
}

fn cannot_listen(address: SocketAddr, error: &ConnectError) -> Problem {
    let (exit, why, kind) = match error {
        ConnectError::Socket(error) => (Exit::Failed, error.to_string(), Some(error.kind())),
        ConnectError::Congestion { .. } => (Exit::Usage, error.to_string(), None),
        _ => (Exit::Failed, error.to_string(), None),
    };
    let other = SocketAddr::new(address.ip(), 0);
    let advice = match kind {
        Some(ErrorKind::AddrInUse) => {
            format!("; another server may be running there, or choose another port with --listen {other}")
        }
        Some(ErrorKind::AddrNotAvailable) => "; this machine does not have that address".to_owned(),
        Some(ErrorKind::PermissionDenied) => {
            format!("; choose a port above 1023, or a free one with --listen {other}")
        }
        _ => String::new(),
    };
    Problem::new(exit, format!("cannot listen on {address}: {}{advice}", exit::plain_words(&why)))
}

/// Says that clients may come. Others wait for this line.
fn announce(screen: &Screen, address: SocketAddr, dir: &Path, given: Option<&Given>) {
    let program @ Program { name, version } = screen.program();
    let mut line =
        format!("ready  {name} {version} on {address}, directory {}", escape::name(dir.as_os_str()));
    let mut object = crate::json::event("ready");
    object.insert("program".to_owned(), name.into());
    object.insert("version".to_owned(), version.into());
    object.insert("address".to_owned(), address.to_string().into());
    crate::json::put_name(&mut object, "dir", dir.as_os_str());
    let mut client = None;
    if let Some(Given { key, flag }) = given {
        let fingerprint = key.fingerprint().to_string();
        line.push_str(&format!(", key {fingerprint}"));
        object.insert("key".to_owned(), fingerprint.into());
        client = Some(key::client_command(program, address, flag));
    }
    screen.announce(&line, &object.into());
    if let Some(client) = client {
        screen.say(&format!("send   {client}"));
    }
}

/// What all clients share.
struct House {
    service: Service,
    screen: Arc<Screen>,
    audit: Arc<Audit>,
    wake: Wake,
    clients: Arc<Clients>,
    refusing: Arc<AtomicUsize>,
    once: bool,
    /// How the one conversation of `--once` ended.
    outcome: OnceLock<Exit>,
}

impl House {
    /// The loop of a server.
    fn take_clients(self: &Arc<Self>, listener: &mut dyn Listener) -> anyhow::Result<Exit> {
        use std::os::fd::AsFd as _;

        let accepted = loop {
            match listener.accept(self.wake.as_fd()) {
                Ok(Some(link)) => self.take(link),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let have_left = self.clients.stop(STOP_LIMIT);
        self.audit.end();
        accepted.context("cannot take clients any more")?;
        if !have_left {
            self.screen.note("some clients did not leave in time");
        }
        self.screen.say("stopped");
        self.screen.object(&json!({ "event": "stopped" }));
        // With --once, a whole transfer was wanted, and none came.
        let without = if self.once { Exit::Interrupted } else { Exit::Done };
        Ok(self.outcome.get().copied().unwrap_or(without))
    }

    fn take(self: &Arc<Self>, link: Box<dyn Link>) {
        let peer = link.peer();
        let closer = match link.closer() {
            Ok(closer) => closer,
            Err(error) => return self.audit.sent_away(peer, &error.to_string()),
        };
        let started = match self.clients.enter(closer, peer.ip()) {
            Ok(seat) => {
                let house = self.clone();
                thread::Builder::new().name(peer.to_string()).spawn(move || house.attend(link, seat))
            }
            Err(full) => {
                let Some(refusing) = Refusing::begin(&self.refusing) else {
                    return self.audit.sent_away(peer, "there is no room, not even to say so");
                };
                let house = self.clone();
                thread::Builder::new()
                    .name(peer.to_string())
                    .spawn(move || house.send_away(link, full, &refusing))
            }
        };
        if let Err(error) = started {
            self.audit.sent_away(peer, &format!("cannot start a thread: {error}"));
        }
    }

    /// Serves one client to its end.
    fn attend(self: &Arc<Self>, mut link: Box<dyn Link>, mut seat: Seat) {
        let peer = link.peer();
        let house = self.clone();
        seat.on_panic(move || {
            house.complain(peer, "this program has a fault, please report it", Exit::Failed);
        });
        let view = View {
            is_server: true,
            peer: peer.to_string(),
            dir: ".".into(),
            is_several: false,
            fate: Fate::Kept,
        };
        let guest = Guest::new(self, peer, &seat, Reporter::new(self.screen.clone(), view));
        let served = serve(&mut *link, &self.service, &guest);
        let has_made_way = !seat.turn(Turn::Leaves);
        match served {
            Ok(_) => {
                if self.once
                    && let Some(exit) = guest.exit()
                    && self.outcome.set(exit).is_ok()
                {
                    self.wake.wake();
                }
                if has_made_way {
                    guest.made_way();
                }
            }
            // Who is being shown out may lose its place as well: that is not why it has to leave.
            Err(error) if has_made_way && is_gone(&error) && !guest.is_waiting() => guest.made_way(),
            Err(error) => self.tell_of_end(&guest, &error),
        }
    }

    /// Tells a client that there is no room for it.
    fn send_away(&self, mut link: Box<dyn Link>, full: Full, _: &Refusing) {
        let refusal = if full == Full::Stopping { Refusal::Stopping } else { Refusal::Busy };
        let text = full.to_string();
        refuse(&mut *link, &self.service.software, refusal, &text);
        self.audit.sent_away(link.peer(), &text);
    }

    fn tell_of_end(&self, guest: &Guest<'_>, error: &SessionError) {
        if !guest.broke_off(error, self.clients.is_stopping()) {
            return;
        }
        let planned = guest.reporter.planned();
        let is_gone = is_gone(error);
        if planned.is_none() && is_gone && (self.clients.is_stopping() || !self.screen.voice().verbose) {
            // It came and went, or was sent away before it asked for anything.
            return;
        }
        let why = if is_gone && self.clients.is_stopping() {
            "this server is being stopped".to_owned()
        } else {
            exit::plain_words(&error.to_string())
        };
        let is_kept = matches!(planned, Some((Side::Receiver, _))) && error.is_passing();
        let rest = if is_kept { "; what arrived is kept for when the client comes again" } else { "" };
        let text = broke_off(planned, why) + rest;
        self.complain(guest.peer, &text, Exit::of_session(error));
    }

    /// One line for what went wrong with one client.
    fn complain(&self, peer: SocketAddr, text: &str, exit: Exit) {
        // A client can ask for names as long as it likes.
        let text = format!("{peer}: {}", escape::shorten(&escape::text(text), MOST_WORDS));
        self.screen.error(&text, exit, Some(&peer.to_string()));
    }
}

/// Whether a conversation ended because nothing can be said any more.
const fn is_gone(error: &SessionError) -> bool {
    matches!(error, SessionError::Link(LinkError::Closed | LinkError::Broken(_)))
}

/// A client that is told that there is no room for it: counted until this is dropped, however its thread ends.
struct Refusing(Arc<AtomicUsize>);

impl Refusing {
    /// Counts one more: `None` when there are enough.
    fn begin(count: &Arc<AtomicUsize>) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let refusing = Self(count.clone());
        (before < MOST_REFUSED).then_some(refusing)
    }
}

impl Drop for Refusing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a transfer, if there was one, did not come to its end.
fn broke_off(planned: Option<(Side, String)>, why: String) -> String {
    match planned {
        Some((Side::Receiver, name)) => format!("receiving {name} broke off: {why}"),
        Some((Side::Sender, name)) => format!("sending {name} broke off: {why}"),
        None => why,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn reach_needs_a_word() {
        let check = |address: &str, is_wanted| check_reach(address.parse().unwrap(), is_wanted, "a way, ");
        for near in ["127.0.0.1:1", "[::1]:1"] {
            assert_eq!(check(near, false), Ok(()));
        }
        for far in ["0.0.0.0:9", "192.168.1.7:9", "[::]:9"] {
            let problem = check(far, false).unwrap_err();
            assert_eq!(problem.exit, Exit::Usage);
            let text = problem.to_string();
            assert!(text.contains("a way, listen on 127.0.0.1:9, or add --insecure"), "{text}");
            assert_eq!(check(far, true), Ok(()));
        }
    }

    #[test]
    fn who_is_refused_counts_until_its_thread_ends_or_never_was() {
        let count = Arc::default();
        let mut refused: Vec<_> = (0..MOST_REFUSED).map_while(|_| Refusing::begin(&count)).collect();
        assert_eq!(refused.len(), MOST_REFUSED);
        assert!(Refusing::begin(&count).is_none());
        // The system drops what a thread that it can't start was to do.
        let one = refused.remove(0);
        drop(move || drop(one));
        let one = Refusing::begin(&count).unwrap();
        assert!(Refusing::begin(&count).is_none());
        let panicked = thread::spawn(move || {
            let _one = one;
            panic!("a fault");
        });
        assert!(panicked.join().is_err());
        assert!(Refusing::begin(&count).is_some());
    }

    #[test]
    fn a_port_in_use_is_explained() {
        let address = "127.0.0.1:8120".parse().unwrap();
        // EADDRINUSE of Linux.
        let problem = cannot_listen(address, &ConnectError::Socket(io::Error::from_raw_os_error(98)));
        assert_eq!(
            problem.to_string(),
            "cannot listen on 127.0.0.1:8120: address already in use; another server may be running there, or choose \
             another port with --listen 127.0.0.1:0"
        );
        assert_eq!(problem.exit, Exit::Failed);
        let wrong = ConnectError::Congestion { name: "x".to_owned(), available: None };
        assert_eq!(cannot_listen(address, &wrong).exit, Exit::Usage);
    }
}
