//! A server that speaks no protocol: sends back what comes, or keeps it.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use link::raw::{Datagram, RawPort, RawStream, Ready, Slots};
use link::{IDLE_LIMIT, LinkError, TcpEndpoint};
use serde_json::json;
use session::raw::{self, Due, GREETING, Gathering, Intake, Keeper, Kept};
use session::{SessionError, Store, Turn};

use super::args::ServerArgs;
use super::audit::{Action, Amount, Audit, Verdict, What};
use super::clients::{Clients, Seat};
use super::{STOP_LIMIT, cannot_listen, check_reach, store_options};
use crate::exit::{self, Exit, Problem};
use crate::interrupt::Wake;
use crate::raw::{Moved, OF_DATAGRAMS, OF_STREAMS};
use crate::screen::Screen;
use crate::{Bind, Program, RawListener, escape, units};

/// Files that may wait to be flushed to disk before datagrams wait too.
const WAITING_FILES: usize = 64;
/// How much later than due a sender's file counts as whole while there are still datagrams to be looked at.
const GRACE: Duration = Duration::from_secs(2);

pub(super) fn run<T: Bind>(args: &ServerArgs<T>, screen: &Arc<Screen>) -> anyhow::Result<Exit> {
    let address = args.listen.context("no address to listen on")?;
    check_reach(address, args.insecure, "")?;
    let wake = Wake::on_signals().context("cannot listen for signals")?;
    let keeper = args.save.as_deref().map(|name| keeper(args, name)).transpose()?;
    let served = keeper.is_some().then_some(&*args.dir);
    let audit = Audit::start(screen, args.audit.as_deref(), served)?;
    let listener = args
        .transport
        .bind_raw(address, Audit::noting(&audit))
        .map_err(|error| cannot_listen(address, &error))?;
    let (at, note) = match &listener {
        RawListener::Streams(endpoint) => (link::Listener::local_addr(endpoint), OF_STREAMS),
        RawListener::Datagrams(port) => (port.local_addr(), OF_DATAGRAMS),
    };
    if args.insecure {
        let doing = match &keeper {
            Some(_) => format!("write files in {}", escape::name(args.dir.as_os_str())),
            None => "have it send back what they send".to_owned(),
        };
        screen.warn(&format!(
            "--insecure: there is no key and nothing is encrypted; anyone who can reach {at} can {doing}"
        ));
    }
    announce(screen, at, args, keeper.as_ref());
    screen.note(note);
    let house = Arc::new(House {
        keeper,
        screen: screen.clone(),
        audit,
        wake,
        clients: Clients::new(args.seats()),
        in_datagrams: matches!(listener, RawListener::Datagrams(_)),
        once: args.once,
        outcome: OnceLock::new(),
    });
    match listener {
        RawListener::Streams(endpoint) => house.take_streams(&endpoint)?,
        RawListener::Datagrams(port) => match &house.keeper {
            Some(keeper) => house.gather(&port, Gathering::new(keeper.clone(), args.max_clients.get()))?,
            None => house.answer(&port)?,
        },
    }
    house.audit.end();
    screen.say("stopped");
    screen.object(&json!({ "event": "stopped" }));
    let without = if args.once { Exit::Interrupted } else { Exit::Done };
    Ok(house.outcome.get().copied().unwrap_or(without))
}

fn keeper<T: Bind>(args: &ServerArgs<T>, name: &OsStr) -> anyhow::Result<Keeper> {
    let store = Store::open(store_options(args))?;
    Keeper::new(store, name).map_err(|error| {
        let text = format!("--save {}: {error}", escape::name(name));
        Problem::new(Exit::Usage, text).into()
    })
}

/// Says that clients may come. Others wait for this line.
fn announce<T: Bind>(screen: &Screen, at: SocketAddr, args: &ServerArgs<T>, keeper: Option<&Keeper>) {
    let Program { name, version } = screen.program();
    let mut object = crate::json::event("ready");
    object.insert("program".to_owned(), name.into());
    object.insert("version".to_owned(), version.into());
    object.insert("address".to_owned(), at.to_string().into());
    let doing = match keeper {
        Some(keeper) => {
            object.insert("raw".to_owned(), "save".into());
            crate::json::put_name(&mut object, "dir", args.dir.as_os_str());
            crate::json::put_name(&mut object, "name", keeper.path().as_os_str());
            let dir = if args.dir == Path::new(".") { Path::new("") } else { &args.dir };
            format!("what comes is kept as {}", escape::name(dir.join(keeper.path()).as_os_str()))
        }
        None => {
            object.insert("raw".to_owned(), "echo".into());
            "what comes is sent back".to_owned()
        }
    };
    screen.announce(&format!("ready  {name} {version} on {at}, raw: {doing}"), &object.into());
}

/// What all clients share.
struct House {
    /// Keeps what comes, if it is to be kept.
    keeper: Option<Keeper>,
    screen: Arc<Screen>,
    audit: Arc<Audit>,
    wake: Wake,
    clients: Arc<Clients>,
    in_datagrams: bool,
    once: bool,
    /// How the one client of `--once` ended.
    outcome: OnceLock<Exit>,
}

/// Streams.
impl House {
    fn take_streams(self: &Arc<Self>, endpoint: &TcpEndpoint) -> anyhow::Result<()> {
        let accepted = loop {
            match endpoint.accept_raw(self.wake.as_fd()) {
                Ok(Some(stream)) => self.take(stream),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if !self.clients.stop(STOP_LIMIT) {
            self.screen.note("some clients did not leave in time");
        }
        accepted.context("cannot take clients any more")
    }

    fn take(self: &Arc<Self>, stream: RawStream) {
        let peer = stream.peer();
        let closer = match stream.closer() {
            Ok(closer) => closer,
            Err(error) => return self.audit.sent_away(peer, &error.to_string()),
        };
        let seat = match self.clients.enter(closer, peer.ip()) {
            Ok(seat) => seat,
            Err(full) => return self.audit.sent_away(peer, &full.to_string()),
        };
        let house = self.clone();
        let started =
            thread::Builder::new().name(peer.to_string()).spawn(move || house.attend(&stream, seat));
        if let Err(error) = started {
            self.audit.sent_away(peer, &format!("cannot start a thread: {error}"));
        }
    }

    /// Serves one client to its end.
    fn attend(self: &Arc<Self>, stream: &RawStream, mut seat: Seat) {
        let peer = stream.peer();
        let house = self.clone();
        seat.on_panic(move || {
            house.complain(peer, "this program has a fault, please report it", Exit::Failed);
        });
        // Until it says something, it is the first to make way for others.
        seat.turn(Turn::Waits);
        let limit = if self.keeper.is_some() { IDLE_LIMIT } else { raw::TYPING_LIMIT };
        let has_spoken = stream.wait(limit);
        if !seat.turn(Turn::Asked) {
            return self.audit.sent_away(peer, "it said nothing, and its place was needed for somebody else");
        }
        match &self.keeper {
            _ if !has_spoken => self.tell(peer, Err(LinkError::Silent(limit).into())),
            Some(keeper) => {
                let mut was_greeted = false;
                let kept = raw::keep(stream, keeper, &mut || {
                    was_greeted = true;
                    self.greeted(peer);
                });
                let is_broken = matches!(kept, Err(SessionError::Link(LinkError::Broken(_))));
                self.tell(peer, kept);
                if was_greeted && is_broken {
                    self.screen.note_once(
                        "who greets must read the answer before it closes, or its system breaks the stream",
                    );
                }
            }
            None => match raw::echo(stream) {
                Ok(echoed) => {
                    let greeted = if echoed.was_greeted { "greeted, and " } else { "" };
                    self.detail(&format!("{peer}: {greeted}{} sent back", units::size(echoed.len)));
                    self.enter(peer, None, Amount::Bytes(echoed.len), Verdict::Done);
                    self.end(Exit::Done);
                }
                Err(error) => {
                    let why = exit::plain_words(&error.to_string());
                    if self.enter(peer, None, Amount::Nothing, Verdict::BrokeOff(why.clone())) {
                        self.detail(&format!("{peer}: {why}"));
                    }
                }
            },
        }
    }
}

/// Datagrams.
impl House {
    fn answer(&self, port: &RawPort) -> anyhow::Result<()> {
        let mut slots = Slots::default();
        let mut answered = 0;
        while self.receive(port, &mut slots, None)? != Ready::Woken {
            for Datagram { from, to, bytes } in slots.datagrams() {
                if let Some(back) = raw::answer(from, bytes) {
                    // What can't be sent is lost, as it may be further on.
                    let _ = port.send(from, to, back);
                    answered += 1;
                }
            }
        }
        self.detail(&format!("{} answered", units::count(answered, "datagram", "datagrams")));
        Ok(())
    }

    fn gather(&self, port: &RawPort, mut gathering: Gathering) -> anyhow::Result<()> {
        let (whole, waiting) = sync_channel(WAITING_FILES);
        thread::scope(|scope| {
            // Flushing to disk takes its time, and datagrams do not wait.
            scope.spawn(|| self.commit(waiting));
            let ended = self.gather_until_woken(port, &mut gathering, &whole);
            for from in gathering.unfinished() {
                self.enter(from, None, Amount::Nothing, Verdict::Interrupted);
                self.complain(
                    from,
                    "receiving broke off: this server is being stopped; nothing was kept",
                    Exit::NoLink,
                );
            }
            drop(whole);
            ended
        })
    }

    fn gather_until_woken(
        &self,
        port: &RawPort,
        gathering: &mut Gathering,
        whole: &SyncSender<(SocketAddr, Box<Intake>)>,
    ) -> anyhow::Result<()> {
        let mut slots = Slots::default();
        let act = |due: Due| match due {
            Due::Greet(peer, from) => {
                // What can't be sent is lost, as it may be further on.
                let _ = port.send(peer, from, GREETING);
                self.greeted(peer);
            }
            Due::Commit(peer, intake) => {
                // It is there until this side lets go.
                let _ = whole.send((peer, intake));
            }
        };
        loop {
            let ready = self.receive(port, &mut slots, gathering.deadline())?;
            let now = Instant::now();
            let due_by = match ready {
                Ready::Woken => return Ok(()),
                Ready::Deadline => Some(now),
                Ready::Datagrams => {
                    for datagram in slots.datagrams() {
                        match gathering.take(now, &datagram) {
                            Ok(due) => due.into_iter().for_each(act),
                            Err(SessionError::Declined { refusal: framing::Refusal::Busy, text }) => {
                                self.screen.note_once(&text);
                            }
                            Err(error) => self.tell(datagram.from, Err(error)),
                        }
                    }
                    // The next datagram of a sender may wait in the socket.
                    now.checked_sub(GRACE)
                }
            };
            due_by.into_iter().flat_map(|now| gathering.expire(now)).for_each(act);
        }
    }

    fn commit(&self, waiting: Receiver<(SocketAddr, Box<Intake>)>) {
        for (peer, intake) in waiting {
            self.tell(peer, intake.commit());
        }
    }

    fn receive(&self, port: &RawPort, slots: &mut Slots, deadline: Option<Instant>) -> anyhow::Result<Ready> {
        port.receive(slots, deadline, Some(self.wake.as_fd())).context("cannot receive any more")
    }
}

/// What the person sees.
impl House {
    fn greeted(&self, peer: SocketAddr) {
        self.detail(&format!("{peer}: greeted"));
    }

    /// Tells what has become of a file.
    fn tell(&self, peer: SocketAddr, kept: Result<Kept, SessionError>) {
        match kept {
            Ok(kept) => {
                let moved = Moved::kept(&kept, self.in_datagrams);
                self.screen.say(&moved.lines("received", format!("from {peer}")));
                self.screen.object(&moved.object("receiver", &peer.to_string()));
                self.enter(peer, Some(&kept.path), Amount::Bytes(kept.len), Verdict::Done);
                self.end(Exit::Done);
            }
            Err(error) => {
                let exit = Exit::of_session(&error);
                let why = exit::plain_words(&error.to_string());
                let text = match error {
                    SessionError::Link(_) if self.clients.is_stopping() => {
                        "receiving broke off: this server is being stopped; nothing was kept".to_owned()
                    }
                    SessionError::Link(LinkError::Silent(_)) => format!(
                        "receiving broke off: {why}, not even the end of the stream, so nothing was kept; \
                         nc needs -N or -q 0 to end it"
                    ),
                    SessionError::Link(_) => format!("receiving broke off: {why}; nothing was kept"),
                    _ => format!("cannot keep it: {why}"),
                };
                let verdict = match error {
                    SessionError::Link(_) if self.clients.is_stopping() => Verdict::Interrupted,
                    SessionError::Link(_) => Verdict::BrokeOff(why.clone()),
                    _ => Verdict::Refused(why.clone()),
                };
                if self.enter(peer, None, Amount::Nothing, verdict) {
                    self.complain(peer, &text, exit);
                }
                if !error.is_passing() {
                    self.end(exit);
                }
            }
        }
    }

    /// Takes note of what a client has done: whether it was told, or only counted. `name`: what is kept of it.
    fn enter(&self, peer: SocketAddr, name: Option<&Path>, amount: Amount, verdict: Verdict) -> bool {
        let what = name.map_or(What::Nothing, |name| What::Place(name.as_os_str().to_owned()));
        self.audit.tell(peer, Action::Raw, what, amount, verdict)
    }

    /// With `--once`, ends the server: a client has come to its end.
    fn end(&self, exit: Exit) {
        if self.once && self.outcome.set(exit).is_ok() {
            self.wake.wake();
        }
    }

    /// Says something that is only worth it to somebody who wants to hear more.
    fn detail(&self, text: &str) {
        if self.screen.voice().verbose {
            self.screen.note(&escape::text(text));
        }
    }

    /// One line for what went wrong with one client.
    fn complain(&self, peer: SocketAddr, text: &str, exit: Exit) {
        let text = format!("{peer}: {}", escape::text(text));
        self.screen.error(&text, exit, Some(&peer.to_string()));
    }
}
