//! The server's side of a conversation.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framing::{Feature, Get, Message, Offer, Part, Refusal};
use link::{HANDSHAKE_LIMIT, IDLE_LIMIT, Link, LinkError};

use crate::content::Made;
use crate::events::{Answer, Event, Observer, Request, Summary, Turn};
use crate::hello::{greet, meet, out_of_place};
use crate::history::History;
use crate::listing;
use crate::receive::{hear_offer, receive};
use crate::send::answer_get;
use crate::source::{SourceError, Sources, missing};
use crate::store::{SafePath, Store};
use crate::stream::{self, StreamLimits, StreamPlan};
use crate::{Caller, How, SessionError};

/// How long a server waits for what its client has to say next.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For its greeting.
    pub hello: Duration,
    /// For a request, after its greeting or the request before; and in the middle of one, at least [`IDLE_LIMIT`], while it
    /// says that it works and brings nothing: longer by what a slow disk needs for the bytes that it is about.
    pub request: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { hello: HANDSHAKE_LIMIT, request: Duration::from_secs(15 * 60) }
    }
}

impl Patience {
    /// While it says that it works.
    fn idle(self) -> Duration {
        self.request.max(IDLE_LIMIT)
    }
}

/// What a server offers.
#[derive(Debug)]
pub struct Service {
    /// Where files are kept and come from.
    pub store: Store,
    /// Name and version of the program, as the other side shall see it.
    pub software: String,
    /// Whether it takes files.
    pub takes: bool,
    /// Whether it gives files.
    pub gives: bool,
    /// The most characters of a text that it makes up, where it gives files.
    pub max_generate: u64,
    /// The streams that it sends at most.
    pub streams: StreamLimits,
    /// How long it waits for its clients.
    pub patience: Patience,
}

impl Service {
    fn features(&self, link: &dyn Link) -> Vec<Feature> {
        let offered = [
            (Feature::Put, self.takes),
            (Feature::Get, self.gives),
            (Feature::Blake3, true),
            (Feature::Plain, link.is_plain_capable()),
            (Feature::Echo, true),
            (Feature::List, self.gives),
            (Feature::Generate, self.gives),
            (Feature::Stream, self.streams.max_count > 0),
        ];
        offered.into_iter().filter(|(_, on)| *on).map(|(feature, _)| feature).collect()
    }
}

/// Serves one client to the end of its conversation: what it transferred in all, `None` if it transferred nothing.
pub fn serve(
    link: &mut dyn Link,
    service: &Service,
    observer: &dyn Observer,
) -> Result<Option<Summary>, SessionError> {
    let served = converse(link, service, observer);
    if let Err(SessionError::Link(error)) = &served
        && error.is_peers_fault()
    {
        observer.may_go_on(Turn::Leaves);
        // It may not understand even this.
        let _ = link.send(&Message::Refuse { refusal: Refusal::Protocol, text: &error.to_string() });
        link.finish();
    }
    served
}

fn converse(
    link: &mut dyn Link,
    service: &Service,
    observer: &dyn Observer,
) -> Result<Option<Summary>, SessionError> {
    let caller = Caller { software: &service.software, observer };
    let features = service.features(link);
    greet(link, caller.software, &features)?;
    meet(link, service.patience.hello, observer)?;
    let mut serving = Serving { link, service, caller, is_met: false, here: None, streamed: 0, total: None };
    while let Some(asked) = serving.next()? {
        observer.event(&Event::Asked(asked.request()));
        match serving.answer(asked) {
            Ok(()) => {}
            Err(Unanswered::Declined(refusal, text)) => serving.decline(refusal, &text)?,
            Err(Unanswered::Failed(error)) => return Err(error),
        }
    }
    Ok(serving.total)
}

/// A request, as it was heard.
enum Asked {
    Put(Offer),
    Get(Wanted),
    Generate { how: How, made: Made },
    Stream(StreamPlan),
    Echo(Vec<u8>),
    List(Vec<u8>),
    Chdir(Vec<u8>),
}

/// Files that are to be given.
struct Wanted {
    how: How,
    follow: bool,
    /// The first of its names as it came, and how many there are.
    first: Vec<u8>,
    names: u64,
    paths: Result<Vec<SafePath>, (Refusal, String)>,
}

/// Why a request has no answer.
enum Unanswered {
    /// It is not done; the conversation goes on.
    Declined(Refusal, String),
    /// The conversation ends with it.
    Failed(SessionError),
}

impl From<SessionError> for Unanswered {
    fn from(error: SessionError) -> Self {
        Self::Failed(error)
    }
}

impl From<LinkError> for Unanswered {
    fn from(error: LinkError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<SourceError> for Unanswered {
    fn from(error: SourceError) -> Self {
        let refusal = match error {
            SourceError::NotFound(_) => Refusal::NotFound,
            SourceError::Unreadable { .. } => Refusal::Storage,
            SourceError::Crowded(_) => Refusal::Busy,
            SourceError::Special { .. } | SourceError::SameName { .. } | SourceError::Nameless(_) => {
                Refusal::Policy
            }
        };
        Self::Declined(refusal, error.to_string())
    }
}

/// One client's conversation.
struct Serving<'a> {
    link: &'a mut dyn Link,
    service: &'a Service,
    caller: Caller<'a>,
    /// Whether it has ever asked for anything.
    is_met: bool,
    /// The directory that it has gone to; `None` for the served one.
    here: Option<SafePath>,
    /// The number of the next stream's first packet.
    streamed: u64,
    /// What it transferred so far.
    total: Option<Summary>,
}

impl Serving<'_> {
    /// Waits for the next request: `None` when the client has left, or has to.
    fn next(&mut self) -> Result<Option<Asked>, SessionError> {
        if !self.may_go_on(Turn::Waits) {
            return Ok(None);
        }
        let patience = self.service.patience.request;
        let deadline = Instant::now() + patience;
        let asked = loop {
            match self.link.recv(deadline.saturating_duration_since(Instant::now())) {
                // Late words of the transfer before.
                Ok(Message::Working | Message::Sent(_) | Message::End(Part::Chunks) | Message::Stop) => {}
                Ok(message) => break Asked::of(&message)?,
                Err(LinkError::Closed) => {
                    // It has left, or its place is needed.
                    self.may_go_on(Turn::Waits);
                    return Ok(None);
                }
                Err(LinkError::Silent(_)) if Instant::now() >= deadline => {
                    return self.give_up(LinkError::Silent(patience));
                }
                Err(error) => return self.give_up(error),
            }
        };
        self.is_met = true;
        Ok(self.may_go_on(Turn::Asked).then_some(asked))
    }

    /// Asks whether it may go on, and tells the client if not.
    fn may_go_on(&mut self, turn: Turn) -> bool {
        let may = self.caller.observer.may_go_on(turn);
        if !may {
            self.leave("the place was needed for somebody else");
        }
        may
    }

    /// Waits no longer for a request.
    fn give_up(&mut self, error: LinkError) -> Result<Option<Asked>, SessionError> {
        if let LinkError::Silent(limit) = error {
            self.caller.observer.may_go_on(Turn::Leaves);
            self.leave(&format!("nothing was asked for in {} s", limit.as_secs_f32()));
        }
        // All that it asked for is done: how it left does not matter.
        if !(self.is_met && error.is_passing()) {
            return Err(error.into());
        }
        self.link.finish();
        Ok(None)
    }

    /// Tells the client that it may come again, as far as it can be told.
    fn leave(&mut self, text: &str) {
        let _ = self.link.send(&Message::Refuse { refusal: Refusal::Busy, text });
        self.link.finish();
    }

    fn answer(&mut self, asked: Asked) -> Result<(), Unanswered> {
        match asked {
            Asked::Put(offer) => self.take(offer),
            Asked::Get(wanted) => self.give(wanted),
            Asked::Generate { how, made } => self.generate(how, made),
            Asked::Stream(plan) => self.stream(plan),
            Asked::Echo(bytes) => self.echo(&bytes),
            Asked::List(path) => self.list(&path),
            Asked::Chdir(path) => self.chdir(&path),
        }
    }

    /// Takes files.
    fn take(&mut self, offer: Offer) -> Result<(), Unanswered> {
        let began = Instant::now();
        let offered =
            match hear_offer(self.link, offer, self.service.store.join(), Some(self.service.patience.idle()))
            {
                Ok(offered) => offered,
                Err(failure) => return Err(failure.tell(self.link).into()),
            };
        offered.tell(self.caller.observer);
        if !self.service.takes {
            return Err(Unanswered::policy("this server takes no files (--read-only)"));
        }
        if offer.plain {
            self.must_be_plain_capable()?;
        }
        let store = self.store()?;
        let mut summary = Summary::default();
        let received =
            receive(self.link, offered, &store, self.caller, &mut History::default(), &mut summary);
        if let Err(failure) = received {
            return Err(match failure.as_declined() {
                Some((refusal, text)) => Unanswered::Declined(refusal, text),
                None => failure.tell(self.link).into(),
            });
        }
        summary.elapsed = began.elapsed();
        self.note(summary);
        Ok(())
    }

    /// Where files that come now are kept.
    fn store(&self) -> Result<Store, Unanswered> {
        match &self.here {
            None => Ok(self.service.store.clone()),
            Some(path) => {
                self.service.store.below(path).map_err(|error| missing(path.as_path(), error).into())
            }
        }
    }

    fn stream(&mut self, plan: StreamPlan) -> Result<(), Unanswered> {
        plan.check(self.service.streams, self.link.max_datagram()).map_err(Unanswered::policy)?;
        let first = self.streamed;
        self.streamed += plan.count;
        let sent = stream::send(self.link, plan, first)?;
        self.caller.observer.event(&Event::Answered(Answer::Stream { plan, sent }));
        Ok(())
    }

    fn echo(&mut self, bytes: &[u8]) -> Result<(), Unanswered> {
        self.link.send(&Message::Echoed(bytes))?;
        self.caller.observer.event(&Event::Answered(Answer::Echo { bytes: bytes.len() as u64 }));
        Ok(())
    }

    fn list(&mut self, path: &[u8]) -> Result<(), Unanswered> {
        self.must_give()?;
        let safe = parse_directory(path)?;
        let named = safe.as_ref().map_or(Path::new("."), SafePath::as_path);
        let entries = listing::answer(self.link, self.service.store.dir(), named)??;
        let path = OsStr::from_bytes(path);
        self.caller.observer.event(&Event::Answered(Answer::List { path, entries }));
        Ok(())
    }

    fn chdir(&mut self, path: &[u8]) -> Result<(), Unanswered> {
        if !self.service.gives {
            return Err(Unanswered::policy("this server shows no directories to go to (--write-only)"));
        }
        let safe = parse_directory(path)?;
        if let Some(safe) = &safe {
            let named = safe.as_path();
            match self.service.store.dir().metadata(named) {
                Ok(there) if there.is_dir() => {}
                Ok(_) => {
                    let shown = named.display();
                    return Err(Unanswered::policy(format!("{shown}: not a directory")));
                }
                Err(error) => return Err(missing(named, error).into()),
            }
        }
        self.here = safe;
        self.link.send(&Message::Here(path))?;
        self.caller.observer.event(&Event::Answered(Answer::Chdir { path: OsStr::from_bytes(path) }));
        Ok(())
    }

    fn must_give(&self) -> Result<(), Unanswered> {
        if self.service.gives {
            Ok(())
        } else {
            Err(Unanswered::policy("this server gives no files (--write-only)"))
        }
    }

    /// Gives files.
    fn give(&mut self, Wanted { how, follow, paths, .. }: Wanted) -> Result<(), Unanswered> {
        self.must_give()?;
        if how.plain {
            self.must_be_plain_capable()?;
        }
        let paths = paths.map_err(|(refusal, text)| Unanswered::Declined(refusal, text))?;
        let dir = Arc::clone(self.service.store.dir());
        self.send(Sources::below(dir, &paths, follow, self.service.store.join(), self.caller.observer)?, how)
    }

    /// Makes a text up and gives it.
    fn generate(&mut self, how: How, made: Made) -> Result<(), Unanswered> {
        self.must_give()?;
        if how.plain {
            self.must_be_plain_capable()?;
        }
        let (Made { length, seed }, most) = (made, self.service.max_generate);
        if length > most {
            let text = format!("that is more than the limit of {most} characters here (--max-generate)");
            return Err(Unanswered::policy(text));
        }
        self.link.send(&Message::Making { length, seed })?;
        self.caller.observer.event(&Event::Making { length, seed });
        self.send(Sources::made(made), how)
    }

    fn send(&mut self, mut sources: Sources, how: How) -> Result<(), Unanswered> {
        match answer_get(self.link, &mut sources, how, self.service.patience.idle(), self.caller) {
            Ok(summary) => {
                self.note(summary);
                Ok(())
            }
            // Nothing was said of it.
            Err(SessionError::Manifest(error)) => Err(Unanswered::policy(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }

    fn must_be_plain_capable(&self) -> Result<(), Unanswered> {
        if self.link.is_plain_capable() {
            Ok(())
        } else {
            Err(Unanswered::policy(LinkError::NotPlain.to_string()))
        }
    }

    /// Tells of a transfer that has come to its end.
    fn note(&mut self, summary: Summary) {
        let summary = Summary { link: self.link.stats(), ..summary };
        self.caller.observer.event(&Event::Transferred { summary: &summary });
        let total = self.total.get_or_insert_default();
        total.add(&summary);
        total.elapsed += summary.elapsed;
        total.link = summary.link;
    }

    /// Says that a request is not done.
    fn decline(&mut self, refusal: Refusal, text: &str) -> Result<(), LinkError> {
        self.link.send(&Message::Declined { refusal, text })?;
        self.caller.observer.event(&Event::Declined { refusal, why: text });
        Ok(())
    }
}

impl Unanswered {
    fn policy(text: impl Into<String>) -> Self {
        Self::Declined(Refusal::Policy, text.into())
    }
}

impl Asked {
    fn of(message: &Message<'_>) -> Result<Self, LinkError> {
        Ok(match message {
            Message::Put(offer) => Self::Put(*offer),
            Message::Get(get) => Self::Get(Wanted::of(get)),
            Message::Stream(asked) => Self::Stream(StreamPlan::of(*asked)),
            Message::Generate(asked) => Self::Generate {
                how: How { checksum: asked.checksum, plain: asked.plain },
                made: Made { length: asked.length, seed: asked.seed },
            },
            Message::Echo(bytes) => Self::Echo(bytes.to_vec()),
            Message::List(path) => Self::List(path.to_vec()),
            Message::Chdir(path) => Self::Chdir(path.to_vec()),
            other => return Err(out_of_place(other)),
        })
    }
}

impl Asked {
    /// The same, for who watches.
    fn request(&self) -> Request<'_> {
        match self {
            Self::Put(_) => Request::Put,
            Self::Get(Wanted { names, first, .. }) => {
                Request::Get { names: *names, first: OsStr::from_bytes(first) }
            }
            Self::Generate { made: Made { length, seed }, .. } => {
                Request::Generate { length: *length, seed: *seed }
            }
            Self::Stream(plan) => Request::Stream { plan: *plan },
            Self::Echo(bytes) => Request::Echo { bytes: bytes.len() as u64 },
            Self::List(path) => Request::List { path: OsStr::from_bytes(path) },
            Self::Chdir(path) => Request::Chdir { path: OsStr::from_bytes(path) },
        }
    }
}

impl Wanted {
    fn of(get: &Get<'_>) -> Self {
        Self {
            how: How { checksum: get.checksum, plain: get.plain },
            follow: get.follow,
            first: get.names.iter().next().map(|name| name.0.to_vec()).unwrap_or_default(),
            names: get.names.iter().count() as u64,
            paths: get.names.iter().map(|name| parse(name.0)).collect(),
        }
    }
}

/// Takes the path of a directory: `None` for the served one.
fn parse_directory(path: &[u8]) -> Result<Option<SafePath>, Unanswered> {
    if path.is_empty() {
        return Ok(None);
    }
    parse(path).map(Some).map_err(|(refusal, text)| Unanswered::Declined(refusal, text))
}

/// Takes a path as it came from the network.
fn parse(path: &[u8]) -> Result<SafePath, (Refusal, String)> {
    SafePath::parse(path).map_err(|error| (Refusal::Policy, format!("{}: {error}", path.escape_ascii())))
}
